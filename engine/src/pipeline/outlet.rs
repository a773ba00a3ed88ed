//! One thread's end of the queue: gathers records into batches and hands them over.
//!
//! In: finished records. Out: batches in the queue; counts of what was seen and what had to be shed.
//! A batch goes when it is big enough ([`Outlet::push`]) or when the owner says so
//! ([`Outlet::flush`], at least every flush interval).

use std::{sync::Arc, time::Duration};

use super::queue::{Batch, Refused, Sender};
use crate::{
    ledger::{Counters, Layer},
    record::Record,
};

/// Records in a batch at most.
const BATCH_RECORDS: usize = 256;
/// Bytes of buffers in a batch at most (it may pass this by one record).
const BATCH_BYTES: usize = 1 << 20;

/// Reasons of what never came into the queue.
pub const BEFORE_THE_QUEUE: [&str; 2] = ["queue_full", "recorder_stopped"];

/// What to do when the queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// Wait: clients are slowed down (the proxy's default).
    #[default]
    Wait,
    /// Drop the batch and count it as `queue_full` (`--shed`; on the packet path until its stop).
    Shed,
}

/// Gathers records of one thread into batches.
#[derive(Debug)]
pub struct Outlet {
    sender: Sender,
    counters: Arc<Counters>,
    when_full: WhenFull,
    batch: Batch,
    batch_bytes: usize,
}

impl Outlet {
    /// An outlet into `sender`.
    #[must_use]
    pub fn new(sender: Sender, counters: Arc<Counters>, when_full: WhenFull) -> Self {
        Self { sender, counters, when_full, batch: Batch::default(), batch_bytes: 0 }
    }

    /// Another outlet into the same queue, for another thread.
    #[must_use]
    pub fn sibling(&self) -> Self {
        Self::new(self.sender.clone(), Arc::clone(&self.counters), self.when_full)
    }

    /// The counters of the capture.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Takes a record and counts it as seen. Returns the full batch that the caller must hand over
    /// with [`deliver`](Self::deliver) (or [`deliver_blocking`](Self::deliver_blocking)) when the
    /// queue had no room and the policy is to wait; mostly `None`.
    #[must_use = "a returned batch is not in the queue yet"]
    pub fn push(&mut self, record: Record) -> Option<Batch> {
        self.counters.seen(layer_of(&record), 1);
        self.batch_bytes += record.held_bytes();
        if self.batch.records.capacity() == 0 {
            self.batch.records.reserve_exact(BATCH_RECORDS);
        }
        self.batch.records.push(record);
        if self.batch.records.len() >= BATCH_RECORDS || self.batch_bytes >= BATCH_BYTES { self.flush() } else { None }
    }

    /// Hands over what has gathered. Returns the batch when it has to wait, as [`push`](Self::push).
    #[must_use = "a returned batch is not in the queue yet"]
    pub fn flush(&mut self) -> Option<Batch> {
        if self.batch.records.is_empty() {
            return None;
        }
        self.batch_bytes = 0;
        match self.sender.try_send(std::mem::take(&mut self.batch)) {
            Ok(()) => None,
            Err(Refused::Full(batch)) if self.when_full == WhenFull::Wait => Some(batch),
            Err(Refused::Full(batch)) => {
                count_dropped(&self.counters, &batch, "queue_full");
                None
            }
            Err(Refused::Closed(batch)) => {
                count_dropped(&self.counters, &batch, "recorder_stopped");
                None
            }
        }
    }

    /// From now on the owner can wait.
    pub fn wait_when_full(&mut self) {
        self.when_full = WhenFull::Wait;
    }

    /// Waits until at least half of the queue is free, so long at most; whether it is.
    #[must_use]
    pub fn wait_for_room(&self, most: Duration) -> bool {
        self.sender.wait_for_room(most)
    }

    /// What is needed to hand over a returned batch without borrowing the outlet while it waits.
    #[must_use]
    pub fn delivery(&self) -> Delivery {
        Delivery { sender: self.sender.clone(), counters: Arc::clone(&self.counters) }
    }

    /// Hands over a returned batch, blocking this thread until there is room.
    pub fn deliver_blocking(&self, batch: Batch) {
        if let Err(batch) = self.sender.send_blocking(batch) {
            count_dropped(&self.counters, &batch, "recorder_stopped");
        }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        if let Some(batch) = self.flush() {
            self.deliver_blocking(batch);
        }
    }
}

/// Hands over a batch that had to wait, for async callers.
#[derive(Debug)]
pub struct Delivery {
    sender: Sender,
    counters: Arc<Counters>,
}

impl Delivery {
    /// Waits for room and hands the batch over.
    pub async fn deliver(self, batch: Batch) {
        if let Err(batch) = self.sender.send(batch).await {
            count_dropped(&self.counters, &batch, "recorder_stopped");
        }
    }
}

/// The layer that a record is counted in.
#[must_use]
pub const fn layer_of(record: &Record) -> Layer {
    match record {
        Record::Exchange(_) => Layer::Exchanges,
        Record::Connection(_) => Layer::Connections,
        Record::Message(_) => Layer::Messages,
    }
}

fn count_dropped(counters: &Counters, batch: &Batch, reason: &'static str) {
    for record in &batch.records {
        counters.dropped(layer_of(record), reason, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ledger::Tally, pipeline::queue::queue};

    fn exchange() -> Record {
        Record::Exchange(Box::default())
    }

    #[test]
    fn sheds_with_a_count() {
        let (sender, receiver) = queue(1);
        let counters = Arc::new(Counters::default());
        let mut outlet = Outlet::new(sender, Arc::clone(&counters), WhenFull::Shed);
        for _ in 0..3 * BATCH_RECORDS {
            assert!(outlet.push(exchange()).is_none());
        }
        let ledger = counters.snapshot();
        let tally = ledger.layer(Layer::Exchanges).expect("counted");
        assert_eq!(tally.seen, 3 * BATCH_RECORDS as u64);
        assert_eq!(tally.dropped["queue_full"], 2 * BATCH_RECORDS as u64);
        drop(receiver);
    }

    #[test]
    fn sheds_no_more_once_it_can_wait() {
        let (sender, _receiver) = queue(1);
        let mut outlet = Outlet::new(sender, Arc::default(), WhenFull::Shed);
        assert!(outlet.push(exchange()).is_none());
        assert!(outlet.flush().is_none());
        outlet.wait_when_full();
        assert!(outlet.push(exchange()).is_none());
        assert_eq!(outlet.flush().map(|batch| batch.records.len()), Some(1), "it waits");
    }

    #[test]
    fn waits_when_told_to() {
        let (sender, receiver) = queue(1);
        let counters = Arc::new(Counters::default());
        let mut outlet = Outlet::new(sender, Arc::clone(&counters), WhenFull::Wait);
        assert!(outlet.push(exchange()).is_none());
        assert!(outlet.flush().is_none());
        assert!(outlet.push(Record::Message(Box::default())).is_none());
        let waiting = outlet.flush().expect("the queue is full");
        assert_eq!(receiver.try_recv().expect("first").records.len(), 1);
        outlet.deliver_blocking(waiting);
        assert_eq!(receiver.try_recv().expect("second").records.len(), 1);
        assert_eq!(counters.snapshot().layer(Layer::Exchanges).map(Tally::dropped_total), Some(0));
    }
}

//! The bounded queue of batches: many senders, one receiver, lock-free while nobody waits.
//!
//! In: batches of records. Out: the same batches, in each sender's order. A full queue is told to the
//! sender ([`Sender::try_send`]), awaited ([`Sender::send`]) or waited for ([`Sender::send_blocking`]):
//! which of them is the policy of the layer above.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_queue::ArrayQueue;
use event_listener::{Event, Listener, listener};

use crate::record::Record;

/// Records handed over together.
#[derive(Debug, Default)]
pub struct Batch {
    /// The records, in the order they ended.
    pub records: Vec<Record>,
}

#[derive(Debug)]
struct Shared {
    batches: ArrayQueue<Batch>,
    /// Notified when a batch came in, or the last sender went.
    filled: Event,
    /// Notified when a batch went out, or the receiver went.
    drained: Event,
    /// Notified when a batch went out and at least half of the queue is free.
    eased: Event,
    senders: AtomicUsize,
    closed: AtomicBool,
    /// Whether the receiver is to stop waiting once.
    interrupted: AtomicBool,
}

impl Shared {
    fn is_half_free(&self) -> bool {
        self.batches.len() <= self.batches.capacity() / 2
    }
}

/// A queue of at most `capacity` batches.
#[must_use]
pub fn queue(capacity: usize) -> (Sender, Receiver) {
    let shared = Arc::new(Shared {
        batches: ArrayQueue::new(capacity.max(1)),
        filled: Event::new(),
        drained: Event::new(),
        eased: Event::new(),
        senders: AtomicUsize::new(1),
        closed: AtomicBool::new(false),
        interrupted: AtomicBool::new(false),
    });
    (Sender { shared: Arc::clone(&shared) }, Receiver { shared })
}

/// The end that batches go in at.
#[derive(Debug)]
pub struct Sender {
    shared: Arc<Shared>,
}

/// Why a batch was not taken; it is handed back.
#[derive(Debug)]
pub enum Refused {
    /// The queue is full.
    Full(Batch),
    /// The receiver is gone.
    Closed(Batch),
}

impl Sender {
    /// Hands a batch over, or back when the queue is full or closed.
    ///
    /// # Errors
    /// [`Refused::Full`] and [`Refused::Closed`], with the batch.
    pub fn try_send(&self, batch: Batch) -> Result<(), Refused> {
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(Refused::Closed(batch));
        }
        self.shared.batches.push(batch).map_err(Refused::Full)?;
        self.shared.filled.notify(1);
        Ok(())
    }

    /// Hands a batch over, waiting for room: back-pressure for async callers.
    ///
    /// # Errors
    /// The batch, when the receiver is gone.
    pub async fn send(&self, mut batch: Batch) -> Result<(), Batch> {
        loop {
            match self.try_send(batch) {
                Ok(()) => return Ok(()),
                Err(Refused::Closed(back)) => return Err(back),
                Err(Refused::Full(back)) => batch = back,
            }
            listener!(self.shared.drained => drained);
            // Between the refusal and the listener there may have come room.
            match self.try_send(batch) {
                Ok(()) => return Ok(()),
                Err(Refused::Closed(back)) => return Err(back),
                Err(Refused::Full(back)) => batch = back,
            }
            drained.await;
        }
    }

    /// Hands a batch over, blocking this thread until there is room.
    ///
    /// # Errors
    /// The batch, when the receiver is gone.
    pub fn send_blocking(&self, mut batch: Batch) -> Result<(), Batch> {
        loop {
            match self.try_send(batch) {
                Ok(()) => return Ok(()),
                Err(Refused::Closed(back)) => return Err(back),
                Err(Refused::Full(back)) => batch = back,
            }
            listener!(self.shared.drained => drained);
            match self.try_send(batch) {
                Ok(()) => return Ok(()),
                Err(Refused::Closed(back)) => return Err(back),
                Err(Refused::Full(back)) => batch = back,
            }
            drained.wait();
        }
    }

    /// Waits until at least half of the queue is free, so long at most; whether it is. A receiver that is gone is no
    /// reason to wait: who sends hears of it.
    #[must_use]
    pub fn wait_for_room(&self, most: Duration) -> bool {
        let has_room = || self.shared.is_half_free() || self.shared.closed.load(Ordering::Acquire);
        if has_room() {
            return true;
        }
        let deadline = Instant::now() + most;
        while !has_room() {
            listener!(self.shared.eased => eased);
            if !has_room() && eased.wait_deadline(deadline).is_none() {
                return has_room();
            }
        }
        true
    }

    /// Batches waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.batches.len()
    }

    /// Whether no batch waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shared.batches.is_empty()
    }
}

impl Clone for Sender {
    fn clone(&self) -> Self {
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.filled.notify(usize::MAX);
        }
    }
}

/// What waiting for a batch came to.
#[derive(Debug)]
pub enum Received {
    /// A batch.
    Batch(Batch),
    /// None came in time.
    TimedOut,
    /// The queue is empty and every sender is gone: nothing will come any more.
    Ended,
}

/// Ends a wait of the receiver; no sender, so the queue can end while there is one.
#[derive(Debug, Clone)]
pub struct Interrupter {
    shared: Arc<Shared>,
}

impl Interrupter {
    /// Lets the wait under way (or the next one) end as if its time were over.
    pub fn interrupt(&self) {
        self.shared.interrupted.store(true, Ordering::Release);
        self.shared.filled.notify(usize::MAX);
    }
}

/// The end that batches come out at.
#[derive(Debug)]
pub struct Receiver {
    shared: Arc<Shared>,
}

impl Receiver {
    /// What ends a wait for a batch from another thread.
    #[must_use]
    pub fn interrupter(&self) -> Interrupter {
        Interrupter { shared: Arc::clone(&self.shared) }
    }

    /// The next batch, when one waits.
    #[must_use]
    pub fn try_recv(&self) -> Option<Batch> {
        let batch = self.shared.batches.pop()?;
        self.shared.drained.notify(1);
        if self.shared.is_half_free() {
            self.shared.eased.notify(usize::MAX);
        }
        Some(batch)
    }

    /// The next batch, waiting for it at most until `deadline`.
    #[must_use]
    pub fn recv_deadline(&self, deadline: Instant) -> Received {
        loop {
            if let Some(batch) = self.try_recv() {
                return Received::Batch(batch);
            }
            listener!(self.shared.filled => filled);
            // Read before the queue is looked at once more: a sender's last batch is in the queue
            // before its count goes down.
            let ended = self.shared.senders.load(Ordering::Acquire) == 0;
            if let Some(batch) = self.try_recv() {
                return Received::Batch(batch);
            }
            if ended {
                return Received::Ended;
            }
            if self.shared.interrupted.swap(false, Ordering::AcqRel) {
                return Received::TimedOut;
            }
            if filled.wait_deadline(deadline).is_none() {
                return self.try_recv().map_or(Received::TimedOut, Received::Batch);
            }
        }
    }

    /// The next batch, waiting for it at most `timeout`.
    #[must_use]
    pub fn recv_timeout(&self, timeout: Duration) -> Received {
        self.recv_deadline(Instant::now() + timeout)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        while self.shared.batches.pop().is_some() {}
        self.shared.drained.notify(usize::MAX);
        self.shared.eased.notify(usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Exchange;

    fn batch(id: u64) -> Batch {
        Batch { records: vec![Record::Exchange(Box::new(Exchange { id, ..Exchange::default() }))] }
    }

    #[test]
    fn full_then_drained_then_ended() {
        let (sender, receiver) = queue(1);
        sender.try_send(batch(1)).expect("room");
        assert!(matches!(sender.try_send(batch(2)), Err(Refused::Full(_))));
        assert!(matches!(receiver.recv_timeout(Duration::ZERO), Received::Batch(_)));
        assert!(matches!(receiver.recv_timeout(Duration::ZERO), Received::TimedOut));
        drop(sender);
        assert!(matches!(receiver.recv_timeout(Duration::from_secs(60)), Received::Ended));
    }

    #[test]
    fn a_wait_can_be_ended_from_outside() {
        let (sender, receiver) = queue(1);
        let interrupter = receiver.interrupter();
        let waiting = std::thread::spawn(move || receiver.recv_timeout(Duration::from_secs(600)));
        interrupter.interrupt();
        assert!(matches!(waiting.join().expect("no panic"), Received::TimedOut));
        drop(sender);
    }

    #[test]
    fn blocked_senders_lose_nothing_and_keep_their_order() {
        const SENDERS: u64 = 4;
        const EACH: u64 = 2_000;
        let (sender, receiver) = queue(2);
        let threads: Vec<_> = (0..SENDERS)
            .map(|thread| {
                let sender = sender.clone();
                std::thread::spawn(move || {
                    for number in 0..EACH {
                        sender.send_blocking(batch(thread * EACH + number)).expect("receiver is there");
                    }
                })
            })
            .collect();
        drop(sender);
        let mut next = [0; SENDERS as usize];
        while let Received::Batch(batch) = receiver.recv_timeout(Duration::from_secs(60)) {
            for record in batch.records {
                let Record::Exchange(exchange) = record else { panic!("only exchanges were sent") };
                let thread = (exchange.id / EACH) as usize;
                assert_eq!(exchange.id % EACH, next[thread]);
                next[thread] += 1;
            }
        }
        assert_eq!(next, [EACH; SENDERS as usize]);
        for thread in threads {
            thread.join().expect("sender ends");
        }
    }

    #[test]
    fn half_of_the_queue_can_be_waited_for() {
        let (sender, receiver) = queue(4);
        for id in 0..3 {
            assert!(sender.wait_for_room(Duration::ZERO));
            sender.try_send(batch(id)).expect("room");
        }
        assert!(!sender.wait_for_room(Duration::ZERO), "three of four");
        let waiting = std::thread::spawn({
            let sender = sender.clone();
            move || sender.wait_for_room(Duration::from_secs(600))
        });
        assert!(receiver.try_recv().is_some());
        assert!(waiting.join().expect("no panic"));
        sender.try_send(batch(3)).expect("room");
        let waiting = std::thread::spawn(move || sender.wait_for_room(Duration::from_secs(600)));
        drop(receiver);
        assert!(waiting.join().expect("ends"), "nothing to wait for");
    }

    #[test]
    fn senders_hear_that_the_receiver_went() {
        let (sender, receiver) = queue(1);
        sender.try_send(batch(1)).expect("room");
        let waiting = std::thread::spawn(move || sender.send_blocking(batch(2)));
        drop(receiver);
        assert!(waiting.join().expect("ends").is_err());
    }
}

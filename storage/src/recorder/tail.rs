//! The live tail: what was just put on disk, for whoever watches.
//!
//! In: each batch of exchanges once its part is published. Out: the same batch (shared, not copied) to every watcher. A
//! watcher that does not keep up misses batches, and is told how many rows; recording never waits for one.

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use arrow::{array::RecordBatch, error::ArrowError};
use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError};
use weir_engine::filter::Expr;

use crate::query::{ExchangeRow, evaluate::evaluate};

/// Batches a watcher may be behind.
const BEHIND: usize = 16;
/// Watchers at most; one more takes the place of the oldest.
const MOST: usize = 64;

#[derive(Debug)]
struct Watcher {
    sender: Sender<RecordBatch>,
    missed: Weak<AtomicU64>,
}

/// Everybody who watches a session.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    watchers: Mutex<Vec<Watcher>>,
}

impl Watchers {
    /// One more.
    pub(super) fn watch(&self, filter: Option<Expr>) -> Tail {
        let (sender, receiver) = crossbeam_channel::bounded(BEHIND);
        let missed = Arc::new(AtomicU64::new(0));
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|watcher| watcher.missed.strong_count() > 0);
        if watchers.len() >= MOST {
            watchers.remove(0);
        }
        watchers.push(Watcher { sender, missed: Arc::downgrade(&missed) });
        Tail { receiver, missed, filter }
    }

    /// Hands out what was published.
    pub(super) fn tell(&self, batch: &RecordBatch) {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|watcher| match watcher.sender.try_send(batch.clone()) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => match watcher.missed.upgrade() {
                Some(missed) => {
                    missed.fetch_add(batch.num_rows() as u64, Relaxed);
                    true
                }
                None => false,
            },
            Err(TrySendError::Disconnected(_)) => false,
        });
    }
}

/// What a watcher sees next.
#[derive(Debug)]
pub enum Seen {
    /// Rows that meet the filter, in the order of time within a flush; maybe none.
    Rows(Vec<ExchangeRow>),
    /// Nothing so far.
    Nothing,
    /// The session has ended.
    Ended,
}

/// One who watches a session.
#[derive(Debug)]
pub struct Tail {
    receiver: Receiver<RecordBatch>,
    missed: Arc<AtomicU64>,
    filter: Option<Expr>,
}

impl Tail {
    /// What came since it was last asked; does not wait.
    ///
    /// # Errors
    /// When rows cannot be read from their columns, which are made here and fit.
    pub fn next(&self) -> Result<Seen, ArrowError> {
        let batch = match self.receiver.try_recv() {
            Ok(batch) => batch,
            Err(TryRecvError::Empty) => return Ok(Seen::Nothing),
            Err(TryRecvError::Disconnected) => return Ok(Seen::Ended),
        };
        let mask = self.filter.as_ref().map(|filter| evaluate(filter, &batch)).transpose()?;
        let chosen = |row: &usize| {
            use arrow::array::Array;
            mask.as_ref().is_none_or(|mask| mask.is_valid(*row) && mask.value(*row))
        };
        (0..batch.num_rows()).filter(chosen).map(ExchangeRow::reader(&batch)).collect::<Result<_, _>>().map(Seen::Rows)
    }

    /// Rows it missed because it was too slow, since it was last asked.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed.swap(0, Relaxed)
    }
}

//! One session after another from the same queue: the next one begins while the last one is still being put into the lake.
//!
//! In: a recorder at work. Out: a recorder of the next session in its place, and the [`Ending`] of the last. No record is
//! lost in between and none is in both: the intake of the last session gives the queue's receiver back once it has
//! flushed what it took, and takes its counts with it; what is still in the queue belongs to the next.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    thread::JoinHandle,
};

use weir_engine::{filter::FilterSet, ledger::Counters, pipeline::outlet::BEFORE_THE_QUEUE};

use super::{Recorder, Shared, lock};
use crate::{
    error::StorageError,
    session::{SessionEntry, SessionId},
    time::Timestamp,
};

/// What is to be different in the next session.
#[derive(Debug, Clone, Default)]
pub struct Next {
    /// Its name; `None`: made from the time.
    pub name: Option<String>,
    /// What to leave out; `None`: the same as now.
    pub filters: Option<FilterSet>,
}

/// A session that takes nothing more and is being closed.
#[derive(Debug)]
pub struct Ending {
    shared: Arc<Shared>,
    /// Whether its intake ended as it should.
    is_whole: bool,
    writer: JoinHandle<Result<SessionEntry, StorageError>>,
}

impl Recorder {
    /// Begins the next session with what comes out of the queue from now on, in the place of this one. A pause ends
    /// with it; filters, labels and whether cookies are gathered stay.
    ///
    /// # Errors
    /// [`StorageError::BadName`], [`StorageError::Io`]: the session goes on as it was.
    pub fn begin_next(&mut self, next: Next) -> Result<Ending, StorageError> {
        let paused = lock(&self.shared.settings).paused_since.is_some();
        let mut settings = lock(&self.shared.settings).clone();
        if let Some(since) = settings.paused_since.take() {
            settings.pauses.push_back(since.as_micros()..Timestamp::now().as_micros());
        }
        settings.paused_us = 0;
        let mut options = self.options.clone();
        options.name = next.name;
        if let Some(filters) = next.filters {
            settings.filters = Arc::new(filters);
        }
        let counters = Arc::clone(&lock(&self.shared.counters));
        let (fresh, start) = Self::prepare(options, settings, Arc::clone(&counters), Arc::clone(&self.ids))?;
        if paused && let Err(error) = self.set_paused(false) {
            tracing::warn!("{error}");
        }
        let last = std::mem::replace(self, fresh);
        last.shared.hand_over.store(true, Relaxed);
        if let Some(interrupter) = &last.interrupter {
            interrupter.interrupt();
        }
        let handed_over = last.intake.join();
        let is_whole = handed_over.is_ok();
        // Without a receiver every outlet is gone (or its thread failed): then the next session ends as well.
        if let Ok(Some(handed_over)) = handed_over {
            let own = Arc::new(Counters::default());
            let mut counting = lock(&last.shared.counters);
            counters.hand_over(&own, handed_over.seen, &BEFORE_THE_QUEUE);
            *counting = own;
            drop(counting);
            self.begin(&start, handed_over.work);
        }
        Ok(Ending { shared: last.shared, is_whole, writer: last.writer })
    }
}

impl Ending {
    /// The session's id.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.shared.id
    }

    /// Changes fields of the entry that are not the recorder's.
    ///
    /// # Errors
    /// What [`Catalogue::update`](crate::Catalogue::update) may say.
    pub fn update_entry(&self, change: impl FnOnce(&mut SessionEntry)) -> Result<SessionEntry, StorageError> {
        self.shared.catalogue.update(&self.shared.id, change)
    }

    /// Whether it is closed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.writer.is_finished()
    }

    /// Waits until everything is in the lake and the entry is closed.
    ///
    /// # Errors
    /// As [`Recorder::finish`].
    pub fn finish(self) -> Result<SessionEntry, StorageError> {
        let id = self.shared.id;
        let failed = || StorageError::RecorderFailed(id.to_string());
        let closed = self.writer.join().map_err(|_| failed())?;
        if self.is_whole { closed } else { Err(failed()) }
    }
}

//! The writer: parts on disk, the catalogue entry, the merging thread.
//!
//! In: a [`Flush`] at a time. Out: live parts, each table's in the order of its numbers; an entry that
//! is rewritten after each flush; at the end everything in the lake.
//!
//! What cannot be written is kept and tried again with the next flush, or after an interval. Past the
//! limit of what may be kept, the oldest flush is dropped and counted (`disk_full`, `write_failed`).

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crossbeam_channel::Sender;
use weir_engine::{
    ledger::Layer,
    pipeline::lane::{Received, Receiver},
};

use super::{
    Shared,
    bulk::{Bulk, Round},
    flush::Flush,
    lock,
};
use crate::{
    compaction::{self, MergePolicy},
    error::StorageError,
    files,
    home::Home,
    lock::FileLock,
    part_file::{PartWriter, Purpose, sorted},
    parts::Part,
    schema::Table,
    session::{SessionEntry, SessionState},
    time::Timestamp,
};

/// How often the last rows are tried when the disk refuses them at the end.
const LAST_TRIES: u32 = 5;
/// Pause between those tries.
const LAST_PAUSE: Duration = Duration::from_millis(200);

/// The writer thread's own.
pub(super) struct Writer {
    home: Home,
    shared: Arc<Shared>,
    session_lock: FileLock,
    flush_interval: Duration,
    pending_bytes: usize,
    merge: MergePolicy,
    pending: VecDeque<Flush>,
    bulk: Option<Bulk>,
    /// Number of the next part of each table.
    next: [u64; Table::ALL.len()],
    request_bytes: u64,
    response_bytes: u64,
}

impl Writer {
    pub(super) fn new(
        home: Home,
        shared: Arc<Shared>,
        session_lock: FileLock,
        flush_interval: Duration,
        pending_bytes: usize,
        merge: MergePolicy,
        bulk: Option<Bulk>,
    ) -> Self {
        Self {
            home,
            shared,
            session_lock,
            flush_interval,
            pending_bytes,
            merge,
            pending: VecDeque::new(),
            bulk,
            next: [1; Table::ALL.len()],
            request_bytes: 0,
            response_bytes: 0,
        }
    }

    /// Writes until the intake is gone, then closes the session.
    pub(super) fn run(mut self, flushes: &Receiver<Flush>) -> Result<SessionEntry, StorageError> {
        let merging = Merging::start(&self.home, &self.shared, self.merge);
        loop {
            match flushes.recv_timeout(self.flush_interval) {
                Received::Item(flush) => match &mut self.bulk {
                    Some(bulk) => {
                        let published = bulk.take(flush);
                        if published.is_none() {
                            continue;
                        }
                        self.add(published);
                    }
                    None => self.pending.push_back(flush),
                },
                Received::TimedOut if self.bulk.is_some() => continue,
                Received::TimedOut => {}
                Received::Ended => break,
            }
            if let Err(error) = self.publish_pending() {
                self.shed(&error);
                self.fail(&error);
            }
            if let Err(error) = self.store_entry(|_| ()) {
                self.fail(&error);
            }
            merging.nudge();
        }
        self.publish_last();
        merging.stop();
        self.close()
    }

    /// Adds what was published in bulk.
    fn add(&mut self, published: Option<Round>) {
        if let Some(round) = published {
            self.request_bytes += round.request_bytes;
            self.response_bytes += round.response_bytes;
        }
    }

    /// Publishes what waits, the oldest first, until the disk refuses.
    fn publish_pending(&mut self) -> Result<(), StorageError> {
        let wrote = !self.pending.is_empty();
        while let Some(mut flush) = self.pending.pop_front() {
            if let Err(error) = self.publish(&mut flush) {
                self.pending.push_front(flush);
                return Err(error);
            }
        }
        if wrote {
            lock(&self.shared.last_error).take();
        }
        Ok(())
    }

    /// Publishes the tables of a flush in order; those that are on disk leave it.
    fn publish(&mut self, flush: &mut Flush) -> Result<(), StorageError> {
        let dir = self.home.live_dir(&self.shared.id);
        Home::create_dir(&dir)?;
        while let Some((table, batch)) = flush.batches.first_mut() {
            let table = *table;
            let next = self.next[table as usize];
            // The sorted rows take the place of the others: there is one copy while they are written.
            *batch = sorted(batch.clone(), table)?;
            let mut part = PartWriter::create(&dir, table.as_str(), table, Purpose::Live)?;
            part.write(batch)?;
            let rows = part.rows();
            let place = Part::live_path(&self.home, &self.shared.id, table, next, next);
            part.publish(&place)?;
            let bytes = std::fs::metadata(&place).map_or(0, |metadata| metadata.len());
            self.shared.stored_bytes.fetch_add(bytes, Relaxed);
            self.next[table as usize] += 1;
            let (_, batch) = flush.batches.remove(0);
            flush.count_kept(table, rows, &lock(&self.shared.counters));
            if table == Table::Exchanges {
                self.shared.flushed.fetch_add(rows, Relaxed);
                self.request_bytes += flush.request_bytes;
                self.response_bytes += flush.response_bytes;
                self.shared.watchers.tell(&batch);
            }
        }
        files::sync_dir(&dir)
    }

    /// Drops the oldest of what waits until the rest may stay in memory.
    fn shed(&mut self, error: &StorageError) {
        while self.pending.iter().map(|flush| flush.bytes).sum::<usize>() > self.pending_bytes {
            let Some(flush) = self.pending.pop_front() else { return };
            self.drop_flush(&flush, error.drop_reason());
        }
    }

    fn drop_flush(&self, flush: &Flush, reason: &'static str) {
        flush.count_dropped(reason, &lock(&self.shared.counters));
        self.shared.forget_bodies.store(true, Relaxed);
    }

    fn fail(&self, error: &StorageError) {
        self.shared.fail(error);
    }

    /// The last rows get a few more tries; then they are dropped.
    fn publish_last(&mut self) {
        let published = self.bulk.as_mut().map(Bulk::publish);
        self.add(published);
        for attempt in 1.. {
            let Err(error) = self.publish_pending() else { return };
            self.fail(&error);
            if attempt == LAST_TRIES {
                for flush in std::mem::take(&mut self.pending) {
                    self.drop_flush(&flush, error.drop_reason());
                }
                return;
            }
            thread::sleep(LAST_PAUSE);
        }
    }

    /// Writes the recorder's own fields of the entry, and what `change` says; all others stay as they are on disk.
    fn store_entry(&self, change: impl FnOnce(&mut SessionEntry)) -> Result<SessionEntry, StorageError> {
        let settings = lock(&self.shared.settings).clone();
        let last_error = lock(&self.shared.last_error).clone();
        let shared = &self.shared;
        let less = |count: u64, deleted: &AtomicU64| count.saturating_sub(deleted.load(Relaxed));
        shared.catalogue.update(&shared.id, |entry| {
            entry.exchanges = less(shared.flushed.load(Relaxed), &shared.deleted_exchanges);
            entry.request_bytes = less(self.request_bytes, &shared.deleted_request_bytes);
            entry.response_bytes = less(self.response_bytes, &shared.deleted_response_bytes);
            entry.paused_us = settings.paused_us();
            entry.ledger = lock(&self.shared.counters).snapshot();
            entry.last_error = last_error;
            change(entry);
        })
    }

    fn close(self) -> Result<SessionEntry, StorageError> {
        let merged = compaction::finish(&self.home, &self.shared.id, self.merge);
        match &merged {
            Ok(messages) => lock(&self.shared.counters).deleted(Layer::Messages, *messages),
            Err(error) => self.fail(error),
        }
        let entry = self.store_entry(|entry| {
            entry.state = if merged.is_ok() { SessionState::Stopped } else { SessionState::Failed };
            entry.ended = Some(Timestamp::now());
            entry.pid = None;
            entry.proxy = None;
            entry.ui = None;
        })?;
        self.session_lock.remove();
        Ok(entry)
    }
}

impl Shared {
    pub(super) fn fail(&self, error: &StorageError) {
        let text = error.to_string();
        let mut last_error = lock(&self.last_error);
        if last_error.as_ref() != Some(&text) {
            tracing::warn!("{text}");
            *last_error = Some(text);
        }
    }
}

/// The thread that merges parts while the session runs.
struct Merging {
    nudges: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Merging {
    fn start(home: &Home, shared: &Arc<Shared>, policy: MergePolicy) -> Self {
        let (nudges, nudged) = crossbeam_channel::bounded(1);
        let (home, shared) = (home.clone(), Arc::clone(shared));
        let work = move || {
            while nudged.recv().is_ok() {
                if let Err(error) = compaction::run(&home, &shared.id, policy) {
                    // Nothing is lost: the parts stay as they are.
                    shared.fail(&error);
                }
            }
        };
        let thread = thread::Builder::new().name("weir-merge".into()).spawn(work);
        if let Err(error) = &thread {
            tracing::warn!("parts are merged at the end only: cannot start a thread: {error}");
        }
        Self { nudges, thread: thread.ok() }
    }

    /// Says that there are new parts.
    fn nudge(&self) {
        // A nudge that waits serves for this one too.
        let _ = self.nudges.try_send(());
    }

    /// Lets the merge under way end.
    fn stop(self) {
        drop(self.nudges);
        if let Some(thread) = self.thread
            && thread.join().is_err()
        {
            tracing::warn!("the merging thread failed");
        }
    }
}

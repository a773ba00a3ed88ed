//! Sessions whose writer died: found by their free lock, merged into the lake, closed as `recovered`.
//!
//! What had been flushed is there: a part is on disk as a whole or not at all. Counts come from the
//! parts; what the last ledger knew of as under way is lost and counted as `crash`.

use std::{fs, time::UNIX_EPOCH};

use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use weir_engine::ledger::{Layer, Ledger};

use crate::{
    catalogue::Catalogue,
    compaction::{self, MergePolicy},
    error::StorageError,
    home::Home,
    lock::FileLock,
    parts,
    schema::Table,
    session::{SessionEntry, SessionId, SessionState},
    summary::Summary,
    time::Timestamp,
};

/// Reason in the ledger for what a crash took.
const CRASH: &str = "crash";

impl Catalogue {
    /// Closes the sessions that are marked as running although nobody writes them, and those whose last
    /// merge failed. Returns their entries as they are then. One that cannot be closed now is left as
    /// it is, with a warning.
    ///
    /// # Errors
    /// [`StorageError::Io`] when the catalogue cannot be read.
    pub fn recover(&self) -> Result<Vec<SessionEntry>, StorageError> {
        let mut recovered = Vec::new();
        for entry in self.list()? {
            let unfinished = entry.state == SessionState::Failed && self.home().live_dir(&entry.id).exists();
            if !entry.state.is_open() && !unfinished {
                if self.home().tombstones_dir(&entry.id).exists() {
                    self.finish_deletion(&entry.id);
                }
                continue;
            }
            match self.recover_session(&entry.id) {
                Ok(Some(entry)) => recovered.push(entry),
                Ok(None) => {}
                Err(error) => tracing::warn!("session {} cannot be recovered now: {error}", entry.id),
            }
        }
        Ok(recovered)
    }

    /// Drops what a delete that was interrupted left to be dropped. It stays hidden where that fails.
    fn finish_deletion(&self, id: &SessionId) {
        let dropped = FileLock::try_acquire(&self.home().lock_path(id)).and_then(|lock| {
            let Some(lock) = lock else { return Ok(()) };
            compaction::drop_deleted(self.home(), id)?;
            lock.remove();
            Ok(())
        });
        if let Err(error) = dropped {
            tracing::warn!("deleted rows of session {id} are hidden, not dropped: {error}");
        }
    }

    fn recover_session(&self, id: &SessionId) -> Result<Option<SessionEntry>, StorageError> {
        let home = self.home();
        let Some(lock) = FileLock::try_acquire(&home.lock_path(id))? else { return Ok(None) };
        // Its writer may have closed it between the listing and the lock.
        let entry = self.load(id)?;
        if !entry.state.is_open() && entry.state != SessionState::Failed {
            lock.remove();
            return Ok(None);
        }
        let last_written = last_written(home, id)?;
        compaction::finish(home, id, MergePolicy::default())?;
        let counts = Counts::of(home, id)?;
        let entry = self.update(id, |entry| {
            if entry.ended.is_none() {
                entry.ended = Some(last_written.unwrap_or(entry.started));
            }
            entry.state = SessionState::Recovered;
            entry.exchanges = counts.exchanges;
            entry.request_bytes = counts.request_bytes;
            entry.response_bytes = counts.response_bytes;
            entry.pid = None;
            entry.proxy = None;
            entry.ui = None;
            close_ledger(&mut entry.ledger, &counts);
        })?;
        lock.remove();
        Ok(Some(entry))
    }
}

/// Rows on disk.
struct Counts {
    exchanges: u64,
    connections: u64,
    messages: u64,
    request_bytes: u64,
    response_bytes: u64,
}

impl Counts {
    fn of(home: &Home, id: &SessionId) -> Result<Self, StorageError> {
        let (connections, _) = rows(home, id, Table::Connections)?;
        let (messages, _) = rows(home, id, Table::Messages)?;
        let (exchanges, summary) = rows(home, id, Table::Exchanges)?;
        let (request_bytes, response_bytes) = (summary.totals.request_bytes, summary.totals.response_bytes);
        Ok(Self { exchanges, connections, messages, request_bytes, response_bytes })
    }
}

fn rows(home: &Home, id: &SessionId, table: Table) -> Result<(u64, Summary), StorageError> {
    let mut rows = 0;
    let mut totals = Summary::default();
    for (part, file) in parts::open_parts(home, id, table)? {
        let metadata: ParquetMetaData =
            ParquetMetaDataReader::new().parse_and_finish(&file).map_err(StorageError::parquet("read", &part.path))?;
        rows += u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0);
        if let Some(summary) = Summary::of_part(&metadata) {
            totals.merge(&summary);
        }
    }
    Ok((rows, totals))
}

/// When the last part was written.
fn last_written(home: &Home, id: &SessionId) -> Result<Option<Timestamp>, StorageError> {
    let mut last = None;
    for table in Table::ALL {
        for part in parts::list_parts(home, id, table)? {
            let written = fs::metadata(&part.path).and_then(|metadata| metadata.modified());
            let since = written.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let at = since.and_then(|since| i64::try_from(since.as_micros()).ok()).map(Timestamp);
            last = last.max(at);
        }
    }
    Ok(last)
}

/// The ledger of the last flush, made to agree with the rows on disk and to balance.
fn close_ledger(ledger: &mut Ledger, counts: &Counts) {
    for layer in Layer::ALL {
        let rows = match layer {
            Layer::Exchanges => Some(counts.exchanges),
            Layer::Connections => Some(counts.connections),
            Layer::Messages => Some(counts.messages),
            Layer::Packets | Layer::StreamBytes | Layer::HttpMessages | Layer::Bodies => None,
        };
        if ledger.layer(layer).is_none() && rows.is_none_or(|rows| rows == 0) {
            continue;
        }
        let tally = ledger.layer_mut(layer);
        tally.kept = rows.unwrap_or(tally.kept);
        tally.seen = tally.seen.max(tally.kept + tally.dropped_total());
        let lost = tally.under_way();
        if lost > 0 {
            *tally.dropped.entry(CRASH.to_owned()).or_default() += lost;
        }
    }
}

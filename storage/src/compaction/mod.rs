//! Merging parts: small live ones into larger live ones, and those into the lake.
//!
//! - [`source`]: one part as a stream of rows; [`merge`]: many of them into one.
//! - [`dropping`]: parts without what was deleted.
//!
//! One rename commits a merge (see [`crate::parts`]); a crash before it leaves a temporary file, a
//! crash after it leaves parts that no longer count. Both are swept up by the next run. Only one
//! thread of the session's writer merges, while it holds the session's lock.

mod dropping;
mod merge;
mod source;

use std::fs;

pub(crate) use self::dropping::drop_deleted;
use crate::{
    error::StorageError,
    files,
    home::Home,
    part_file::{PartWriter, Purpose},
    parts::{self, Part},
    schema::Table,
    session::SessionId,
};

/// When parts are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MergePolicy {
    /// Live bytes of a table that make one part of the lake.
    pub lake_bytes: u64,
    /// So many live parts of a table make one part of the lake, however small they are together.
    pub lake_parts: usize,
    /// Live parts below this are small.
    pub small_bytes: u64,
    /// So many small ones in a row are merged into a larger live one.
    pub small_run: usize,
}

impl Default for MergePolicy {
    /// zstd takes about a third off what is live: a part of the lake is about 128 MiB. What a busy
    /// session flushes is not small, so that its rows are merged once only, into the lake.
    fn default() -> Self {
        Self { lake_bytes: 192 << 20, lake_parts: 512, small_bytes: 32 << 10, small_run: 64 }
    }
}

/// Merges what is worth merging while a session runs. Returns whether something was merged.
pub(crate) fn run(home: &Home, id: &SessionId, policy: MergePolicy) -> Result<bool, StorageError> {
    let mut merged = false;
    for table in Table::ALL {
        let (parts, replaced) = parts::scan(home, id, table)?;
        remove(&replaced);
        let live: Vec<_> = parts.into_iter().filter(|part| !part.lake).collect();
        let bytes: u64 = live.iter().map(|part| part.bytes).sum();
        if bytes >= policy.lake_bytes || live.len() >= policy.lake_parts {
            merge_parts(home, id, table, oldest(&live, policy), Purpose::Lake)?;
            merged = true;
        } else if let Some(run) = small_run(&live, policy) {
            merge_parts(home, id, table, run, Purpose::Live)?;
            merged = true;
        }
    }
    Ok(merged)
}

/// Moves everything into the lake, drops what was deleted and removes the live folder: the session has ended.
/// Returns how many messages went with deleted exchanges.
pub(crate) fn finish(home: &Home, id: &SessionId, policy: MergePolicy) -> Result<u64, StorageError> {
    sweep(home, id)?;
    for table in Table::ALL {
        loop {
            let (parts, replaced) = parts::scan(home, id, table)?;
            remove(&replaced);
            let live: Vec<_> = parts.into_iter().filter(|part| !part.lake).collect();
            if live.is_empty() {
                break;
            }
            merge_parts(home, id, table, oldest(&live, policy), Purpose::Lake)?;
        }
    }
    let messages = drop_deleted(home, id)?;
    files::remove_dir_all(&home.live_dir(id))?;
    Ok(messages)
}

/// Removes what a dead writer left unfinished.
fn sweep(home: &Home, id: &SessionId) -> Result<(), StorageError> {
    let dir = home.live_dir(id);
    let files = match fs::read_dir(&dir) {
        Ok(files) => files,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StorageError::io("list", dir)(error)),
    };
    for file in files {
        let file = file.map_err(StorageError::io("list", &dir))?;
        if file.file_name().to_string_lossy().starts_with(files::TEMPORARY_PREFIX) {
            fs::remove_file(file.path()).map_err(StorageError::io("remove", file.path()))?;
        }
    }
    Ok(())
}

/// The oldest parts that together make one of the lake; at least one.
fn oldest(live: &[Part], policy: MergePolicy) -> &[Part] {
    let mut bytes = 0;
    let count = live
        .iter()
        .take_while(|part| {
            let fits = bytes < policy.lake_bytes;
            bytes += part.bytes;
            fits
        })
        .count();
    &live[..count]
}

/// The first run of small parts that is long enough.
fn small_run(live: &[Part], policy: MergePolicy) -> Option<&[Part]> {
    live.chunk_by(|one, next| one.bytes.max(next.bytes) < policy.small_bytes)
        .find(|run| run.len() >= policy.small_run)
        .map(|run| {
            let mut bytes = 0;
            let fitting = run.iter().take_while(|part| {
                bytes += part.bytes;
                bytes <= policy.lake_bytes / 2
            });
            &run[..fitting.count()]
        })
        .filter(|run| run.len() > 1)
}

fn merge_parts(
    home: &Home,
    id: &SessionId,
    table: Table,
    parts: &[Part],
    purpose: Purpose,
) -> Result<(), StorageError> {
    let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return Ok(()) };
    // Unfinished files lie in live/ also when they are for the lake: nobody else looks there.
    let mut writer = PartWriter::create(&home.live_dir(id), &format!("merge-{table}"), table, purpose)?;
    merge::merge(parts, table, &mut writer)?;
    let place = match purpose {
        Purpose::Live => Part::live_path(home, id, table, first.first, last.last),
        Purpose::Lake | Purpose::Dense => {
            Home::create_dir(&home.lake_dir(table, id))?;
            Part::lake_path(home, id, table, first.first, last.last)
        }
    };
    tracing::debug!(%table, parts = parts.len(), rows = writer.rows(), ?purpose, "merged parts");
    writer.publish(&place)?;
    // One part merged alone into a live one would be renamed onto itself.
    let replaced: Vec<_> = parts.iter().filter(|part| part.path != place).cloned().collect();
    remove(&replaced);
    Ok(())
}

/// Removes parts that no longer count. One that stays does no harm: it is tried again.
fn remove(parts: &[Part]) {
    for part in parts {
        if let Err(error) = fs::remove_file(&part.path) {
            tracing::debug!(path = %part.path.display(), %error, "a replaced part stays for now");
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::{array::AsArray, datatypes::UInt64Type};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use weir_engine::record::Exchange;

    use super::*;
    use crate::{
        columns::exchanges::Exchanges,
        part_file::sorted,
        parts::{list_parts, open_parts},
    };

    const TABLE: Table = Table::Exchanges;

    /// Six live parts of 50 rows that overlap in time, and one row of an exchange that took long.
    fn session() -> (tempfile::TempDir, Home, SessionId) {
        let folder = tempfile::tempdir().expect("temporary folder");
        let home = Home::at(folder.path());
        let id = SessionId::generate();
        Home::create_dir(&home.live_dir(&id)).expect("creates");
        let mut columns = Exchanges::default();
        for part in 1..=6_u64 {
            for row in 0..50 {
                let number = part * 50 + row;
                let started_us = if number == 290 { 3 } else { (number + row * 7 % 60) as i64 };
                columns.push(&Exchange { id: number, started_us, ..Exchange::default() }, None, None);
            }
            let batch = sorted(columns.finish().expect("fits"), TABLE).expect("sorts");
            let mut writer = PartWriter::create(&home.live_dir(&id), "x", TABLE, Purpose::Live).expect("creates");
            writer.write(&batch).expect("writes");
            writer.publish(&Part::live_path(&home, &id, TABLE, part, part)).expect("publishes");
        }
        (folder, home, id)
    }

    fn ids(home: &Home, id: &SessionId) -> Vec<u64> {
        let mut ids = Vec::new();
        for (_, file) in open_parts(home, id, TABLE).expect("opens") {
            let mut last = i64::MIN;
            for batch in ParquetRecordBatchReaderBuilder::try_new(file).expect("opens").build().expect("reads") {
                let batch = batch.expect("reads");
                ids.extend_from_slice(batch["id"].as_primitive::<UInt64Type>().values());
                let times = batch["started"].as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
                assert!(times.values().is_sorted() && times.value(0) >= last);
                last = times.value(times.len() - 1);
            }
        }
        ids.sort_unstable();
        ids
    }

    #[test]
    fn no_step_of_a_merge_loses_or_repeats_a_row() {
        let all: Vec<u64> = (50..350).collect();
        for purpose in [Purpose::Live, Purpose::Lake] {
            for left in 0..=6_usize {
                let (folder, home, id) = session();
                let live = list_parts(&home, &id, TABLE).expect("lists");
                let aside = folder.path().join("aside");
                fs::create_dir(&aside).expect("creates");
                let copy = |part: &Part| aside.join(part.path.file_name().expect("has a name"));
                for part in &live {
                    fs::copy(&part.path, copy(part)).expect("copies");
                }
                merge_parts(&home, &id, TABLE, &live, purpose).expect("merges");
                assert_eq!(ids(&home, &id), all);
                // As if it had been killed before it removed the last `left` of those it replaced, and
                // while it wrote the next.
                for part in &live[6 - left..] {
                    fs::copy(copy(part), &part.path).expect("copies");
                }
                fs::write(home.live_dir(&id).join(".tmp-merge-exchanges.parquet"), "half").expect("writes");
                assert_eq!(ids(&home, &id), all, "{purpose:?}, {left} left");
                finish(&home, &id, MergePolicy::default()).expect("finishes");
                assert_eq!(ids(&home, &id), all, "{purpose:?}, {left} left");
                assert!(!home.live_dir(&id).exists());
            }
        }
    }

    #[test]
    fn runs_of_small_parts_and_enough_bytes_are_merged() {
        let (_folder, home, id) = session();
        let policy = MergePolicy { lake_bytes: u64::MAX, lake_parts: 100, small_bytes: 1 << 20, small_run: 7 };
        assert!(!run(&home, &id, policy).expect("runs"));
        assert!(run(&home, &id, MergePolicy { small_run: 6, ..policy }).expect("runs"));
        let parts = list_parts(&home, &id, TABLE).expect("lists");
        assert_eq!((parts.len(), parts[0].lake, parts[0].last), (1, false, 6));
        assert!(run(&home, &id, MergePolicy { lake_parts: 1, ..policy }).expect("runs"));
        assert!(list_parts(&home, &id, TABLE).expect("lists")[0].lake);
        assert_eq!(ids(&home, &id).len(), 300);
    }
}

//! Which files hold a session's rows.
//!
//! Every table of a session numbers its flushes from 1, without holes. The name of a part carries
//! the first and the last number it holds: `live/session=<id>/exchanges-00000007-00000007.parquet`,
//! `lake/exchanges/session=<id>/part-00000001-00000064.parquet`. Merging parts writes one file with
//! the whole range and removes those it was made from afterwards. So one rename commits a merge, and
//! there is nothing else to keep in step:
//!
//! **A part counts unless another part of the same table covers its numbers.**
//!
//! A reader lists `live/` before `lake/`: rows only move from the first to the second, so it misses
//! none. It may find a part gone when it comes to open it, because a merge has replaced it meanwhile:
//! [`open_parts`] then lists again. Once they are open, parts stay readable.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{error::StorageError, home::Home, schema::Table, session::SessionId};

/// How often a listing is tried again when files moved under it.
const TRIES: u32 = 50;
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(2);

/// One Parquet file of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The table its rows belong to.
    pub table: Table,
    /// First flush it holds.
    pub first: u64,
    /// Last flush it holds.
    pub last: u64,
    /// Whether it lies in the lake: sorted by time, with full statistics.
    pub lake: bool,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// The file.
    pub path: PathBuf,
}

impl Part {
    /// A part under `live/`.
    #[must_use]
    pub fn live_path(home: &Home, id: &SessionId, table: Table, first: u64, last: u64) -> PathBuf {
        home.live_dir(id).join(format!("{table}-{first:08}-{last:08}.parquet"))
    }

    /// A part under `lake/`.
    #[must_use]
    pub fn lake_path(home: &Home, id: &SessionId, table: Table, first: u64, last: u64) -> PathBuf {
        home.lake_dir(table, id).join(format!("part-{first:08}-{last:08}.parquet"))
    }

    fn covers(&self, other: &Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }
}

/// The parts of one table, in the order of their flushes; each row is in one of them exactly once.
/// Empty when the table has no rows.
///
/// # Errors
/// [`StorageError::Io`].
pub fn list_parts(home: &Home, id: &SessionId, table: Table) -> Result<Vec<Part>, StorageError> {
    let mut tries = 0;
    loop {
        let (parts, _) = scan(home, id, table)?;
        tries += 1;
        // A hole means that a merge replaced files while the folder was read. One that stays means
        // that a file was lost: what is left is worth reading.
        if is_contiguous(&parts) || tries == TRIES {
            return Ok(parts);
        }
        std::thread::sleep(PAUSE);
    }
}

/// The parts of one table with their files opened: later merges cannot take them away.
///
/// # Errors
/// [`StorageError::Io`]; [`StorageError::Busy`] when files moved under every try.
pub fn open_parts(home: &Home, id: &SessionId, table: Table) -> Result<Vec<(Part, File)>, StorageError> {
    for _ in 0..TRIES {
        let opened: Result<Vec<_>, _> = list_parts(home, id, table)?
            .into_iter()
            .map(|part| match File::open(&part.path) {
                Ok(file) => Ok((part, file)),
                Err(source) => Err(StorageError::io("open", &part.path)(source)),
            })
            .collect();
        match opened {
            Err(error) if error.is_not_found() => std::thread::sleep(PAUSE),
            done => return done,
        }
    }
    Err(StorageError::Busy(id.to_string()))
}

/// Parts that count, and parts that a merge has replaced but not removed yet.
pub(crate) fn scan(home: &Home, id: &SessionId, table: Table) -> Result<(Vec<Part>, Vec<Part>), StorageError> {
    let mut all = Vec::new();
    // Live first: see the rule above.
    read_dir(&home.live_dir(id), table, false, &mut all)?;
    read_dir(&home.lake_dir(table, id), table, true, &mut all)?;
    // The widest first among those that begin together; of two equal ones the lake's.
    all.sort_by_key(|part| (part.first, std::cmp::Reverse(part.last), !part.lake));
    let mut parts: Vec<Part> = Vec::with_capacity(all.len());
    let mut replaced = Vec::new();
    for part in all {
        if parts.last().is_some_and(|last| last.covers(&part)) {
            replaced.push(part);
        } else {
            parts.push(part);
        }
    }
    Ok((parts, replaced))
}

fn read_dir(dir: &Path, table: Table, lake: bool, into: &mut Vec<Part>) -> Result<(), StorageError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StorageError::io("list", dir)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(StorageError::io("list", dir))?;
        let name = entry.file_name();
        let prefix = if lake { "part" } else { table.as_str() };
        let Some((first, last)) = name.to_str().and_then(|name| range_of(name, prefix)) else { continue };
        // Gone since it was listed: the merge that replaced it is found in this or the next try.
        let Ok(metadata) = entry.metadata() else { continue };
        into.push(Part { table, first, last, lake, bytes: metadata.len(), path: entry.path() });
    }
    Ok(())
}

fn range_of(name: &str, prefix: &str) -> Option<(u64, u64)> {
    let range = name.strip_prefix(prefix)?.strip_prefix('-')?.strip_suffix(".parquet")?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

fn is_contiguous(parts: &[Part]) -> bool {
    let mut next = 1;
    parts.iter().all(|part| {
        let fits = part.first == next;
        next = part.last + 1;
        fits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wider_part_replaces_those_it_covers() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let home = Home::at(folder.path());
        let id = SessionId::generate();
        assert!(list_parts(&home, &id, Table::Exchanges).expect("lists").is_empty());
        Home::create_dir(&home.live_dir(&id)).expect("creates");
        Home::create_dir(&home.lake_dir(Table::Exchanges, &id)).expect("creates");
        let table = Table::Exchanges;
        for number in 1..=6 {
            fs::write(Part::live_path(&home, &id, table, number, number), "").expect("writes");
        }
        fs::write(Part::live_path(&home, &id, Table::Bodies, 1, 1), "").expect("writes");
        fs::write(home.live_dir(&id).join(".tmp-exchanges-00000001-00000006.parquet"), "").expect("writes");
        let ranges = || -> Vec<_> {
            let parts = list_parts(&home, &id, table).expect("lists");
            parts.iter().map(|part| (part.first, part.last, part.lake)).collect()
        };
        assert_eq!(ranges().len(), 6);
        fs::write(Part::live_path(&home, &id, table, 4, 6), "").expect("writes");
        assert_eq!(ranges(), [(1, 1, false), (2, 2, false), (3, 3, false), (4, 6, false)]);
        fs::write(Part::lake_path(&home, &id, table, 1, 3), "").expect("writes");
        assert_eq!(ranges(), [(1, 3, true), (4, 6, false)]);
        assert_eq!(scan(&home, &id, table).expect("lists").1.len(), 6);
        fs::write(Part::lake_path(&home, &id, table, 4, 6), "").expect("writes");
        assert_eq!(ranges(), [(1, 3, true), (4, 6, true)]);
        assert_eq!(open_parts(&home, &id, table).expect("opens").len(), 2);
    }
}

//! Rows that are deleted but still in parts: small Parquet files beside the session.
//!
//! In: ids of exchanges, and cookies. Out: what every reader leaves out until a merge has dropped it.
//! A tombstone is written whole or not at all, by whoever deletes, without a lock; it is removed by the
//! merge that rewrote every part it is about. Readers load tombstones before they open parts, so that a row
//! that was deleted never shows again.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, AsArray, RecordBatch, StringArray, UInt64Array},
    datatypes::{Int64Type, UInt64Type},
    error::ArrowError,
};
use parquet::arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder};
use ulid::Ulid;

use crate::{error::StorageError, files, home::Home, session::SessionId};

/// What was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Deleted {
    /// Exchanges.
    pub exchanges: u64,
    /// Sum of their `request_size`.
    pub request_bytes: u64,
    /// Sum of their `response_size`.
    pub response_bytes: u64,
    /// Cookies.
    pub cookies: u64,
}

/// Numbers as ascending ranges that do not touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ids {
    ranges: Vec<(u64, u64)>,
}

impl FromIterator<u64> for Ids {
    fn from_iter<T: IntoIterator<Item = u64>>(ids: T) -> Self {
        let mut ids: Vec<u64> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for id in ids {
            match ranges.last_mut() {
                Some(last) if last.1.checked_add(1) == Some(id) => last.1 = id,
                _ => ranges.push((id, id)),
            }
        }
        Self { ranges }
    }
}

impl Ids {
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub(crate) fn contains(&self, id: u64) -> bool {
        self.intersects(id, id)
    }

    /// Whether any of them lies between these two.
    pub(crate) fn intersects(&self, low: u64, high: u64) -> bool {
        let at = self.ranges.partition_point(|range| range.1 < low);
        self.ranges.get(at).is_some_and(|range| range.0 <= high)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u64> {
        self.ranges.iter().flat_map(|range| range.0..=range.1)
    }
}

/// What tells a cookie from all others: domain, path, name.
pub(crate) type CookieKey = (String, String, String);

/// What is deleted of a session.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tombstones {
    /// Exchanges.
    pub(crate) exchanges: Arc<Ids>,
    /// Cookies as they were known up to a time, microseconds since the Unix epoch.
    pub(crate) cookies: Arc<HashMap<CookieKey, i64>>,
    files: Vec<PathBuf>,
}

impl Tombstones {
    /// Everything deleted of a session.
    pub(crate) fn load(home: &Home, id: &SessionId) -> Result<Self, StorageError> {
        let dir = home.tombstones_dir(id);
        let listed = match fs::read_dir(&dir) {
            Ok(listed) => listed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(StorageError::io("list", dir)(error)),
        };
        let (mut ids, mut cookies, mut files) = (Vec::new(), HashMap::new(), Vec::new());
        for file in listed {
            let path = file.map_err(StorageError::io("list", &dir))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let is_ours = name.ends_with(".parquet") && !name.starts_with(files::TEMPORARY_PREFIX);
            let read = match is_ours {
                true if name.starts_with("exchanges-") => read_exchanges(&path, &mut ids),
                true if name.starts_with("cookies-") => read_cookies(&path, &mut cookies),
                _ => continue,
            };
            match read {
                Ok(()) => files.push(path),
                // A merge removed it meanwhile: its rows are gone, or about to be listed again.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { exchanges: Arc::new(ids.into_iter().collect()), cookies: Arc::new(cookies), files })
    }

    /// Whether nothing is deleted.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Removes the files that were loaded: nothing they are about is in a part any more.
    pub(crate) fn remove(self, home: &Home, id: &SessionId) -> Result<(), StorageError> {
        for path in self.files {
            fs::remove_file(&path).map_err(StorageError::io("remove", &path))?;
        }
        // It stays when something else was deleted meanwhile.
        let _ = fs::remove_dir(home.tombstones_dir(id));
        Ok(())
    }
}

/// Notes exchanges as deleted.
pub(crate) fn write_exchanges(home: &Home, id: &SessionId, ids: &Ids) -> Result<(), StorageError> {
    let column: ArrayRef = Arc::new(UInt64Array::from_iter_values(ids.iter()));
    write(home, id, "exchanges", &[("id", column)])
}

/// Notes cookies as deleted up to a time.
pub(crate) fn write_cookies(
    home: &Home,
    id: &SessionId,
    cookies: &[CookieKey],
    before_us: i64,
) -> Result<(), StorageError> {
    let text = |part: fn(&CookieKey) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(cookies.iter().map(part)))
    };
    let before = arrow::array::Int64Array::from_iter_values(cookies.iter().map(|_| before_us));
    let columns = [
        ("domain", text(|key| &key.0)),
        ("path", text(|key| &key.1)),
        ("name", text(|key| &key.2)),
        ("before", Arc::new(before) as ArrayRef),
    ];
    write(home, id, "cookies", &columns)
}

fn write(home: &Home, id: &SessionId, table: &str, columns: &[(&str, ArrayRef)]) -> Result<(), StorageError> {
    let dir = home.tombstones_dir(id);
    Home::create_dir(&dir)?;
    let name = format!("{table}-{}.parquet", Ulid::generate());
    let temporary = dir.join(format!("{}{name}", files::TEMPORARY_PREFIX));
    let batch = RecordBatch::try_from_iter(columns.iter().map(|(name, column)| (*name, Arc::clone(column))))?;
    let written = (|| {
        let file = files::create_file(&temporary)?;
        let broken = || StorageError::parquet("write", &temporary);
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).map_err(broken())?;
        writer.write(&batch).map_err(broken())?;
        let file = writer.into_inner().map_err(broken())?;
        files::publish(&file, &temporary, &dir.join(&name))?;
        files::sync_dir(&dir)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn batches(path: &Path) -> Result<Vec<RecordBatch>, StorageError> {
    let broken = || StorageError::parquet("read", path);
    let file = File::open(path).map_err(StorageError::io("open", path))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(ParquetRecordBatchReaderBuilder::build)
        .map_err(broken())?;
    Ok(reader.collect::<Result<_, ArrowError>>()?)
}

fn mismatch() -> StorageError {
    ArrowError::SchemaError("a tombstone has unexpected columns".to_owned()).into()
}

fn read_exchanges(path: &Path, into: &mut Vec<u64>) -> Result<(), StorageError> {
    for batch in batches(path)? {
        let ids = batch.column_by_name("id").and_then(|column| column.as_primitive_opt::<UInt64Type>());
        into.extend_from_slice(ids.ok_or_else(mismatch)?.values());
    }
    Ok(())
}

fn read_cookies(path: &Path, into: &mut HashMap<CookieKey, i64>) -> Result<(), StorageError> {
    for batch in batches(path)? {
        let text =
            |name| batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>()).ok_or_else(mismatch);
        let (domains, paths, names) = (text("domain")?, text("path")?, text("name")?);
        let before = batch.column_by_name("before").and_then(|column| column.as_primitive_opt::<Int64Type>());
        let before = before.ok_or_else(mismatch)?;
        for row in 0..batch.num_rows() {
            let key = (domains.value(row).to_owned(), paths.value(row).to_owned(), names.value(row).to_owned());
            let known = into.entry(key).or_insert(i64::MIN);
            *known = (*known).max(before.value(row));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_what_was_put_in() {
        let ids: Ids = [5, 1, 2, 3, 9, 3, u64::MAX].into_iter().collect();
        assert_eq!(ids.ranges, [(1, 3), (5, 5), (9, 9), (u64::MAX, u64::MAX)]);
        assert!(ids.contains(2) && ids.contains(5) && !ids.contains(4) && !ids.contains(0));
        assert!(ids.intersects(4, 5) && ids.intersects(0, 100) && !ids.intersects(6, 8));
        assert_eq!(ids.iter().take(5).collect::<Vec<_>>(), [1, 2, 3, 5, 9]);
    }

    #[test]
    fn what_is_written_is_loaded_until_it_is_removed() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (home, id) = (Home::at(folder.path()), SessionId::generate());
        assert!(Tombstones::load(&home, &id).expect("loads").is_empty());
        write_exchanges(&home, &id, &[1, 2].into_iter().collect()).expect("writes");
        write_exchanges(&home, &id, &[7].into_iter().collect()).expect("writes");
        let key = ("a.example".to_owned(), "/".to_owned(), "id".to_owned());
        write_cookies(&home, &id, std::slice::from_ref(&key), 3).expect("writes");
        let loaded = Tombstones::load(&home, &id).expect("loads");
        assert_eq!(loaded.exchanges.iter().collect::<Vec<_>>(), [1, 2, 7]);
        assert_eq!(loaded.cookies.get(&key), Some(&3));
        loaded.remove(&home, &id).expect("removes");
        assert!(!home.tombstones_dir(&id).exists());
    }
}

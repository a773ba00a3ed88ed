//! Deleted rows dropped from the parts that hold them.
//!
//! In: tombstones. Out: parts under the same names without those rows, the messages of deleted exchanges and the
//! bodies that no other exchange carries; then no tombstones. Exchanges go last: should this be interrupted, the
//! next run finds everything again.

use std::collections::HashSet;

use arrow::{
    array::{Array, AsArray, BooleanArray, RecordBatch},
    compute::filter_record_batch,
    datatypes::{Int32Type, TimestampMicrosecondType, UInt64Type},
    error::ArrowError,
};

use super::source::Source;
use crate::{
    error::StorageError,
    files,
    home::Home,
    part_file::{PartWriter, Purpose},
    parts::{self, Part},
    schema::Table,
    session::SessionId,
    tombstones::{Ids, Tombstones},
};

type Hash = [u8; 32];

/// Drops what is deleted of a session that nobody writes to. Returns how many messages went.
pub(crate) fn drop_deleted(home: &Home, id: &SessionId) -> Result<u64, StorageError> {
    let tombstones = Tombstones::load(home, id)?;
    if tombstones.is_empty() {
        return Ok(0);
    }
    let dropping = Dropping { home, id };
    Home::create_dir(&home.live_dir(id))?;
    let mut messages = 0;
    if !tombstones.exchanges.is_empty() {
        let ids = &*tombstones.exchanges;
        let orphans = dropping.orphans(ids)?;
        if !orphans.is_empty() {
            dropping.rewrite(Table::Bodies, |batch| is_among(batch, "hash", &orphans))?;
        }
        messages = dropping.rewrite(Table::Messages, |batch| is_numbered(batch, "exchange", ids))?;
        dropping.rewrite(Table::Exchanges, |batch| is_numbered(batch, "id", ids))?;
    }
    if !tombstones.cookies.is_empty() {
        dropping.rewrite(Table::Cookies, |batch| is_deleted_cookie(batch, &tombstones))?;
    }
    tombstones.remove(home, id)?;
    files::remove_dir_all(&home.live_dir(id))?;
    Ok(messages)
}

struct Dropping<'a> {
    home: &'a Home,
    id: &'a SessionId,
}

impl Dropping<'_> {
    fn each(
        &self,
        table: Table,
        mut each: impl FnMut(&RecordBatch) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        for part in parts::list_parts(self.home, self.id, table)? {
            let mut source = Source::new(part)?;
            while let Some((batch, _)) = source.next()? {
                each(&batch)?;
            }
        }
        Ok(())
    }

    /// Bodies that only deleted exchanges carry.
    fn orphans(&self, ids: &Ids) -> Result<HashSet<Hash>, StorageError> {
        let mut orphans = HashSet::new();
        let gather = |batch: &RecordBatch, deleted: bool, into: &mut dyn FnMut(Hash)| -> Result<(), ArrowError> {
            let gone = is_numbered(batch, "id", ids)?;
            for name in ["request_body", "response_body"] {
                let column = batch.column_by_name(name).and_then(|column| column.as_fixed_size_binary_opt());
                let column = column.ok_or_else(|| missing(name))?;
                let rows = (0..batch.num_rows()).filter(|&row| gone.value(row) == deleted && column.is_valid(row));
                rows.filter_map(|row| column.value(row).try_into().ok()).for_each(&mut *into);
            }
            Ok(())
        };
        self.each(Table::Exchanges, |batch| {
            Ok(gather(batch, true, &mut |hash| {
                orphans.insert(hash);
            })?)
        })?;
        if !orphans.is_empty() {
            self.each(Table::Exchanges, |batch| {
                Ok(gather(batch, false, &mut |hash| {
                    orphans.remove(&hash);
                })?)
            })?;
        }
        Ok(orphans)
    }

    /// Writes the parts that hold rows to be dropped anew. Returns how many rows went.
    fn rewrite(
        &self,
        table: Table,
        is_deleted: impl Fn(&RecordBatch) -> Result<BooleanArray, ArrowError>,
    ) -> Result<u64, StorageError> {
        let mut gone = 0;
        for part in parts::list_parts(self.home, self.id, table)? {
            gone += self.rewrite_part(&part, &is_deleted)?;
        }
        Ok(gone)
    }

    fn rewrite_part(
        &self,
        part: &Part,
        is_deleted: &impl Fn(&RecordBatch) -> Result<BooleanArray, ArrowError>,
    ) -> Result<u64, StorageError> {
        // Read twice rather than written in vain: most parts hold nothing of what is deleted.
        let mut source = Source::new(part.clone())?;
        let mut gone = 0;
        while let Some((batch, _)) = source.next()? {
            gone += is_deleted(&batch)?.true_count() as u64;
        }
        if gone == 0 {
            return Ok(0);
        }
        let purpose = if part.lake { Purpose::Lake } else { Purpose::Live };
        let name = format!("drop-{}", part.table);
        let mut writer = PartWriter::create(&self.home.live_dir(self.id), &name, part.table, purpose)?;
        let mut source = Source::new(part.clone())?;
        while let Some((batch, _)) = source.next()? {
            let kept = arrow::compute::not(&is_deleted(&batch)?)?;
            writer.write(&filter_record_batch(&batch, &kept)?)?;
        }
        writer.publish(&part.path)?;
        Ok(gone)
    }
}

fn missing(name: &str) -> ArrowError {
    ArrowError::SchemaError(format!("column {name} is missing or of another type"))
}

fn is_numbered(batch: &RecordBatch, name: &str, ids: &Ids) -> Result<BooleanArray, ArrowError> {
    let column = batch.column_by_name(name).and_then(|column| column.as_primitive_opt::<UInt64Type>());
    let column = column.ok_or_else(|| missing(name))?;
    Ok(column.values().iter().map(|id| Some(ids.contains(*id))).collect())
}

fn is_among(batch: &RecordBatch, name: &str, hashes: &HashSet<Hash>) -> Result<BooleanArray, ArrowError> {
    let column = batch.column_by_name(name).and_then(|column| column.as_fixed_size_binary_opt());
    let column = column.ok_or_else(|| missing(name))?;
    let is_one = |row: usize| <&Hash>::try_from(column.value(row)).is_ok_and(|hash| hashes.contains(hash));
    Ok((0..column.len()).map(|row| Some(is_one(row))).collect())
}

fn is_deleted_cookie(batch: &RecordBatch, tombstones: &Tombstones) -> Result<BooleanArray, ArrowError> {
    let word = |name: &str, row: usize| -> Result<String, ArrowError> {
        let column = batch.column_by_name(name).and_then(|column| column.as_dictionary_opt::<Int32Type>());
        let column = column.ok_or_else(|| missing(name))?;
        let values = column.values().as_string_opt::<i32>().ok_or_else(|| missing(name))?;
        Ok(column.key(row).map(|key| values.value(key).to_owned()).unwrap_or_default())
    };
    let at = batch.column_by_name("at").and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    let at = at.ok_or_else(|| missing("at"))?;
    (0..batch.num_rows())
        .map(|row| {
            let key = (word("domain", row)?, word("path", row)?, word("name", row)?);
            Ok(Some(tombstones.cookies.get(&key).is_some_and(|before| at.value(row) <= *before)))
        })
        .collect()
}

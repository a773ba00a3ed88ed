//! Look-ups by key in the other tables: a body by its hash, the messages of an exchange, connections.

use std::collections::BTreeSet;

use arrow::{array::AsArray, datatypes::UInt64Type, error::ArrowError};
use bytes::Bytes;
use parquet::{arrow::arrow_reader::ParquetRecordBatchReaderBuilder, errors::ParquetError};

use super::{
    cell::cell,
    devices::each_connection,
    file::{OpenPart, guarded},
    prune::may_hold,
    rows::{ConnectionRow, MessageRow},
    scan::{read, selection},
    source::Source,
};
use crate::{error::StorageError, time::Timestamp};

/// A stored body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBody {
    /// The bytes as on the wire (content coding still applied).
    pub bytes: Bytes,
    /// Body bytes on the wire; more than are stored when the body was cut.
    pub size: u64,
    /// Its content coding (RFC 9110 §8.4), when it had one.
    pub encoding: Option<String>,
    /// When it was first seen in the session.
    pub first_seen: Timestamp,
}

/// Rows, and what could not be read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Listing<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// Parts that were left out, as sentences.
    pub warnings: Vec<String>,
}

fn rows_in(part: &OpenPart, group: usize) -> usize {
    usize::try_from(part.metadata.metadata().row_group(group).num_rows()).unwrap_or(0)
}

/// The body with this hash. Only hashes are read until it is found, then its pages.
pub(crate) fn body(source: &mut Source, hash: &[u8; 32]) -> Result<Option<StoredBody>, StorageError> {
    source.run(|source| {
        for unit in source.units() {
            let part = &source.parts[unit.part];
            let found = guarded(|| body_in(part, unit.group, hash));
            match found {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(error) => return Err((unit.part, part.error(error))),
            }
        }
        Ok(None)
    })
}

fn body_in(part: &OpenPart, group: usize, hash: &[u8; 32]) -> Result<Option<StoredBody>, ParquetError> {
    let metadata = part.metadata.metadata();
    let row_group = metadata.row_group(group);
    let Some(column) = row_group.columns().iter().position(|chunk| chunk.column_path().string() == "hash") else {
        return Ok(None);
    };
    if let Some(statistics) = row_group.column(column).statistics() {
        let (low, high) = (statistics.min_bytes_opt(), statistics.max_bytes_opt());
        if low.is_some_and(|low| hash.as_slice() < low) || high.is_some_and(|high| hash.as_slice() > high) {
            return Ok(None);
        }
    }
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(part.file.clone(), part.metadata.clone());
    let bloom_filter = builder.get_row_group_column_bloom_filter(group, column)?;
    if bloom_filter.is_some_and(|filter| !filter.check(hash.as_slice())) {
        return Ok(None);
    }
    let mut first = 0;
    let mut found = None;
    for batch in read(part, group, &BTreeSet::from(["hash"]), None)? {
        let batch = batch?;
        let hashes = batch
            .column_by_name("hash")
            .and_then(|column| column.as_fixed_size_binary_opt())
            .ok_or_else(|| ArrowError::SchemaError("column hash is not of 32 bytes".to_owned()))?;
        if let Some(row) = (0..batch.num_rows()).find(|&row| hashes.value(row) == hash) {
            found = Some(first + row);
            break;
        }
        first += batch.num_rows();
    }
    let Some(row) = found else { return Ok(None) };
    let columns = BTreeSet::from(["bytes", "size", "encoding", "first_seen"]);
    let chosen = selection([row], rows_in(part, group));
    match read(part, group, &columns, Some(chosen))?.next().transpose()? {
        Some(batch) if batch.num_rows() == 1 => Ok(Some(StoredBody {
            bytes: cell(&batch, "bytes", 0)?,
            size: cell(&batch, "size", 0)?,
            encoding: cell(&batch, "encoding", 0)?,
            first_seen: cell(&batch, "first_seen", 0)?,
        })),
        _ => Ok(None),
    }
}

/// Messages of one exchange held at once, and connections.
const MOST_ROWS: usize = 100_000;

fn warnings(source: &Source, rows: usize, what: &str) -> Vec<String> {
    let mut warnings = source.warnings.clone();
    if rows >= MOST_ROWS {
        warnings.push(format!("only the first {MOST_ROWS} {what} are listed; the table in the lake has all of them"));
    }
    warnings
}

/// The messages of an exchange in the order of their times, so many as may be held at once.
pub(crate) fn messages(source: &mut Source, exchange: u64) -> Result<Listing<MessageRow>, StorageError> {
    if source.tombstones.exchanges.contains(exchange) {
        return Ok(Listing { rows: Vec::new(), warnings: Vec::new() });
    }
    let mut rows = source.run(|source| {
        let mut rows = Vec::new();
        for unit in source.units() {
            let part = &source.parts[unit.part];
            if may_hold("exchange", exchange, part.metadata.metadata().row_group(unit.group)) {
                guarded(|| messages_in(part, unit.group, exchange, &mut rows))
                    .map_err(|error| (unit.part, part.error(error)))?;
            }
        }
        Ok(rows)
    })?;
    let warnings = warnings(source, rows.len(), "messages");
    rows.sort_by_key(|message: &MessageRow| message.at);
    Ok(Listing { rows, warnings })
}

fn messages_in(part: &OpenPart, group: usize, exchange: u64, into: &mut Vec<MessageRow>) -> Result<(), ParquetError> {
    let mut wanted = Vec::new();
    let mut first = 0;
    for batch in read(part, group, &BTreeSet::from(["exchange"]), None)? {
        let batch = batch?;
        let exchanges = batch
            .column_by_name("exchange")
            .and_then(|column| column.as_primitive_opt::<UInt64Type>())
            .ok_or_else(|| ArrowError::SchemaError("column exchange is not of numbers".to_owned()))?;
        let rows = exchanges.values().iter().enumerate().filter(|(_, number)| **number == exchange);
        wanted.extend(rows.map(|(row, _)| first + row));
        first += batch.num_rows();
    }
    wanted.truncate(MOST_ROWS.saturating_sub(into.len()));
    if wanted.is_empty() {
        return Ok(());
    }
    let chosen = selection(wanted, rows_in(part, group));
    for batch in read(part, group, &MessageRow::columns(), Some(chosen))? {
        let batch = batch?;
        let message = MessageRow::reader(&batch);
        for row in 0..batch.num_rows() {
            into.push(message(row)?);
        }
    }
    Ok(())
}

/// The connections in the order they were recorded, so many as may be held at once.
pub(crate) fn connections(source: &mut Source) -> Result<Listing<ConnectionRow>, StorageError> {
    let rows = source.run(|source| {
        let mut rows = Vec::new();
        each_connection(source, |row| {
            rows.push(row);
            Ok(rows.len() < MOST_ROWS)
        })?;
        Ok(rows)
    })?;
    let warnings = warnings(source, rows.len(), "connections");
    Ok(Listing { rows, warnings })
}

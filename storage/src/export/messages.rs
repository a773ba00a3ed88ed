//! The messages of one exchange after another, bounded: so many and so many bytes each.

use std::collections::BTreeSet;

use arrow::{array::AsArray, datatypes::UInt64Type, error::ArrowError};
use parquet::errors::ParquetError;

use crate::{
    error::StorageError,
    query::{
        MessageRow,
        file::{OpenPart, guarded},
        prune::may_hold,
        scan::{read, selection},
        source::Source,
    },
};

/// Messages of one exchange at most.
const MAX_MESSAGES: usize = 10_000;
/// Bytes of their payloads, about.
const MAX_BYTES: u64 = 16 << 20;

/// The messages of a session.
pub(crate) struct MessageIndex {
    source: Source,
}

/// The messages of an exchange.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    /// In the order of their times.
    pub(crate) rows: Vec<MessageRow>,
    /// Whether there are more.
    pub(crate) is_cut: bool,
}

impl MessageIndex {
    /// Over the parts of a session.
    pub(crate) fn new(source: Source) -> Self {
        Self { source }
    }

    /// What could not be read so far.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.source.warnings
    }

    /// The messages of an exchange.
    pub(crate) fn of(&mut self, exchange: u64) -> Result<Messages, StorageError> {
        let mut messages = self.source.run(|source| {
            let mut messages = Messages::default();
            let mut room = MAX_BYTES;
            for unit in source.units() {
                let part = &source.parts[unit.part];
                if may_hold("exchange", exchange, part.metadata.metadata().row_group(unit.group)) {
                    guarded(|| read_group(part, unit.group, exchange, &mut messages, &mut room))
                        .map_err(|error| (unit.part, part.error(error)))?;
                }
            }
            Ok(messages)
        })?;
        messages.rows.sort_by_key(|message| message.at);
        Ok(messages)
    }
}

fn read_group(
    part: &OpenPart,
    group: usize,
    exchange: u64,
    into: &mut Messages,
    room: &mut u64,
) -> Result<(), ParquetError> {
    let mut wanted = Vec::new();
    let mut first = 0;
    for batch in read(part, group, &BTreeSet::from(["exchange", "size"]), None)? {
        let batch = batch?;
        let column = |name: &str| {
            batch
                .column_by_name(name)
                .and_then(|column| column.as_primitive_opt::<UInt64Type>())
                .ok_or_else(|| ArrowError::SchemaError(format!("column {name} is not of numbers")))
        };
        let (exchanges, sizes) = (column("exchange")?, column("size")?);
        for (row, _) in exchanges.values().iter().enumerate().filter(|(_, number)| **number == exchange) {
            let size = sizes.value(row);
            if into.rows.len() + wanted.len() >= MAX_MESSAGES || size > *room {
                into.is_cut = true;
                continue;
            }
            *room -= size;
            wanted.push(first + row);
        }
        first += batch.num_rows();
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let total = usize::try_from(part.metadata.metadata().row_group(group).num_rows()).unwrap_or(0);
    for batch in read(part, group, &MessageRow::columns(), Some(selection(wanted, total)))? {
        let batch = batch?;
        let message = MessageRow::reader(&batch);
        for row in 0..batch.num_rows() {
            into.rows.push(message(row)?);
        }
    }
    Ok(())
}

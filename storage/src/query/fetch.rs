//! Rows read whole, at the places that a pass found.
//!
//! A short page is read by selection, its row groups on all cores. A long listing that runs along the order the
//! rows are stored in (as exports do) is read once through: the reader of a row group stays open from one lot to the
//! next, and rows that come out early wait.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use parquet::{arrow::arrow_reader::ParquetRecordBatchReader, errors::ParquetError};

use weir_engine::filter::Column;

use super::{
    file::{OpenPart, guarded},
    rows::ExchangeRow,
    scan::{read, read_some, selection},
    source::{PartError, Source, Unit, on_all_cores},
    top::Ranked,
};
use crate::error::StorageError;

/// Rows held at once.
pub(crate) const MAX_ROWS: usize = 4096;
/// Bytes of them, about: rows with large headers come in smaller lots.
const MAX_ROW_BYTES: usize = 16 << 20;
/// Readers open at once.
const MAX_OPEN: usize = 4;
/// Rows of one batch of an open reader, and those that wait because they came out early.
const MAX_AHEAD: usize = 1024;

/// Reads rows, whole or some columns of them.
pub(crate) struct Fetcher {
    columns: BTreeSet<&'static str>,
    /// Rows of the pass by row group, where they can be read once through.
    along: BTreeMap<Unit, Vec<u32>>,
    /// Open readers, the one used last at the end.
    open: Vec<Along>,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher").field("open", &self.open.len()).finish_non_exhaustive()
    }
}

/// Rows of a part at `unit`: the row in the row group, and the position in the page.
type Wanted = Vec<(u32, usize)>;

impl Fetcher {
    /// Reads only these columns, when some are named; the others are empty in the rows.
    pub(crate) fn of(columns: Option<&[Column]>) -> Self {
        let named = |columns: &[Column]| columns.iter().map(|column| column.name()).collect();
        Self { columns: columns.map_or_else(ExchangeRow::columns, named), along: BTreeMap::new(), open: Vec::new() }
    }

    /// Prepares for the rows of a pass, which are asked for in this order, lot by lot.
    pub(crate) fn expect<'a>(&mut self, source: &Source, keys: impl ExactSizeIterator<Item = &'a Ranked>) {
        self.open.clear();
        self.along.clear();
        if keys.len() <= MAX_ROWS {
            return;
        }
        let mut in_order: BTreeMap<Unit, Vec<u32>> = BTreeMap::new();
        for key in keys {
            in_order.entry(key.unit()).or_default().push(key.row as u32);
        }
        for (unit, rows) in in_order {
            let mut sorted = rows.clone();
            sorted.sort_unstable();
            if most_ahead(&rows, &sorted) <= MAX_AHEAD.min(rows_at_once(source, unit)) {
                self.along.insert(unit, sorted);
            }
        }
    }

    /// Reads the rows at these places, in this order. Those of a part that turns out to be damaged are left out.
    pub(crate) fn fetch(
        &mut self,
        source: &mut Source,
        keys: &[Ranked],
    ) -> Result<VecDeque<ExchangeRow>, StorageError> {
        let mut places: BTreeMap<Unit, Wanted> = BTreeMap::new();
        for (position, key) in keys.iter().enumerate() {
            places.entry(key.unit()).or_default().push((key.row as u32, position));
        }
        let mut rows: Vec<Option<ExchangeRow>> = vec![None; keys.len()];
        for (unit, wanted) in &mut places {
            wanted.sort_unstable();
            if !source.has(unit.part) || !self.along.contains_key(unit) {
                continue;
            }
            match self.read_along(source, *unit, wanted, &mut rows) {
                Ok(()) => wanted.retain(|(_, position)| rows[*position].is_none()),
                Err(error) => source.leave_out(&error),
            }
        }
        places.retain(|_, wanted| !wanted.is_empty());
        let found = source.run(|source| read_chosen(source, &places, &self.columns))?;
        found.into_iter().flatten().for_each(|(position, row)| rows[position] = Some(row));
        Ok(rows.into_iter().flatten().collect())
    }

    fn read_along(
        &mut self,
        source: &Source,
        unit: Unit,
        wanted: &Wanted,
        into: &mut [Option<ExchangeRow>],
    ) -> Result<(), PartError> {
        let part = &source.parts[unit.part];
        let Some((first, _)) = wanted.first() else { return Ok(()) };
        let mut along = match self.open.iter().position(|along| along.unit == unit) {
            Some(open) => self.open.remove(open),
            None => {
                let rows = self.along.get(&unit).map_or(&[][..], Vec::as_slice);
                let left = &rows[rows.partition_point(|row| row < first)..];
                let batch_rows = MAX_AHEAD.min(rows_at_once(source, unit));
                Along::open(part, unit, left, &self.columns, batch_rows)
                    .map_err(|error| (unit.part, part.error(error)))?
            }
        };
        for (row, position) in wanted {
            into[*position] = along.take(*row).map_err(|error| (unit.part, part.error(error)))?;
        }
        if !along.is_done() {
            self.open.push(along);
            if self.open.len() > MAX_OPEN {
                self.open.remove(0);
            }
        }
        Ok(())
    }
}

fn read_chosen(
    source: &Source,
    places: &BTreeMap<Unit, Wanted>,
    columns: &BTreeSet<&'static str>,
) -> Result<Vec<Vec<(usize, ExchangeRow)>>, PartError> {
    let units: Vec<Unit> = places.keys().copied().filter(|unit| source.has(unit.part)).collect();
    if units.is_empty() {
        return Ok(Vec::new());
    }
    on_all_cores(&units, Vec::new, |found, unit| {
        let part = &source.parts[unit.part];
        read_rows(part, unit.group, &places[&unit], columns, found).map_err(|error| part.error(error))
    })
}

/// Rows that fit into memory, judged by the mean size of a row of the row group.
pub(crate) fn rows_at_once(source: &Source, unit: Unit) -> usize {
    let group = source.parts[unit.part].metadata.metadata().row_group(unit.group);
    let rows = usize::try_from(group.num_rows()).unwrap_or(1).max(1);
    let mean = usize::try_from(group.total_byte_size()).unwrap_or(0) / rows;
    (MAX_ROW_BYTES / mean.max(1)).clamp(1, MAX_ROWS)
}

/// Rows that wait at once when rows wanted in this order are read in the sorted one.
fn most_ahead(in_order: &[u32], sorted: &[u32]) -> usize {
    let (mut read, mut most) = (0, 0);
    for (taken, row) in in_order.iter().enumerate() {
        if sorted.get(read).is_some_and(|next| next <= row) {
            read = sorted.partition_point(|other| other <= row);
        }
        most = most.max(read.saturating_sub(taken + 1));
    }
    most
}

/// A row group being read along.
struct Along {
    unit: Unit,
    reader: ParquetRecordBatchReader,
    /// Numbers of the rows that are still to come out.
    left: VecDeque<u32>,
    ready: VecDeque<ExchangeRow>,
    /// Rows that came out before they were wanted.
    ahead: BTreeMap<u32, ExchangeRow>,
}

impl Along {
    fn open(
        part: &OpenPart,
        unit: Unit,
        rows: &[u32],
        columns: &BTreeSet<&'static str>,
        batch_rows: usize,
    ) -> Result<Self, ParquetError> {
        guarded(|| {
            let total = usize::try_from(part.metadata.metadata().row_group(unit.group).num_rows()).unwrap_or(0);
            let chosen = selection(rows.iter().map(|row| *row as usize), total);
            let reader = read_some(part, unit.group, columns, Some(chosen), batch_rows)?;
            let left = rows.iter().copied().collect();
            Ok(Self { unit, reader, left, ready: VecDeque::new(), ahead: BTreeMap::new() })
        })
    }

    /// The row of this number; `None` when it came out before this reader was opened.
    fn take(&mut self, wanted: u32) -> Result<Option<ExchangeRow>, ParquetError> {
        if let Some(row) = self.ahead.remove(&wanted) {
            return Ok(Some(row));
        }
        while let Some(number) = self.left.front().copied().filter(|number| *number <= wanted) {
            if self.ready.is_empty() {
                self.read_batch()?;
            }
            let Some(row) = self.ready.pop_front() else { return Ok(None) };
            self.left.pop_front();
            if number == wanted {
                return Ok(Some(row));
            }
            self.ahead.insert(number, row);
        }
        Ok(None)
    }

    fn read_batch(&mut self) -> Result<(), ParquetError> {
        guarded(|| {
            if let Some(batch) = self.reader.next().transpose()? {
                let row = ExchangeRow::reader(&batch);
                for number in 0..batch.num_rows() {
                    self.ready.push_back(row(number)?);
                }
            }
            Ok(())
        })
    }

    fn is_done(&self) -> bool {
        self.left.is_empty() && self.ahead.is_empty()
    }
}

/// The rows at these places of a row group, each with its position in the page.
fn read_rows(
    part: &OpenPart,
    group: usize,
    wanted: &Wanted,
    columns: &BTreeSet<&'static str>,
    into: &mut Vec<(usize, ExchangeRow)>,
) -> Result<(), ParquetError> {
    guarded(|| {
        let total = usize::try_from(part.metadata.metadata().row_group(group).num_rows()).unwrap_or(0);
        let chosen = selection(wanted.iter().map(|(row, _)| *row as usize), total);
        let mut positions = wanted.iter().map(|(_, position)| *position);
        for batch in read(part, group, columns, Some(chosen))? {
            let batch = batch?;
            let read = ExchangeRow::reader(&batch);
            for (row, position) in (0..batch.num_rows()).zip(&mut positions) {
                into.push((position, read(row)?));
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_wait_are_counted() {
        for (in_order, most) in [
            (&[][..], 0),
            (&[1, 2, 3, 9], 0),
            (&[2, 1, 3], 1),
            (&[9, 1, 2, 3], 3),
            (&[1, 3, 9, 2], 1),
            (&[4, 3, 2, 1], 3),
        ] {
            let mut sorted = in_order.to_vec();
            sorted.sort_unstable();
            assert_eq!(most_ahead(in_order, &sorted), most, "{in_order:?}");
        }
    }
}

//! The first rows in an order, found in bounded memory: their keys and places only.
//!
//! A pass keeps the best `room` keys past a bound; the next pass starts from the last of them. Row
//! groups whose statistics lie outside are not read. A pass may also keep the last keys instead of the
//! first, and look only where a page far down was [sought](super::seek).

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeSet, BinaryHeap, HashSet},
};

use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::{DataType, Int32Type, TimestampMicrosecondType, UInt16Type, UInt32Type, UInt64Type},
    error::ArrowError,
};
use weir_engine::filter::{Column, ColumnKind};

use super::{
    file::OpenPart,
    prune::number_bounds,
    scan::{Condition, scan},
    source::{PartError, Source, Unit, on_all_cores},
};

/// What rows are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sort {
    /// The column.
    pub column: Column,
    /// Greatest first.
    pub descending: bool,
}

impl Default for Sort {
    fn default() -> Self {
        Self { column: Column::Id, descending: false }
    }
}

/// The place of a key in the order; rows without a value come last either way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Number(u64),
    Text(Box<[u8]>),
    TextDescending(Reverse<Box<[u8]>>),
    Null,
}

/// A row's key and where it is; rows with equal keys come in the order they are stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ranked {
    key: Key,
    /// Place of its part in the source.
    pub(crate) part: usize,
    /// Row group in the part.
    pub(crate) group: usize,
    /// Row in the row group.
    pub(crate) row: usize,
}

impl Ranked {
    /// The row group it is in.
    pub(crate) fn unit(&self) -> Unit {
        Unit { part: self.part, group: self.group }
    }
}

const SIGN: u64 = 1 << 63;

/// Where to look, and from which end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Within {
    /// Row groups that need not be looked at.
    pub(crate) without: HashSet<Unit>,
    /// Only keys in these buckets of a histogram.
    pub(crate) buckets: Option<(u32, u32)>,
    /// The last rows rather than the first.
    pub(crate) from_end: bool,
}

/// A pass over the row groups.
#[derive(Debug)]
struct Pass<'a> {
    sort: Sort,
    after: Option<&'a Ranked>,
    room: usize,
    within: &'a Within,
}

/// A row among those kept: the worst of them is the greatest.
#[derive(Debug, PartialEq, Eq)]
struct Kept {
    ranked: Ranked,
    from_end: bool,
}

impl Ord for Kept {
    fn cmp(&self, other: &Self) -> Ordering {
        let order = self.ranked.cmp(&other.ranked);
        if self.from_end { order.reverse() } else { order }
    }
}

impl PartialOrd for Kept {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The first (or last) `room` rows that meet `condition` and come after `after`, in order.
pub(crate) fn top(
    source: &Source,
    condition: &Condition,
    sort: Sort,
    after: Option<&Ranked>,
    room: usize,
    within: &Within,
) -> Result<Vec<Ranked>, PartError> {
    let pass = Pass { sort, after, room, within };
    let mut units: Vec<(Option<(u64, u64)>, Unit)> = source
        .units()
        .into_iter()
        .filter(|unit| !within.without.contains(unit))
        .map(|unit| (pass.range(&source.parts[unit.part], unit.group), unit))
        .filter(|(range, _)| !pass.is_before(*range))
        .collect();
    // The best first, so that the others need not be read.
    units.sort_by_key(|(range, unit)| (range.map(|(low, _)| low), unit.part, unit.group));
    if within.from_end {
        units.reverse();
    }
    let ordered: Vec<Unit> = units.iter().map(|(_, unit)| *unit).collect();
    let columns = BTreeSet::from([sort.column.name()]);
    let heaps = on_all_cores(&ordered, BinaryHeap::new, |heap: &mut BinaryHeap<Kept>, unit| {
        let part = &source.parts[unit.part];
        if pass.is_beyond(pass.range(part, unit.group), heap) {
            return Ok(());
        }
        scan(part, unit.group, condition, &columns, |found| {
            let column = found
                .batch
                .column_by_name(sort.column.name())
                .ok_or_else(|| ArrowError::SchemaError(format!("there is no column {}", sort.column.name())))?;
            found.for_each_row(|row| {
                let place = Place { part: unit.part, group: unit.group, row: found.numbers.get(row) };
                pass.offer(heap, column, row, place)
            })
        })
        .map_err(|error| part.error(error))
    })?;
    let mut rows: Vec<Ranked> = heaps.into_iter().flatten().map(|kept| kept.ranked).collect();
    rows.sort_unstable();
    if within.from_end {
        rows.drain(..rows.len().saturating_sub(room));
    }
    rows.truncate(room);
    Ok(rows)
}

#[derive(Debug, Clone, Copy)]
struct Place {
    part: usize,
    group: usize,
    row: usize,
}

impl Sort {
    /// A number as it stands in this order: the least first.
    fn number(self, number: u64) -> u64 {
        if self.descending { !number } else { number }
    }

    /// The least and the greatest key of a row group without nulls, when known.
    pub(crate) fn range(self, part: &OpenPart, group: usize) -> Option<(u64, u64)> {
        let group = part.metadata.metadata().row_group(group);
        let (low, high) = number_bounds(self.column, group)?;
        let key = |bound: i128| match self.column.kind() {
            ColumnKind::Timestamp => i64::try_from(bound).ok().map(|us| us.cast_unsigned() ^ SIGN),
            _ => u64::try_from(bound).ok(),
        };
        let (low, high) = (self.number(key(low)?), self.number(key(high)?));
        Some((low.min(high), low.max(high)))
    }
}

impl Pass<'_> {
    fn range(&self, part: &OpenPart, group: usize) -> Option<(u64, u64)> {
        self.sort.range(part, group)
    }

    /// Whether all rows were handed out by an earlier pass. Nulls come last, so they may follow.
    fn is_before(&self, range: Option<(u64, u64)>) -> bool {
        match (range, self.after) {
            (Some((_, high)), Some(Ranked { key: Key::Number(after), .. })) => {
                high < *after && is_never_null(self.sort.column)
            }
            _ => false,
        }
    }

    /// Whether a full heap holds only better rows.
    fn is_beyond(&self, range: Option<(u64, u64)>, heap: &BinaryHeap<Kept>) -> bool {
        let Some(Kept { ranked: Ranked { key: Key::Number(worst), .. }, .. }) = heap.peek() else { return false };
        match (range, self.within.from_end) {
            (Some((low, _)), false) => heap.len() >= self.room && low > *worst,
            (Some((_, high)), true) => heap.len() >= self.room && high < *worst && is_never_null(self.sort.column),
            (None, _) => false,
        }
    }

    fn offer(
        &self,
        heap: &mut BinaryHeap<Kept>,
        column: &ArrayRef,
        row: usize,
        place: Place,
    ) -> Result<(), ArrowError> {
        let full = heap.len() >= self.room;
        let from_end = self.within.from_end;
        let worst = if full { heap.peek() } else { None };
        let raw = raw(column, row)?;
        if let Some((first, last)) = self.within.buckets
            && !(first..=last).contains(&bucket(&raw, self.sort))
        {
            return Ok(());
        }
        let key = match raw {
            Raw::Null => Key::Null,
            Raw::Number(number) => Key::Number(self.sort.number(number)),
            Raw::Text(text) => {
                // Most rows are refused: without an allocation.
                let order = match worst.map(|worst| &worst.ranked.key) {
                    Some(Key::Text(worst)) => text.cmp(worst),
                    Some(Key::TextDescending(Reverse(worst))) => text.cmp(worst).reverse(),
                    _ => Ordering::Equal,
                };
                if order == if from_end { Ordering::Less } else { Ordering::Greater } {
                    return Ok(());
                }
                if self.sort.descending { Key::TextDescending(Reverse(text.into())) } else { Key::Text(text.into()) }
            }
        };
        let kept = Kept { ranked: Ranked { key, part: place.part, group: place.group, row: place.row }, from_end };
        if self.after.is_some_and(|after| kept.ranked <= *after) || worst.is_some_and(|worst| kept >= *worst) {
            return Ok(());
        }
        if full {
            heap.pop();
        }
        heap.push(kept);
        Ok(())
    }
}

/// A row with a number as its key, in little room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Placed {
    /// Rows without a value have the greatest number; their place says that they have none.
    key: u64,
    place: u32,
    row: u32,
}

/// Set in the places of rows without a value, which so come after those that have the greatest number.
const NO_VALUE: u32 = 1 << 31;

impl Placed {
    /// A row of a batch; `place` is that of its row group among all.
    pub(crate) fn of(column: &ArrayRef, row: usize, sort: Sort, place: u32, number: usize) -> Result<Self, ArrowError> {
        let (key, place) = match raw(column, row)? {
            Raw::Number(key) => (sort.number(key), place),
            Raw::Null | Raw::Text(_) => (u64::MAX, place | NO_VALUE),
        };
        Ok(Self { key, place, row: number as u32 })
    }

    /// The same with its row group among `units`.
    pub(crate) fn ranked(self, units: &[Unit]) -> Ranked {
        let Unit { part, group } = units[(self.place & !NO_VALUE) as usize];
        let key = if self.place & NO_VALUE == 0 { Key::Number(self.key) } else { Key::Null };
        Ranked { key, part, group, row: self.row as usize }
    }
}

/// Buckets of a histogram of keys; one more is for rows without a value, which come last.
pub(crate) const BUCKETS: u32 = 55 << 10;

/// The bucket of a row, in order: numbers by their ten leading bits, so that each is at most 0.1 % wide.
pub(crate) fn bucket_of(column: &ArrayRef, row: usize, sort: Sort) -> Result<u32, ArrowError> {
    Ok(bucket(&raw(column, row)?, sort))
}

fn bucket(raw: &Raw<'_>, sort: Sort) -> u32 {
    let Raw::Number(number) = raw else { return BUCKETS };
    let leading = 63_u32.saturating_sub(number.leading_zeros());
    let bucket = match leading.checked_sub(10) {
        None => *number as u32,
        // Eleven bits of which the first is always set.
        Some(shift) => (shift << 10) + (number >> shift) as u32,
    };
    let bucket = bucket.min(BUCKETS - 1);
    if sort.descending { BUCKETS - 1 - bucket } else { bucket }
}

fn is_never_null(column: Column) -> bool {
    matches!(column, Column::Id | Column::Started | Column::Connection | Column::RequestSize | Column::ResponseSize)
}

/// A value to order by.
enum Raw<'a> {
    Null,
    Number(u64),
    Text(&'a [u8]),
}

fn raw(column: &ArrayRef, row: usize) -> Result<Raw<'_>, ArrowError> {
    if column.is_null(row) {
        return Ok(Raw::Null);
    }
    let mismatch = || ArrowError::SchemaError(format!("cannot order by a column of type {}", column.data_type()));
    Ok(match column.data_type() {
        DataType::UInt16 => Raw::Number(column.as_primitive::<UInt16Type>().value(row).into()),
        DataType::UInt32 => Raw::Number(column.as_primitive::<UInt32Type>().value(row).into()),
        DataType::UInt64 => Raw::Number(column.as_primitive::<UInt64Type>().value(row)),
        DataType::Timestamp(..) => {
            let times = column.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(mismatch)?;
            Raw::Number(times.value(row).cast_unsigned() ^ SIGN)
        }
        DataType::Utf8 => Raw::Text(column.as_string::<i32>().value(row).as_bytes()),
        DataType::FixedSizeBinary(_) => Raw::Text(column.as_fixed_size_binary().value(row)),
        DataType::Dictionary(..) => {
            let words = column.as_dictionary_opt::<Int32Type>().ok_or_else(mismatch)?;
            let values = words.values().as_string_opt::<i32>().ok_or_else(mismatch)?;
            words.key(row).map_or(Raw::Null, |key| Raw::Text(values.value(key).as_bytes()))
        }
        _ => return Err(mismatch()),
    })
}

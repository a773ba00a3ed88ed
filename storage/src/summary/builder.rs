//! Builds a summary from record batches of `exchanges`, column by column.
//!
//! Rows are counted by small numbers, not by text: each distinct value of a dictionary is looked up
//! once a batch, then a row costs an array access and one probe of a hash table a dimension.

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::{Int32Type, TimestampMicrosecondType, UInt16Type, UInt64Type},
};
use rustc_hash::FxHashMap;

use super::{Dimension, Groups, Histogram, MAX_KEYS, NULL_KEY, Summary, Totals, histogram::bucket, is_error};

/// Buckets of the histograms of one dimension at most.
const MAX_CELLS: usize = 400_000;
/// Not looked up so far.
const UNKNOWN: u32 = u32::MAX;
/// Bits of a bucket in the key of a cell.
const BUCKET_BITS: u32 = 11;
/// Stands for "no duration" where a bucket stands.
const NO_BUCKET: u16 = u16::MAX;

/// Gathers a summary.
#[derive(Debug)]
pub struct Builder {
    totals: Totals,
    first_started_us: i64,
    last_started_us: i64,
    dimensions: [Counts; Dimension::ALL.len()],
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            totals: Totals::default(),
            first_started_us: i64::MAX,
            last_started_us: i64::MIN,
            dimensions: Dimension::ALL.map(|_| Counts::default()),
        }
    }
}

/// What one row adds, the same for each dimension.
#[derive(Debug, Clone, Copy)]
struct Row {
    request_bytes: u64,
    response_bytes: u64,
    bucket: u16,
    error: bool,
}

/// One dimension.
#[derive(Debug, Default)]
struct Counts {
    keys: FxHashMap<Box<str>, u32>,
    totals: Vec<Totals>,
    /// Key and bucket to count.
    cells: FxHashMap<u64, u32>,
    overflown: bool,
}

impl Builder {
    /// Adds the rows of a batch with the columns of `exchanges`; a batch without them is ignored.
    pub fn add(&mut self, batch: &RecordBatch) {
        let Some(rows) = self.rows(batch) else { return };
        for dimension in Dimension::ALL {
            let Some(column) = batch.column_by_name(dimension.as_str()) else { continue };
            let counts = &mut self.dimensions[dimension as usize];
            if counts.overflown {
                continue;
            }
            match dimension {
                Dimension::Status => counts.add_statuses(column, &rows),
                _ => counts.add_words(column, &rows),
            }
            if counts.totals.len() > MAX_KEYS || counts.cells.len() > MAX_CELLS {
                *counts = Counts { overflown: true, ..Counts::default() };
            }
        }
    }

    fn rows(&mut self, batch: &RecordBatch) -> Option<Vec<Row>> {
        let statuses = batch.column_by_name("status")?.as_primitive_opt::<UInt16Type>()?;
        let errors = batch.column_by_name("error")?;
        let durations = batch.column_by_name("duration_us")?.as_primitive_opt::<UInt64Type>()?;
        let request_sizes = batch.column_by_name("request_size")?.as_primitive_opt::<UInt64Type>()?;
        let response_sizes = batch.column_by_name("response_size")?.as_primitive_opt::<UInt64Type>()?;
        let started = batch.column_by_name("started")?.as_primitive_opt::<TimestampMicrosecondType>()?;
        let mut all = FxHashMap::<u16, u64>::default();
        let rows: Vec<_> = (0..batch.num_rows())
            .map(|row| {
                let status = statuses.is_valid(row).then(|| statuses.value(row));
                let bucket = if durations.is_valid(row) { bucket(durations.value(row)) } else { NO_BUCKET };
                if bucket != NO_BUCKET {
                    *all.entry(bucket).or_default() += 1;
                }
                Row {
                    request_bytes: request_sizes.value(row),
                    response_bytes: response_sizes.value(row),
                    bucket,
                    error: is_error(status, errors.is_valid(row)),
                }
            })
            .collect();
        for row in &rows {
            self.totals.add(*row);
        }
        self.totals.durations.merge(&Histogram::from_cells(all.into_iter().collect()));
        for &at in started.values() {
            self.first_started_us = self.first_started_us.min(at);
            self.last_started_us = self.last_started_us.max(at);
        }
        Some(rows)
    }

    /// The summary of all rows added.
    #[must_use]
    pub fn finish(self) -> Summary {
        Summary {
            totals: self.totals,
            first_started_us: self.first_started_us,
            last_started_us: self.last_started_us,
            groups: self.dimensions.map(Counts::finish),
        }
    }
}

impl Totals {
    fn add(&mut self, row: Row) {
        self.count += 1;
        self.request_bytes += row.request_bytes;
        self.response_bytes += row.response_bytes;
        self.errors += u64::from(row.error);
    }
}

impl Counts {
    fn add_words(&mut self, column: &ArrayRef, rows: &[Row]) {
        let Some(words) = column.as_dictionary_opt::<Int32Type>() else { return };
        let Some(values) = words.values().as_string_opt::<i32>() else { return };
        // One more than there are words: the last stands for null.
        let mut known = vec![UNKNOWN; values.len() + 1];
        for (index, row) in rows.iter().enumerate() {
            let word = words.key(index).unwrap_or(values.len());
            if known[word] == UNKNOWN {
                known[word] = self.key(if word < values.len() { values.value(word) } else { NULL_KEY });
            }
            self.add(known[word], *row);
        }
    }

    fn add_statuses(&mut self, column: &ArrayRef, rows: &[Row]) {
        let Some(statuses) = column.as_primitive_opt::<UInt16Type>() else { return };
        // By the status itself; 0 stands for none, since no status is 0.
        let mut known = vec![UNKNOWN; usize::from(u16::MAX) + 1];
        for (index, row) in rows.iter().enumerate() {
            let status = if statuses.is_valid(index) { statuses.value(index) } else { 0 };
            let slot = usize::from(status);
            if known[slot] == UNKNOWN {
                known[slot] = match status {
                    0 => self.key(NULL_KEY),
                    status => self.key(&status.to_string()),
                };
            }
            self.add(known[slot], *row);
        }
    }

    fn key(&mut self, text: &str) -> u32 {
        if let Some(key) = self.keys.get(text) {
            return *key;
        }
        // Batches are far below 4 G rows, and overflow is looked for after each.
        let key = self.totals.len() as u32;
        self.keys.insert(text.into(), key);
        self.totals.push(Totals::default());
        key
    }

    fn add(&mut self, key: u32, row: Row) {
        self.totals[key as usize].add(row);
        if row.bucket != NO_BUCKET {
            *self.cells.entry(u64::from(key) << BUCKET_BITS | u64::from(row.bucket)).or_default() += 1;
        }
    }

    fn finish(self) -> Option<Groups> {
        if self.overflown {
            return None;
        }
        let mut totals = self.totals;
        let mut cells: Vec<Vec<(u16, u64)>> = vec![Vec::new(); totals.len()];
        for (cell, count) in self.cells {
            let bucket = (cell & ((1 << BUCKET_BITS) - 1)) as u16;
            cells[(cell >> BUCKET_BITS) as usize].push((bucket, u64::from(count)));
        }
        for (totals, cells) in totals.iter_mut().zip(cells) {
            totals.durations = Histogram::from_cells(cells);
        }
        let mut groups = Groups::with_capacity_and_hasher(totals.len(), rustc_hash::FxBuildHasher);
        for (text, key) in self.keys {
            groups.insert(text.into(), std::mem::take(&mut totals[key as usize]));
        }
        Some(groups)
    }
}

//! Merges parts into one that is sorted by time, a few batches in memory at once.
//!
//! In: parts, each sorted. Out: rows into a [`PartWriter`]. Where parts do not overlap in time, which
//! is nearly everywhere, rows pass as slices; where they do, they are interleaved. Bodies that come
//! twice pass once.

use std::{cmp::Reverse, collections::BinaryHeap, collections::HashSet};

use arrow::{
    array::{AsArray, RecordBatch},
    compute::interleave_record_batch,
};
use rustc_hash::FxBuildHasher;

use super::source::Source;
use crate::{error::StorageError, part_file::PartWriter, parts::Part, schema::Table};

/// Rows handed to the writer together, at most.
const OUT_ROWS: usize = 4096;
/// Bytes handed to the writer together, about.
const OUT_BYTES: usize = 16 << 20;
/// Body hashes remembered in one merge at most (about 34 MB).
const MAX_SEEN: usize = 1 << 20;

/// Rows of one batch that pass together.
struct Run {
    batch: usize,
    start: usize,
    len: usize,
}

/// A source with the rows that were read from it but not passed on.
struct Input {
    source: Source,
    /// Index into `Merge::batches`; none before the first read.
    batch: Option<usize>,
    times: Vec<i64>,
    next: usize,
    row_bytes: usize,
}

struct Merge<'a> {
    table: Table,
    inputs: Vec<Input>,
    heap: BinaryHeap<Reverse<(i64, usize)>>,
    batches: Vec<RecordBatch>,
    runs: Vec<Run>,
    rows: usize,
    bytes: usize,
    seen: HashSet<u128, FxBuildHasher>,
    out: &'a mut PartWriter,
}

/// Writes all rows of `parts` to `out` in the order of time.
pub(crate) fn merge(parts: &[Part], table: Table, out: &mut PartWriter) -> Result<(), StorageError> {
    let mut inputs = Vec::with_capacity(parts.len());
    let mut heap = BinaryHeap::with_capacity(parts.len());
    for (index, part) in parts.iter().enumerate() {
        let source = Source::new(part.clone())?;
        heap.push(Reverse((source.earliest(), index)));
        inputs.push(Input { source, batch: None, times: Vec::new(), next: 0, row_bytes: 0 });
    }
    let mut merge = Merge {
        table,
        inputs,
        heap,
        batches: Vec::new(),
        runs: Vec::new(),
        rows: 0,
        bytes: 0,
        seen: HashSet::default(),
        out,
    };
    while let Some(Reverse((_, index))) = merge.heap.pop() {
        merge.advance(index)?;
    }
    merge.emit()
}

impl Merge<'_> {
    /// Passes on the rows of one input that are due before any other's, or reads its next batch.
    fn advance(&mut self, index: usize) -> Result<(), StorageError> {
        let limit = self.heap.peek().map_or(i64::MAX, |Reverse((time, _))| *time);
        let input = &mut self.inputs[index];
        if input.next == input.times.len() {
            let Some((batch, times)) = input.source.next()? else {
                input.batch = None;
                input.times = Vec::new();
                input.next = 0;
                return Ok(());
            };
            input.row_bytes = batch.get_array_memory_size() / batch.num_rows().max(1);
            input.batch = Some(self.batches.len());
            input.times = times;
            input.next = 0;
            self.batches.push(batch);
        } else if let Some(batch) = input.batch {
            let room = (OUT_ROWS - self.rows).min(1 + OUT_BYTES.saturating_sub(self.bytes) / input.row_bytes.max(1));
            let start = input.next;
            let due = input.times[start..].iter().take(room).take_while(|time| **time <= limit).count().max(1);
            input.next += due;
            self.rows += due;
            self.bytes += due * input.row_bytes;
            self.pass(Run { batch, start, len: due });
        }
        let input = &self.inputs[index];
        // A batch may be empty or used up: then the next one is no earlier than what it ended with.
        let time = input.times.get(input.next).or(input.times.last()).copied().unwrap_or(i64::MIN);
        self.heap.push(Reverse((time, index)));
        if self.rows >= OUT_ROWS || self.bytes >= OUT_BYTES { self.emit() } else { Ok(()) }
    }

    fn pass(&mut self, run: Run) {
        if self.table != Table::Bodies {
            self.runs.push(run);
            return;
        }
        let hashes =
            self.batches[run.batch].column_by_name("hash").and_then(|column| column.as_fixed_size_binary_opt());
        for row in run.start..run.start + run.len {
            let fingerprint =
                hashes.and_then(|hashes| hashes.value(row).first_chunk::<16>()).map(|half| u128::from_le_bytes(*half));
            if self.seen.len() >= MAX_SEEN {
                self.seen.clear();
            }
            if fingerprint.is_none_or(|fingerprint| self.seen.insert(fingerprint)) {
                match self.runs.last_mut() {
                    Some(last) if last.batch == run.batch && last.start + last.len == row => last.len += 1,
                    _ => self.runs.push(Run { batch: run.batch, start: row, len: 1 }),
                }
            }
        }
    }

    /// Hands the rows that are due to the writer and lets go of the batches they used up.
    fn emit(&mut self) -> Result<(), StorageError> {
        match &*self.runs {
            [] => {}
            [only] => self.out.write(&self.batches[only.batch].slice(only.start, only.len))?,
            runs => {
                let batches: Vec<_> = self.batches.iter().collect();
                let rows: Vec<_> =
                    runs.iter().flat_map(|run| (run.start..run.start + run.len).map(|row| (run.batch, row))).collect();
                self.out.write(&interleave_record_batch(&batches, &rows)?)?;
            }
        }
        self.runs.clear();
        (self.rows, self.bytes) = (0, 0);
        let mut kept = Vec::with_capacity(self.inputs.len());
        for input in &mut self.inputs {
            let used_up = input.next == input.times.len();
            input.batch = input.batch.take().filter(|_| !used_up).map(|batch| {
                kept.push(self.batches[batch].clone());
                kept.len() - 1
            });
        }
        self.batches = kept;
        Ok(())
    }
}

//! Bulk recording: for what can be read again (files), fewer and larger parts, most of them written once.
//!
//! Bodies go into a part of the lake as they come. All other rows are held, and written together in the order
//! of time: as one part of the lake at the end, or, when there are too many to hold, as live parts that are
//! merged as always. A crash may cost all that is held: who records in bulk can do it again.
//!
//! In: flushes. Out: parts. What is held stays with the writer, which knows what to do when a disk refuses.

use std::sync::Arc;

use arrow::{
    array::{AsArray, RecordBatch},
    compute::interleave_record_batch,
    datatypes::TimestampMicrosecondType,
};
use weir_engine::ledger::Layer;

use super::{Shared, flush::Flush, lock};
use crate::{
    error::StorageError,
    home::Home,
    part_file::{PartWriter, Purpose},
    parts::Part,
    schema::Table,
};

/// Bytes of columns held at most, about.
pub(super) const HELD_BYTES: usize = 64 << 20;
/// Bytes of one part of bodies, about.
const BODIES_BYTES: usize = 128 << 20;
/// Rows handed to the writer of a part together.
const TOGETHER: usize = 8 << 10;

/// The part of bodies being written.
pub(super) struct Bulk {
    home: Home,
    shared: Arc<Shared>,
    bodies: Option<PartWriter>,
    written: usize,
}

impl Bulk {
    pub(super) fn new(home: Home, shared: Arc<Shared>) -> Self {
        Self { home, shared, bodies: None, written: 0 }
    }

    /// Whether the part of bodies is large enough.
    pub(super) fn is_full(&self) -> bool {
        self.written >= BODIES_BYTES
    }

    /// Writes a flush's bodies and takes them out of it. When that fails they are lost, and counted.
    pub(super) fn take_bodies(&mut self, flush: &mut Flush) -> Result<(), StorageError> {
        let Some(at) = flush.batches.iter().position(|(table, _)| *table == Table::Bodies) else { return Ok(()) };
        let (_, batch) = flush.batches.remove(at);
        let bytes = batch.get_array_memory_size();
        flush.bytes = flush.bytes.saturating_sub(bytes);
        self.written += bytes;
        let written = self.bodies().and_then(|part| part.write(&batch));
        if let Err(error) = &written {
            self.lose(std::slice::from_mut(flush), error);
        }
        written
    }

    fn bodies(&mut self) -> Result<&mut PartWriter, StorageError> {
        if self.bodies.is_none() {
            let dir = self.home.live_dir(&self.shared.id);
            Home::create_dir(&dir)?;
            self.bodies = Some(PartWriter::create(&dir, "bulk-bodies", Table::Bodies, Purpose::Lake)?);
        }
        self.bodies.as_mut().ok_or_else(|| StorageError::RecorderFailed(self.shared.id.to_string()))
    }

    /// Puts the part of bodies in its place; `held` are the flushes that carry them.
    pub(super) fn publish_bodies<'a>(
        &mut self,
        held: impl IntoIterator<Item = &'a mut Flush>,
        next: &mut u64,
    ) -> Result<(), StorageError> {
        let Some(part) = self.bodies.take() else { return Ok(()) };
        self.written = 0;
        let published = Home::create_dir(&self.home.lake_dir(Table::Bodies, &self.shared.id))
            .and_then(|()| part.publish(&Part::lake_path(&self.home, &self.shared.id, Table::Bodies, *next, *next)));
        match &published {
            Ok(()) => *next += 1,
            Err(error) => self.lose(held, error),
        }
        published
    }

    /// The bodies these flushes carry are not stored.
    fn lose<'a>(&mut self, flushes: impl IntoIterator<Item = &'a mut Flush>, error: &StorageError) {
        self.bodies = None;
        self.written = 0;
        for flush in flushes {
            let bodies = std::mem::take(&mut flush.bodies);
            lock(&self.shared.counters).dropped(Layer::Bodies, error.drop_reason(), bodies);
        }
        self.shared.forget_bodies.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Writes rows of one table in the order of time; rows of the same time keep their order.
pub(super) fn write_in_order(
    batches: &[&RecordBatch],
    table: Table,
    part: &mut PartWriter,
) -> Result<(), StorageError> {
    let times: Vec<&[i64]> = batches
        .iter()
        .filter_map(|batch| batch.column_by_name(table.time_column()))
        .filter_map(|column| column.as_primitive_opt::<TimestampMicrosecondType>())
        .map(|column| &column.values()[..])
        .collect();
    if times.len() != batches.len() || times.iter().flat_map(|times| times.iter()).is_sorted() {
        return batches.iter().try_for_each(|batch| part.write(batch));
    }
    let place = |batch: usize| move |row: usize| (batch, row);
    let mut order: Vec<(usize, usize)> =
        times.iter().enumerate().flat_map(|(batch, times)| (0..times.len()).map(place(batch))).collect();
    order.sort_by_key(|(batch, row)| times[*batch][*row]);
    for rows in order.chunks(TOGETHER) {
        // Few of many batches have rows here: the others are not looked at.
        let mut used: Vec<usize> = rows.iter().map(|(batch, _)| *batch).collect();
        used.sort_unstable();
        used.dedup();
        let here: Vec<&RecordBatch> = used.iter().map(|batch| batches[*batch]).collect();
        let rows: Vec<(usize, usize)> =
            rows.iter().map(|(batch, row)| (used.partition_point(|other| other < batch), *row)).collect();
        part.write(&interleave_record_batch(&here, &rows)?)?;
    }
    Ok(())
}

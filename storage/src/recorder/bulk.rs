//! Bulk recording: for what can be read again (files), large parts written once, while reading goes on.
//!
//! Exchanges come in the order of time, but for a few that began long before they ended, and go with bodies straight
//! into parts of the lake. Those few and the rows of the other tables, which are few too, are held and become parts of
//! their own. A crash may cost what was not yet published: who records in bulk can do it again.
//!
//! In: flushes. Out: parts, all of a round published together: written to their ends first, then synced at the same
//! time, then named, bodies first and exchanges last. What a disk refuses is counted and gone; what comes next is tried
//! again.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
};

use arrow::{
    array::{AsArray, RecordBatch},
    compute::interleave_record_batch,
    datatypes::TimestampMicrosecondType,
};
use crossbeam_channel::Sender;
use weir_engine::ledger::Layer;

use super::{Shared, flush::Flush, lock};
use crate::{
    error::StorageError,
    files,
    home::Home,
    part_file::{Finished, PartWriter, Purpose},
    parts::Part,
    schema::Table,
};

/// Bytes of columns held at most, about.
const HELD_BYTES: usize = 64 << 20;
/// Bytes of columns of exchanges that make one part, about: a crash costs so much.
const EXCHANGES_BYTES: usize = 256 << 20;
/// Bytes of one part of bodies, about.
const BODIES_BYTES: usize = 128 << 20;
/// Rows handed to the writer of a part together.
const TOGETHER: usize = 8 << 10;
/// Bytes of a part after which the disk is told to begin.
const WRITE_BACK_BYTES: usize = 8 << 20;

/// The parts being written, and what is held.
pub(super) struct Bulk {
    home: Home,
    shared: Arc<Shared>,
    /// Number of the next part of each table.
    next: [u64; Table::ALL.len()],
    /// Bodies that shrink, and those that do not.
    bodies: [Growing; 2],
    exchanges: Growing,
    held: Vec<(Table, RecordBatch)>,
    held_bytes: usize,
    round: Round,
    write_back: WriteBack,
}

/// What the exchanges of a round come to.
#[derive(Default)]
pub(super) struct Round {
    exchanges: u64,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
    /// Bodies they carry whose bytes are on disk.
    safe_bodies: u64,
    /// And those whose part is still being written.
    bodies: u64,
}

/// A part that grows.
struct Growing {
    purpose: Purpose,
    part: Option<PartWriter>,
    /// Bytes of columns that went into it.
    bytes: usize,
    /// Bytes since the disk was told to begin.
    fresh: usize,
}

impl Growing {
    fn new(purpose: Purpose) -> Self {
        Self { purpose, part: None, bytes: 0, fresh: 0 }
    }

    fn take(&mut self) -> Option<PartWriter> {
        (self.bytes, self.fresh) = (0, 0);
        self.part.take()
    }
}

impl Bulk {
    pub(super) fn new(home: Home, shared: Arc<Shared>) -> Self {
        Self {
            home,
            shared,
            next: [1; Table::ALL.len()],
            bodies: [Growing::new(Purpose::Lake), Growing::new(Purpose::Dense)],
            exchanges: Growing::new(Purpose::Lake),
            held: Vec::new(),
            held_bytes: 0,
            round: Round::default(),
            write_back: WriteBack::start(),
        }
    }

    /// Takes a flush. When parts were published: what is in them.
    pub(super) fn take(&mut self, flush: Flush) -> Option<Round> {
        let Flush { batches, late, dense_bodies, bodies, request_bytes, response_bytes, .. } = flush;
        self.round.bodies += bodies;
        self.round.request_bytes += request_bytes;
        self.round.response_bytes += response_bytes;
        if let Some(batch) = dense_bodies {
            self.write_bodies(&batch, 1);
        }
        for (table, batch) in batches {
            match table {
                Table::Bodies => self.write_bodies(&batch, 0),
                Table::Exchanges => {
                    self.round.exchanges += batch.num_rows() as u64;
                    self.write_exchanges(&batch);
                }
                _ => self.hold(table, batch),
            }
        }
        if let Some(batch) = late {
            self.round.exchanges += batch.num_rows() as u64;
            self.hold(Table::Exchanges, batch);
        }
        if self.exchanges.bytes >= EXCHANGES_BYTES || self.held_bytes >= HELD_BYTES {
            return Some(self.publish());
        }
        if self.bodies.iter().map(|growing| growing.bytes).sum::<usize>() >= BODIES_BYTES {
            self.publish_bodies();
        }
        None
    }

    fn hold(&mut self, table: Table, batch: RecordBatch) {
        self.held_bytes += batch.get_array_memory_size();
        self.held.push((table, batch));
    }

    fn write_bodies(&mut self, batch: &RecordBatch, which: usize) {
        if let Err(error) = self.grow(batch, Table::Bodies, |bulk| &mut bulk.bodies[which]) {
            self.lose_bodies(&error);
        }
    }

    fn write_exchanges(&mut self, batch: &RecordBatch) {
        if let Err(error) = self.grow(batch, Table::Exchanges, |bulk| &mut bulk.exchanges) {
            self.lose_exchanges(&error);
        }
    }

    fn grow(
        &mut self,
        batch: &RecordBatch,
        table: Table,
        which: impl Fn(&mut Self) -> &mut Growing,
    ) -> Result<(), StorageError> {
        if which(self).part.is_none() {
            let dir = self.home.live_dir(&self.shared.id);
            Home::create_dir(&dir)?;
            let purpose = which(self).purpose;
            let name = format!("bulk-{table}-{purpose:?}");
            which(self).part = Some(PartWriter::create(&dir, &name, table, purpose)?);
        }
        let growing = which(self);
        let bytes = batch.get_array_memory_size();
        growing.bytes += bytes;
        growing.fresh += bytes;
        let Some(part) = &mut growing.part else { return Ok(()) };
        part.write(batch)?;
        if growing.fresh >= WRITE_BACK_BYTES {
            growing.fresh = 0;
            let path = part.temporary().to_owned();
            self.write_back.begin(path);
        }
        Ok(())
    }

    /// Publishes the parts of bodies.
    fn publish_bodies(&mut self) {
        let parts: Vec<_> = self.bodies.iter_mut().filter_map(Growing::take).collect();
        let outcome = parts.into_iter().map(PartWriter::finish).collect::<Result<Vec<_>, _>>().and_then(|parts| {
            sync_together(parts.iter())?;
            self.put(parts, Table::Bodies)
        });
        match outcome {
            Ok(()) => self.round.safe_bodies += std::mem::take(&mut self.round.bodies),
            Err(error) => self.lose_bodies(&error),
        }
    }

    /// Publishes all there is; tells what it is.
    pub(super) fn publish(&mut self) -> Round {
        let held = std::mem::take(&mut self.held);
        self.held_bytes = 0;
        // Everything is encoded before anything is synced: the disk has much to do at once then, and not often.
        let bodies: Result<Vec<_>, _> =
            self.bodies.iter_mut().filter_map(Growing::take).map(PartWriter::finish).collect();
        bodies.iter().flatten().for_each(|part| self.write_back.begin(part.temporary().to_owned()));
        let mut tables = Vec::new();
        for table in [Table::Connections, Table::Messages, Table::Cookies, Table::Exchanges] {
            let batches: Vec<_> = held.iter().filter(|(of, _)| *of == table).map(|(_, batch)| batch).collect();
            let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
            let growing = if table == Table::Exchanges { self.exchanges.take() } else { None };
            let parts: Result<Vec<_>, _> =
                self.write_held(&batches, table).into_iter().chain(growing.map(PartWriter::finish)).collect();
            tables.push((table, rows, parts));
        }
        let ready = tables.iter().flat_map(|(.., parts)| parts.iter().flatten());
        let synced = sync_together(bodies.iter().flatten().chain(ready));
        if let Err(error) = synced {
            // A disk tells a failure once: which of the files it was is not asked again.
            self.lose_bodies(&error);
            tables.iter().for_each(|(table, rows, _)| self.lose(*table, *rows, &error));
            self.lose_exchanges(&error);
            return std::mem::take(&mut self.round);
        }
        match bodies.and_then(|parts| self.put(parts, Table::Bodies)) {
            Ok(()) => self.round.safe_bodies += std::mem::take(&mut self.round.bodies),
            Err(error) => self.lose_bodies(&error),
        }
        for (table, rows, parts) in tables {
            match parts.and_then(|parts| self.put(parts, table)) {
                Ok(()) => self.kept(table, rows),
                Err(error) if table == Table::Exchanges => self.lose_exchanges(&error),
                Err(error) => self.lose(table, rows, &error),
            }
        }
        std::mem::take(&mut self.round)
    }

    /// Gives parts that were synced their names.
    fn put(&mut self, parts: Vec<Finished>, table: Table) -> Result<(), StorageError> {
        if parts.is_empty() {
            return Ok(());
        }
        let dir = self.home.lake_dir(table, &self.shared.id);
        Home::create_dir(&dir)?;
        for part in parts {
            let next = &mut self.next[table as usize];
            part.name(&Part::lake_path(&self.home, &self.shared.id, table, *next, *next))?;
            *next += 1;
        }
        files::sync_dir(&dir)
    }

    /// The held rows of a table as a part; `None`: there are none.
    fn write_held(&self, batches: &[&RecordBatch], table: Table) -> Option<Result<Finished, StorageError>> {
        if batches.is_empty() {
            return None;
        }
        let dir = self.home.live_dir(&self.shared.id);
        let part = Home::create_dir(&dir)
            .and_then(|()| PartWriter::create(&dir, &format!("held-{table}"), table, Purpose::Lake))
            .and_then(|mut part| {
                write_in_order(batches, table, &mut part)?;
                part.finish()
            });
        Some(part)
    }

    /// Rows of a table are on disk; of exchanges all of the round.
    fn kept(&self, table: Table, rows: u64) {
        let counters = lock(&self.shared.counters);
        match table {
            Table::Exchanges => {
                counters.kept(Layer::Exchanges, self.round.exchanges);
                counters.kept(Layer::Bodies, self.round.safe_bodies);
                self.shared.flushed.fetch_add(self.round.exchanges, Relaxed);
            }
            Table::Messages => counters.kept(Layer::Messages, rows),
            Table::Connections => counters.kept(Layer::Connections, rows),
            Table::Bodies | Table::Cookies => {}
        }
    }

    fn lose(&self, table: Table, rows: u64, error: &StorageError) {
        match table {
            Table::Messages => lock(&self.shared.counters).dropped(Layer::Messages, error.drop_reason(), rows),
            Table::Connections => lock(&self.shared.counters).dropped(Layer::Connections, error.drop_reason(), rows),
            Table::Exchanges | Table::Bodies | Table::Cookies => {}
        }
        self.shared.fail(error);
    }

    /// The exchanges of the round are lost.
    fn lose_exchanges(&mut self, error: &StorageError) {
        self.exchanges.take();
        self.held.retain(|(table, _)| *table != Table::Exchanges);
        let round = std::mem::take(&mut self.round);
        lock(&self.shared.counters).dropped(Layer::Exchanges, error.drop_reason(), round.exchanges);
        lock(&self.shared.counters).dropped(Layer::Bodies, error.drop_reason(), round.safe_bodies + round.bodies);
        self.shared.fail(error);
    }

    /// The bodies of the parts that were being written are lost.
    fn lose_bodies(&mut self, error: &StorageError) {
        for growing in &mut self.bodies {
            growing.take();
        }
        let lost = std::mem::take(&mut self.round.bodies);
        lock(&self.shared.counters).dropped(Layer::Bodies, error.drop_reason(), lost);
        self.shared.forget_bodies.store(true, Relaxed);
        self.shared.fail(error);
    }
}

/// Has the disk make files safe, all at the same time: each alone waits for the disk as long as all together.
fn sync_together<'a>(parts: impl Iterator<Item = &'a Finished>) -> Result<(), StorageError> {
    thread::scope(|scope| {
        let syncs: Vec<_> = parts.map(|part| scope.spawn(|| part.sync())).collect();
        syncs.into_iter().try_for_each(|sync| sync.join().unwrap_or(Ok(())))
    })
}

/// Tells the disk early what it will be asked for in the end.
struct WriteBack(Option<Sender<PathBuf>>);

impl WriteBack {
    fn start() -> Self {
        let (sender, paths) = crossbeam_channel::bounded::<PathBuf>(1);
        let work = move || {
            for path in paths {
                // Opened anew: a failure stays to be told to the one who wrote the file, when it is synced in the end.
                let _ = std::fs::File::open(path).and_then(|file| file.sync_data());
            }
        };
        Self(thread::Builder::new().name("weir-sync".into()).spawn(work).ok().map(|_| sender))
    }

    fn begin(&self, path: PathBuf) {
        if let Some(sender) = &self.0 {
            // While it is at work it is not told again.
            let _ = sender.try_send(path);
        }
    }
}

/// Writes rows of one table in the order of time; rows of the same time keep their order.
fn write_in_order(batches: &[&RecordBatch], table: Table, part: &mut PartWriter) -> Result<(), StorageError> {
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

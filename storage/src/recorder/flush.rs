//! What goes from the intake to the writer: the rows of one flush.

use arrow::array::RecordBatch;
use weir_engine::ledger::{Counters, Layer};

use crate::schema::Table;

/// The rows of one flush.
#[derive(Debug, Default)]
pub(super) struct Flush {
    /// Tables with rows, in the order they are to be published. A table goes as soon as it is on disk.
    pub(super) batches: Vec<(Table, RecordBatch)>,
    /// Exchanges that began before others that went ahead of them (bulk recording only).
    pub(super) late: Option<RecordBatch>,
    /// Bodies that compression would not make smaller (bulk recording only).
    pub(super) dense_bodies: Option<RecordBatch>,
    /// Bytes the columns take, about.
    pub(super) bytes: usize,
    /// Bodies that the exchanges carry and that are (or already were) stored.
    pub(super) bodies: u64,
    /// Sum of `request_size`.
    pub(super) request_bytes: u64,
    /// Sum of `response_size`.
    pub(super) response_bytes: u64,
}

impl Flush {
    /// Counts a table's rows as stored.
    pub(super) fn count_kept(&self, table: Table, rows: u64, counters: &Counters) {
        match table {
            Table::Exchanges => {
                counters.kept(Layer::Exchanges, rows);
                counters.kept(Layer::Bodies, self.bodies);
            }
            Table::Messages => counters.kept(Layer::Messages, rows),
            Table::Connections => counters.kept(Layer::Connections, rows),
            Table::Bodies | Table::Cookies => {}
        }
    }

    /// Counts all its rows as lost.
    pub(super) fn count_dropped(&self, reason: &'static str, counters: &Counters) {
        for (table, batch) in &self.batches {
            let rows = batch.num_rows() as u64;
            match table {
                Table::Exchanges => {
                    counters.dropped(Layer::Exchanges, reason, rows);
                    counters.dropped(Layer::Bodies, reason, self.bodies);
                }
                Table::Messages => counters.dropped(Layer::Messages, reason, rows),
                Table::Connections => counters.dropped(Layer::Connections, reason, rows),
                Table::Bodies | Table::Cookies => {}
            }
        }
    }
}

//! Exchanges in the order of time, though they come in the order they end.
//!
//! In: rows as they come. Out: columns in the order of time, and columns of the few rows that are late: they began before
//! others that have gone already. A window of rows is sorted, and its earlier half goes.

use arrow::{array::RecordBatch, error::ArrowError};
use weir_engine::record::{BodyHash, Exchange};

use crate::columns::exchanges::Exchanges;

/// Rows of half a window.
const HALF: usize = 2_048;
/// Bytes of a window's rows at most, about.
const WINDOW_BYTES: usize = 8 << 20;

/// A row that waits.
pub(super) struct Row {
    pub(super) exchange: Box<Exchange>,
    pub(super) request: Option<BodyHash>,
    pub(super) response: Option<BodyHash>,
}

/// The window.
#[derive(Default)]
pub(super) struct InOrder {
    rows: Vec<Row>,
    bytes: usize,
    /// When the last row that has gone began.
    latest_us: Option<i64>,
    late: Exchanges,
}

impl InOrder {
    /// Takes a row; the earlier half of a full window goes into `columns`. The bodies have been taken already.
    pub(super) fn push(&mut self, row: Row, columns: &mut Exchanges) {
        let Exchange { request_headers, response_headers, url, .. } = &*row.exchange;
        self.bytes += size_of::<Exchange>() + request_headers.byte_len() + response_headers.byte_len();
        self.bytes += url.as_str().len();
        self.rows.push(row);
        if self.rows.len() >= 2 * HALF || self.bytes >= WINDOW_BYTES {
            self.go(self.rows.len().div_ceil(2), columns);
        }
    }

    fn go(&mut self, count: usize, columns: &mut Exchanges) {
        self.rows.sort_by_key(|row| row.exchange.started_us);
        self.bytes -= self.bytes * count / self.rows.len().max(1);
        for Row { exchange, request, response } in self.rows.drain(..count) {
            let is_late = self.latest_us.is_some_and(|latest_us| exchange.started_us < latest_us);
            let columns = if is_late { &mut self.late } else { &mut *columns };
            columns.push(&exchange, request.as_ref(), response.as_ref());
            self.latest_us = self.latest_us.max(Some(exchange.started_us));
        }
    }

    /// No more rows come.
    pub(super) fn end(&mut self, columns: &mut Exchanges) {
        self.go(self.rows.len(), columns);
    }

    /// Bytes that late rows take, about. Those of the window are bounded, and not due to be flushed.
    pub(super) fn byte_len(&self) -> usize {
        self.late.byte_len()
    }

    /// Rows that are late and not yet handed out.
    pub(super) fn late_rows(&self) -> usize {
        self.late.rows()
    }

    /// The late rows, in the order they came.
    pub(super) fn finish_late(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        if self.late.rows() == 0 { Ok(None) } else { self.late.finish().map(Some) }
    }
}

#[cfg(test)]
mod tests {
    use arrow::{array::AsArray, datatypes::TimestampMicrosecondType};

    use super::*;

    fn times(batch: &RecordBatch) -> Vec<i64> {
        batch["started"].as_primitive::<TimestampMicrosecondType>().values().to_vec()
    }

    #[test]
    fn nearly_all_go_in_order_and_none_is_lost() {
        let (mut order, mut columns) = (InOrder::default(), Exchanges::default());
        let mut all = Vec::new();
        for number in 0..20_000_i64 {
            // Each ends up to 500 rows late; two began with the first and end far behind.
            let started_us = if number == 9_000 || number == 9_001 { 5 } else { 1_000 + number - number * 7 % 500 };
            all.push(started_us);
            let exchange = Box::new(Exchange { started_us, ..Exchange::default() });
            order.push(Row { exchange, request: None, response: None }, &mut columns);
        }
        order.end(&mut columns);
        let late = order.finish_late().expect("fits").map(|batch| times(&batch)).unwrap_or_default();
        assert_eq!(late, [5, 5]);
        let mut seen = times(&columns.finish().expect("fits"));
        assert!(seen.is_sorted());
        seen.extend(late);
        seen.sort_unstable();
        all.sort_unstable();
        assert_eq!(seen, all);
    }
}

//! One thread's records into the recorder, waiting when it is behind: a file can be read slower.
//!
//! In: records. Out: batches in the queue; notes about halves without a counterpart.

use std::{collections::BTreeMap, sync::Arc};

use weir_engine::{
    ledger::{Counters, Layer},
    pipeline::Outlet,
    record::{Fault, Record},
    shard::RecordSink,
};

use super::gauge::Gauge;

/// Takes the records of one thread.
pub(super) struct Sink {
    outlet: Outlet,
    gauge: Arc<Gauge>,
    exchanges: u64,
    /// Requests without response by reason, and responses without request.
    unpaired: BTreeMap<&'static str, u64>,
}

impl Sink {
    pub(super) fn new(outlet: Outlet, gauge: Arc<Gauge>) -> Self {
        Self { outlet, gauge, exchanges: 0, unpaired: BTreeMap::new() }
    }

    /// The counters of the import.
    pub(super) fn counters(&self) -> &Arc<Counters> {
        self.outlet.counters()
    }

    /// Hands over what has gathered, and what was noted.
    pub(super) fn flush(&mut self) {
        if let Some(batch) = self.outlet.flush() {
            self.outlet.deliver_blocking(batch);
        }
        self.gauge.add_exchanges(std::mem::take(&mut self.exchanges));
        for (reason, count) in std::mem::take(&mut self.unpaired) {
            self.counters().noted(Layer::HttpMessages, format!("unpaired:{reason}"), count);
        }
    }

    fn note(&mut self, record: &Record) {
        let Record::Exchange(exchange) = record else { return };
        self.exchanges += 1;
        let reason = match (exchange.status, exchange.error) {
            (_, Some(Fault::RequestMissing)) => Fault::RequestMissing,
            (None, Some(fault)) => fault,
            (None, None) if exchange.response_body.size == 0 => Fault::ResponseMissing,
            _ => return,
        };
        *self.unpaired.entry(reason.as_str()).or_default() += 1;
    }
}

impl RecordSink for Sink {
    fn record(&mut self, record: Record) {
        self.note(&record);
        if let Some(batch) = self.outlet.push(record) {
            self.outlet.deliver_blocking(batch);
        }
    }
}

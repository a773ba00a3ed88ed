//! One thread's records into the recorder. Packets cannot be slowed down: they wait in their ring a while, and when that fills
//! and the queue is full, records are shed with a count.
//!
//! In: records, in the order they end. Out: batches in the queue.

use std::{sync::Arc, time::Duration};

use weir_engine::{
    http::BodyPolicy,
    live::{LiveError, LiveFrame, LiveSink},
    pipeline::Outlet,
    record::Record,
    shard::{Ends, RecordSink},
};
use weir_proxy::config::Keep;

use super::save::Saver;
use crate::cli::capture::Bodies;

/// Takes the records of one thread.
pub(super) struct Sink {
    outlet: Outlet,
    keep: Arc<Keep>,
    saver: Option<Saver>,
}

impl Sink {
    /// `outlet` sheds; `saver` takes raw packets, where they are wanted.
    pub(super) fn new(outlet: Outlet, keep: Arc<Keep>, saver: Option<Saver>) -> Self {
        Self { outlet, keep, saver }
    }
}

/// What is to be stored, in the packet path's terms.
pub(super) fn policy(keep: &Keep) -> (BodyPolicy, bool) {
    let bodies = match Bodies::from(keep.bodies()) {
        Bodies::All => BodyPolicy::All,
        Bodies::MediaOff => BodyPolicy::MediaOff,
        Bodies::None => BodyPolicy::None,
    };
    (bodies, keep.responses())
}

impl RecordSink for Sink {
    fn record(&mut self, record: Record) {
        if let (Some(saver), Record::Exchange(exchange)) = (&mut self.saver, &record) {
            saver.exchange(exchange);
        }
        if let Some(batch) = self.outlet.push(record) {
            self.outlet.deliver_blocking(batch);
        }
    }
}

impl LiveSink for Sink {
    fn flush(&mut self) {
        if let Some(batch) = self.outlet.flush() {
            self.outlet.deliver_blocking(batch);
        }
        if let Some(saver) = &mut self.saver {
            saver.flush();
        }
    }

    fn frame(&mut self, frame: &LiveFrame<'_>, ends: Option<Ends>) {
        if let Some(saver) = &mut self.saver {
            saver.frame(frame, ends);
        }
    }

    fn close(&mut self) {
        self.outlet.wait_when_full();
    }

    fn wait_for_room(&mut self, most: Duration) -> bool {
        self.outlet.wait_for_room(most)
    }

    fn policy(&self) -> Option<(BodyPolicy, bool)> {
        Some(policy(&self.keep))
    }

    fn failed(&mut self, error: &LiveError) {
        tracing::error!("no more packets from an interface: {error}");
    }
}

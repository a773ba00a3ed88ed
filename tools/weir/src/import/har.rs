//! HAR files: each entry becomes an exchange as it is read.

use std::sync::Arc;

use weir_engine::{
    http::BodyPolicy,
    import::har::{self, HarError, HarSummary, Imported},
    ledger::Layer,
    pipeline::Ids,
    record::{
        BodyState, Content, Direction, Record,
        media::{self, Category},
    },
    shard::RecordSink,
    source::Unpacked,
};

use super::{gauge::Gauge, options::Options, sink::Sink};

/// Reads a HAR to its end, or until it is to stop. What is not of HTTP, malformed or torn is counted.
pub(super) fn read(
    input: Unpacked<'static>,
    options: &Options,
    ids: &Arc<Ids>,
    sink: &mut Sink,
    gauge: &Arc<Gauge>,
) -> Result<HarSummary, HarError> {
    let mut summary = HarSummary::default();
    let reader = Stoppable { input: input.into_input(), gauge: Arc::clone(gauge) };
    let read = har::read(reader, |imported| {
        summary.exchanges += 1;
        take(imported, options, ids, sink);
    });
    let stopped = gauge.is_stopped();
    let counters = sink.counters();
    match &read {
        Ok(whole) => {
            summary = *whole;
            counters.seen(Layer::Exchanges, whole.not_http + whole.malformed);
            counters.dropped(Layer::Exchanges, "ignored:not_http", whole.not_http);
            counters.dropped(Layer::Exchanges, "malformed", whole.malformed);
        }
        Err(_) if stopped => {}
        Err(_) if summary.exchanges > 0 => {
            counters.seen(Layer::Exchanges, 1);
            counters.dropped(Layer::Exchanges, "torn", 1);
        }
        Err(_) => {}
    }
    sink.flush();
    if stopped { Ok(summary) } else { read }
}

fn take(imported: Imported, options: &Options, ids: &Ids, sink: &mut Sink) {
    let Imported { mut exchange, messages } = imported;
    exchange.id = ids.next_exchange();
    let shard = &options.shard;
    let skipped = |body: &mut weir_engine::record::Body, state| {
        if body.state != BodyState::None {
            if state == BodyState::SkippedMedia && body.hash.is_none() && !body.content.is_empty() {
                body.hash = Some(body.content.hash());
            }
            body.state = state;
            body.content = Content::default();
        }
    };
    if shard.bodies == BodyPolicy::None {
        skipped(&mut exchange.request_body, BodyState::SkippedPolicy);
    }
    if shard.bodies == BodyPolicy::None || !shard.record_responses {
        skipped(&mut exchange.response_body, BodyState::SkippedPolicy);
    } else if shard.bodies == BodyPolicy::MediaOff {
        let media = exchange.response_content_type().map(|value| Category::of(&media::essence(value)).is_media());
        if media == Some(true) {
            skipped(&mut exchange.response_body, BodyState::SkippedMedia);
        }
    }
    let id = exchange.id;
    sink.record(Record::Exchange(Box::new(exchange)));
    for mut message in messages {
        message.exchange = id;
        let kept = shard.bodies != BodyPolicy::None && (shard.record_responses || message.direction == Direction::Sent);
        if !kept {
            message.state = BodyState::SkippedPolicy;
            message.payload = Default::default();
        }
        sink.record(Record::Message(Box::new(message)));
    }
}

/// Ends early when the import is to stop; the pauses of a pipe are waited out.
struct Stoppable {
    input: Box<dyn std::io::Read + Send>,
    gauge: Arc<Gauge>,
}

impl std::io::Read for Stoppable {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            if self.gauge.is_stopped() {
                return Ok(0);
            }
            match self.input.read(buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                other => return other,
            }
        }
    }
}

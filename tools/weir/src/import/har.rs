//! HAR files: each entry becomes an exchange as it is read; entries that name a connection make its row.

use std::{collections::HashMap, sync::Arc};

use weir_engine::{
    http::BodyPolicy,
    import::har::{self, HarError, HarSummary, Imported},
    ledger::Layer,
    pipeline::Ids,
    record::{
        BodyState, Connection, Content, Direction, Exchange, Record,
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
    let mut connections = Connections::default();
    let reader = Stoppable { input: input.into_input(), gauge: Arc::clone(gauge) };
    let read = har::read(reader, |imported| {
        summary.exchanges += 1;
        take(imported, options, ids, sink, &mut connections);
    });
    connections.hand_out(sink);
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

fn take(imported: Imported, options: &Options, ids: &Ids, sink: &mut Sink, connections: &mut Connections) {
    let Imported { mut exchange, messages } = imported;
    exchange.id = ids.next_exchange();
    connections.note(&mut exchange, ids, sink);
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

/// Connections followed at once at most; one that comes again after that many others gets another row.
const MAX_CONNECTIONS: usize = 65_536;

/// The connections that entries name.
#[derive(Default)]
struct Connections(HashMap<u64, Connection>);

impl Connections {
    /// Adds an exchange to the connection it names, whose number becomes one of this session.
    fn note(&mut self, exchange: &mut Exchange, ids: &Ids, sink: &mut Sink) {
        if exchange.connection == 0 {
            return;
        }
        if self.0.len() >= MAX_CONNECTIONS && !self.0.contains_key(&exchange.connection) {
            self.hand_out(sink);
        }
        let ended_us = exchange.started_us.saturating_add_unsigned(exchange.timings.duration_us.unwrap_or(0));
        let connection = self.0.entry(exchange.connection).or_insert_with(|| Connection {
            id: ids.next_connection(),
            source: exchange.source,
            server: exchange.server,
            domain: (!exchange.url.domain().is_empty()).then(|| exchange.url.domain().into()),
            port: exchange.url.port(),
            opened_us: exchange.started_us,
            ..Connection::default()
        });
        let closed_us = connection.opened_us.saturating_add_unsigned(connection.duration_us).max(ended_us);
        connection.opened_us = connection.opened_us.min(exchange.started_us);
        connection.duration_us = u64::try_from(closed_us.saturating_sub(connection.opened_us)).unwrap_or(0);
        connection.exchanges += 1;
        connection.sent_bytes += exchange.request_body.size;
        connection.received_bytes += exchange.response_body.size;
        exchange.connection = connection.id;
    }

    fn hand_out(&mut self, sink: &mut Sink) {
        let mut all: Vec<_> = self.0.drain().map(|(_, connection)| connection).collect();
        all.sort_unstable_by_key(|connection| connection.id);
        all.into_iter().for_each(|connection| sink.record(Record::Connection(Box::new(connection))));
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

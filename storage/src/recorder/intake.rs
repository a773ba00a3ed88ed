//! The intake: batches from the queue, filtered, counted and put into columns.
//!
//! In: batches. Out: a [`Flush`] every interval, or when the columns are full. Records are let go of
//! (and their share of the memory budget with them) as soon as they are in columns.

use std::{
    borrow::Cow,
    collections::VecDeque,
    net::SocketAddr,
    ops::Range,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use bytes::Bytes;
use weir_engine::{
    filter::FilterSet,
    ledger::{Counters, Layer},
    pipeline::{Batch, Ids, Receiver, lane::Sender, outlet::layer_of, queue::Received},
    record::{Body, BodyHash, BodyState, Connection, Content, Exchange, Fault, Headers, Message, Record},
};

use super::{
    Shared, density,
    flush::Flush,
    lock,
    order::{InOrder, Row},
    rejected::{Rejected, Rejection},
};
use crate::{
    columns::{
        bodies::{Bodies, KnownBodies},
        connections::Connections,
        cookies::Cookies,
        exchanges::Exchanges,
        messages::Messages,
    },
    labels::LabelsByAddress,
    schema::Table,
    time::Timestamp,
};

/// Longer bodies and payloads cannot be stored: Parquet's pages end at 2 GiB.
const LONGEST_BODY: usize = 1 << 30;

/// The intake thread's own.
pub(super) struct Intake {
    shared: Arc<Shared>,
    ids: Arc<Ids>,
    flushes: Sender<Flush>,
    flush_interval: Duration,
    flush_bytes: usize,
    filters: Arc<FilterSet>,
    labels: LabelsByAddress,
    gathers_cookies: bool,
    /// Exchanges taken in this session.
    taken: u64,
    /// Records taken out of the queue, by layer.
    seen: [u64; Layer::ALL.len()],
    /// Since when nothing is recorded, microseconds since the Unix epoch.
    paused_since_us: Option<i64>,
    /// Pauses that ended lately.
    pauses: VecDeque<Range<i64>>,
    settings_version: Option<u64>,
    exchanges: Exchanges,
    /// Puts them into the order of time first (bulk recording).
    order: Option<InOrder>,
    connections: Connections,
    messages: Messages,
    cookies: Cookies,
    bodies: BodyIntake,
    request_bytes: u64,
    response_bytes: u64,
    /// Rejected by each rule since the last batch ended.
    rejected: Vec<u64>,
    /// Exchanges left out whose messages are left out too.
    without_messages: Rejected,
}

/// What an intake works on, and what it must know of what came before.
pub(super) struct Work {
    pub(super) receiver: Receiver,
    pub(super) without_messages: Rejected,
}

impl Work {
    /// The beginning.
    pub(super) fn new(receiver: Receiver) -> Self {
        Self { receiver, without_messages: Rejected::default() }
    }
}

/// What an intake leaves to the next session's.
pub(super) struct HandedOver {
    pub(super) work: Work,
    /// Records it took, by layer.
    pub(super) seen: [u64; Layer::ALL.len()],
}

/// Everything about bodies that does not need the rest of the intake.
#[derive(Default)]
struct BodyIntake {
    columns: Bodies,
    /// Those that compression would not make smaller, apart (bulk recording).
    dense: Bodies,
    known: KnownBodies,
    /// Bodies are dated in the order they come, never before the one ahead: their part is sorted then.
    in_order: bool,
    latest_us: i64,
    seen: u64,
    kept: u64,
    dropped: [u64; DropReason::ALL.len()],
}

#[derive(Clone, Copy)]
enum DropReason {
    SkippedMedia,
    SkippedPolicy,
    BodyLimit,
    MemoryLimit,
    Gap,
}

impl DropReason {
    const ALL: [&'static str; 5] =
        ["policy:skipped_media", "policy:skipped_policy", "body_limit", "memory_limit", "gap"];
}

impl Intake {
    pub(super) fn new(
        shared: Arc<Shared>,
        ids: Arc<Ids>,
        flushes: Sender<Flush>,
        flush_interval: Duration,
        flush_bytes: usize,
        in_order: bool,
    ) -> Self {
        Self {
            shared,
            ids,
            flushes,
            flush_interval,
            flush_bytes,
            filters: Arc::default(),
            labels: LabelsByAddress::default(),
            gathers_cookies: true,
            taken: 0,
            seen: [0; Layer::ALL.len()],
            paused_since_us: None,
            pauses: VecDeque::new(),
            settings_version: None,
            exchanges: Exchanges::default(),
            order: in_order.then(InOrder::default),
            connections: Connections::default(),
            messages: Messages::default(),
            cookies: Cookies::default(),
            bodies: BodyIntake::new(in_order),
            request_bytes: 0,
            response_bytes: 0,
            rejected: Vec::new(),
            without_messages: Rejected::default(),
        }
    }

    /// Takes batches until every outlet is gone, or until the receiver is asked for: then it is given back.
    pub(super) fn run(mut self, Work { receiver, without_messages }: Work) -> Option<HandedOver> {
        self.without_messages = without_messages;
        let mut deadline = Instant::now() + self.flush_interval;
        loop {
            let ended = match receiver.recv_deadline(deadline) {
                Received::Batch(batch) => {
                    self.take(batch);
                    false
                }
                Received::TimedOut => false,
                Received::Ended => true,
            };
            let asked = self.shared.hand_over.load(Relaxed);
            if ended && let Some(order) = &mut self.order {
                order.end(&mut self.exchanges);
            }
            if ended || asked || self.byte_len() >= self.flush_bytes || Instant::now() >= deadline {
                self.flush();
                deadline = Instant::now() + self.flush_interval;
            }
            if ended {
                return None;
            }
            if asked {
                let work = Work { receiver, without_messages: self.without_messages };
                return Some(HandedOver { work, seen: self.seen });
            }
        }
    }

    fn byte_len(&self) -> usize {
        self.exchanges.byte_len()
            + self.order.as_ref().map_or(0, InOrder::byte_len)
            + self.bodies.byte_len()
            + self.messages.byte_len()
            + self.connections.byte_len()
            + self.cookies.byte_len()
    }

    fn take(&mut self, batch: Batch) {
        self.read_settings();
        for record in batch.records {
            self.seen[layer_of(&record) as usize] += 1;
            match record {
                Record::Exchange(exchange) => self.take_exchange(exchange),
                Record::Connection(connection) => self.take_connection(connection),
                Record::Message(message) => self.take_message(message),
            }
            // One batch of large bodies may hold more than offsets can count.
            if self.bodies.byte_len() >= LONGEST_BODY || self.messages.byte_len() >= LONGEST_BODY {
                self.flush();
            }
        }
        self.count();
    }

    fn read_settings(&mut self) {
        let version = self.shared.settings_version.load(Relaxed);
        if self.settings_version != Some(version) {
            self.settings_version = Some(version);
            let settings = lock(&self.shared.settings);
            self.filters = Arc::clone(&settings.filters);
            self.paused_since_us = settings.paused_since.map(Timestamp::as_micros);
            self.pauses.clone_from(&settings.pauses);
            self.labels = Arc::clone(&settings.labels);
            self.gathers_cookies = settings.cookies;
            // One for each rule, one for the pause, one for each limit.
            self.rejected = vec![0; self.filters.rules.len() + 3];
        }
        if self.shared.forget_bodies.swap(false, Relaxed) {
            self.bodies.known.forget();
        }
    }

    /// Whether what ended at this time is left out: what ended before a pause began is recorded, and what ended in
    /// it is not, though either may have been on its way here when that changed.
    fn is_paused_at(&self, ended_us: i64) -> bool {
        self.paused_since_us.is_some_and(|since_us| ended_us >= since_us)
            || self.pauses.iter().any(|pause| pause.contains(&ended_us))
    }

    fn take_exchange(&mut self, mut exchange: Box<Exchange>) {
        if exchange.id == 0 {
            exchange.id = self.ids.next_exchange();
        }
        if let (None, Some(client)) = (&exchange.device, exchange.client) {
            exchange.device = self.label(client);
        }
        if let Some((place, why)) = self.rejection(&exchange) {
            self.rejected[place] += 1;
            self.without_messages.note(&exchange, why);
            return;
        }
        self.taken += 1;
        if self.gathers_cookies {
            self.cookies.push(&exchange);
        }
        let Exchange { request_body, response_body, request_headers, response_headers, error, started_us, .. } =
            &mut *exchange;
        let request = self.bodies.take(request_body, request_headers, *error, *started_us);
        let response = self.bodies.take(response_body, response_headers, *error, *started_us);
        self.request_bytes += exchange.request_body.size;
        self.response_bytes += exchange.response_body.size;
        match &mut self.order {
            Some(order) => order.push(Row { exchange, request, response }, &mut self.exchanges),
            None => self.exchanges.push(&exchange, request.as_ref(), response.as_ref()),
        }
    }

    /// Why an exchange is left out, and where that is counted.
    fn rejection(&self, exchange: &Exchange) -> Option<(usize, Rejection)> {
        let rules = self.filters.rules.len();
        if self.is_paused_at(ended_us(exchange.started_us, exchange.timings.duration_us.unwrap_or(0))) {
            return Some((rules, Rejection::Paused));
        }
        if let Some(rule) = self.filters.rules.iter().position(|rule| !rule.expr.matches(exchange)) {
            return Some((rule, Rejection::Filter));
        }
        let limits = &self.shared.limits;
        let full = if limits.exchanges.is_some_and(|most| self.taken >= most) {
            1
        } else if limits.bytes.is_some_and(|most| self.shared.stored_bytes.load(Relaxed) >= most) {
            2
        } else {
            return None;
        };
        self.shared.is_full.store(true, Relaxed);
        Some((rules + full, Rejection::Limit))
    }

    /// The name of a client's address.
    fn label(&self, client: SocketAddr) -> Option<Arc<str>> {
        if self.labels.is_empty() { None } else { self.labels.get(&client.ip().to_canonical()).cloned() }
    }

    fn take_connection(&mut self, mut connection: Box<Connection>) {
        if connection.id == 0 {
            connection.id = self.ids.next_connection();
        }
        if let (None, Some(client)) = (&connection.device, connection.client) {
            connection.device = self.label(client);
        }
        if self.is_paused_at(ended_us(connection.opened_us, connection.duration_us)) {
            lock(&self.shared.counters).dropped(Layer::Connections, "policy:paused", 1);
        } else {
            self.connections.push(&connection);
        }
    }

    fn take_message(&mut self, mut message: Box<Message>) {
        if message.payload.len() >= LONGEST_BODY {
            message.payload = Bytes::new();
            message.state = BodyState::Truncated;
        }
        let paused = self.is_paused_at(message.at_us).then_some(Rejection::Paused);
        match paused.or_else(|| self.without_messages.get(message.exchange)) {
            Some(why) => lock(&self.shared.counters).dropped(Layer::Messages, why.reason(), 1),
            None => self.messages.push(&message),
        }
    }

    /// Passes the counts of a batch on, so that the ledger is touched once a batch.
    fn count(&mut self) {
        let counters = lock(&self.shared.counters);
        let rules = self.filters.rules.len();
        for (place, count) in self.rejected.iter_mut().enumerate().filter(|(_, count)| **count > 0) {
            match self.filters.rules.get(place) {
                Some(rule) => counters.dropped(Layer::Exchanges, format!("filter:{}", rule.name), *count),
                None => {
                    let reason = ["policy:paused", "policy:max_exchanges", "policy:max_size"][place - rules];
                    counters.dropped(Layer::Exchanges, reason, *count);
                }
            }
            *count = 0;
        }
        let full = self.shared.limits.exchanges.is_some_and(|most| self.taken >= most);
        if full {
            self.shared.is_full.store(true, Relaxed);
        }
        self.bodies.count(&counters);
    }

    fn flush(&mut self) {
        let flush = Flush {
            batches: Vec::new(),
            late: None,
            dense_bodies: None,
            bytes: self.byte_len(),
            bodies: std::mem::take(&mut self.bodies.kept),
            request_bytes: std::mem::take(&mut self.request_bytes),
            response_bytes: std::mem::take(&mut self.response_bytes),
        };
        let late = self.order.as_ref().map_or(0, InOrder::late_rows);
        self.shared.exchanges.fetch_add((self.exchanges.rows() + late) as u64, Relaxed);
        self.shared.request_bytes.fetch_add(flush.request_bytes, Relaxed);
        self.shared.response_bytes.fetch_add(flush.response_bytes, Relaxed);
        self.send(flush);
    }

    fn send(&mut self, mut flush: Flush) {
        let apart = self.order.as_mut().map(InOrder::finish_late).transpose().and_then(|late| {
            flush.late = late.flatten();
            flush.dense_bodies = if self.bodies.dense.rows() > 0 { Some(self.bodies.dense.finish()?) } else { None };
            Ok(())
        });
        if let Err(error) = apart {
            *lock(&self.shared.last_error) = Some(error.to_string());
        }
        for table in Table::ALL {
            let batch = match table {
                Table::Bodies if self.bodies.columns.rows() > 0 => self.bodies.columns.finish(),
                Table::Connections if self.connections.rows() > 0 => self.connections.finish(),
                Table::Messages if self.messages.rows() > 0 => self.messages.finish(),
                Table::Cookies if self.cookies.rows() > 0 => self.cookies.finish(),
                Table::Exchanges if self.exchanges.rows() > 0 => self.exchanges.finish(),
                _ => continue,
            };
            match batch {
                Ok(batch) => flush.batches.push((table, batch)),
                // The columns are made here and fit; should they not, it must be known and not end the capture.
                Err(error) => *lock(&self.shared.last_error) = Some(error.to_string()),
            }
        }
        // The writer ends after the intake; were it gone, its failure is told by `finish`.
        let is_empty = flush.batches.is_empty() && flush.late.is_none() && flush.dense_bodies.is_none();
        if !is_empty && self.flushes.send(flush).is_err() {
            *lock(&self.shared.last_error) = Some("the writer has ended".to_owned());
        }
    }
}

/// The codings of a body, one behind the other: field lines of one name are a list (RFC 9110 §5.3).
fn encoding(headers: &Headers) -> Option<Cow<'_, [u8]>> {
    let mut lines = headers.get_all("content-encoding");
    let first = lines.next()?;
    let Some(second) = lines.next() else { return Some(Cow::Borrowed(first)) };
    let all: Vec<&[u8]> = [first, second].into_iter().chain(lines).collect();
    Some(Cow::Owned(all.join(&b", "[..])))
}

fn ended_us(began_us: i64, duration_us: u64) -> i64 {
    began_us.saturating_add(i64::try_from(duration_us).unwrap_or(i64::MAX))
}

impl BodyIntake {
    fn new(in_order: bool) -> Self {
        // In bulk what is dense goes apart, and the bytes stay where they are until they are written.
        let (columns, dense) = if in_order { (Bodies::shared(), Bodies::shared()) } else { Default::default() };
        Self { columns, dense, in_order, ..Self::default() }
    }

    fn byte_len(&self) -> usize {
        self.columns.byte_len() + self.dense.byte_len()
    }

    /// Stores a body that is to be stored and is new; returns its hash when it is known.
    fn take(&mut self, body: &mut Body, headers: &Headers, error: Option<Fault>, started_us: i64) -> Option<BodyHash> {
        if body.state == BodyState::None {
            return None;
        }
        self.seen += 1;
        if body.content.len() > LONGEST_BODY {
            body.content = Content::default();
            body.state = BodyState::Truncated;
        }
        let whole = body.content.len() as u64 >= body.size;
        let reason = match body.state {
            BodyState::SkippedMedia => Some(DropReason::SkippedMedia),
            BodyState::SkippedPolicy => Some(DropReason::SkippedPolicy),
            BodyState::Gap => Some(DropReason::Gap),
            // A message that ended early is cut too, but all there was of it is stored.
            BodyState::Truncated if !whole && error == Some(Fault::MemoryLimit) => Some(DropReason::MemoryLimit),
            BodyState::Truncated if !whole => Some(DropReason::BodyLimit),
            BodyState::Truncated | BodyState::Stored | BodyState::None => None,
        };
        match reason {
            Some(reason) => self.dropped[reason as usize] += 1,
            None => self.kept += 1,
        }
        if body.content.is_empty() {
            return body.hash;
        }
        let hash = body.hash.unwrap_or_else(|| body.content.hash());
        if self.known.insert(&hash) {
            let encoding = if body.decoded { None } else { encoding(headers) };
            let encoding = encoding.as_deref();
            if self.in_order {
                self.latest_us = self.latest_us.max(started_us);
            }
            let seen_us = if self.in_order { self.latest_us } else { started_us };
            let is_dense = self.in_order && density::is_dense(&body.content, encoding);
            let columns = if is_dense { &mut self.dense } else { &mut self.columns };
            columns.push(&hash, &body.content, encoding, seen_us);
        }
        Some(hash)
    }

    fn count(&mut self, counters: &Counters) {
        counters.seen(Layer::Bodies, std::mem::take(&mut self.seen));
        for (count, reason) in self.dropped.iter_mut().zip(DropReason::ALL) {
            counters.dropped(Layer::Bodies, reason, std::mem::take(count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codings_in_several_lines_are_one_list() {
        let of = |lines: &[(&str, &str)]| {
            let headers = Headers::from_pairs(lines.iter().copied());
            encoding(&headers).map(|coding| String::from_utf8_lossy(&coding).into_owned())
        };
        assert_eq!(of(&[("Content-Type", "a/b")]), None);
        assert_eq!(of(&[("content-encoding", "br")]).as_deref(), Some("br"));
        let three =
            [("Content-Encoding", "deflate"), ("A", "b"), ("Content-Encoding", "gzip"), ("content-encoding", "br")];
        assert_eq!(of(&three).as_deref(), Some("deflate, gzip, br"));
    }
}

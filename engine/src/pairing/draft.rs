//! An exchange while its halves come in.
//!
//! In: heads, bodies, times. Out: the exchange, once both halves are through.

use std::{net::SocketAddr, sync::Arc};

use bytestring::ByteString;

use super::{Context, Owner};
use crate::{
    http::{
        BodyPolicy,
        body::{Collector, Keep},
        framing::Framing,
        head::{Head, StartLine},
    },
    record::{
        Direction, Exchange, Fault, Flags, Headers, Record, Source, Url,
        media::{self, Category},
    },
    work,
};

/// How far a half is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing seen.
    Waiting,
    /// Its head was seen.
    Open,
    /// It is through.
    Done,
}

/// Where the bytes of a half lie in its stream.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// Where its head begins, and its length.
    head: (u64, usize),
    /// The bytes of its body that came last without others between them: where they begin, and where they are stored.
    run: (u64, usize),
    /// Behind the last byte.
    end: u64,
}

/// An exchange under way.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) exchange: Box<Exchange>,
    /// Of the request, of the response.
    places: [Place; 2],
    pub(crate) request: Phase,
    pub(crate) response: Phase,
    /// A fault of the response, when another one is told already.
    late_fault: Option<Fault>,
    /// Its request is not told yet.
    pub(crate) held: bool,
    request_body: Option<Collector>,
    response_body: Option<Collector>,
    started_ns: i64,
    asked_ns: Option<i64>,
    answered_ns: Option<i64>,
    ended_ns: Option<i64>,
}

/// Addresses and numbers of a connection, for its exchanges.
#[derive(Debug, Clone)]
pub(crate) struct Ends {
    pub(crate) client: SocketAddr,
    pub(crate) server: SocketAddr,
    /// Label of the client, where it is not its address.
    pub(crate) device: Option<Arc<str>>,
    pub(crate) connection: u64,
    pub(crate) flags: Flags,
    /// Inside a CONNECT tunnel: where to.
    pub(crate) authority: Option<ByteString>,
    /// Process on this host.
    pub(crate) owner: Option<Owner>,
}

impl Draft {
    fn new(cx: &Context, ends: &Ends, time_ns: i64) -> Self {
        let exchange = Box::new(Exchange {
            id: cx.ids.next_exchange(),
            source: Source::Packets,
            device: ends.device.clone(),
            client: Some(ends.client),
            server: Some(ends.server),
            connection: ends.connection,
            started_us: time_ns.div_euclid(1_000),
            flags: ends.flags,
            process: ends.owner.as_ref().map(|owner| Arc::clone(&owner.process)),
            pid: ends.owner.as_ref().map(|owner| owner.pid),
            ..Exchange::default()
        });
        Self {
            exchange,
            places: [Place::default(); 2],
            request: Phase::Waiting,
            response: Phase::Waiting,
            held: false,
            late_fault: None,
            request_body: None,
            response_body: None,
            started_ns: time_ns,
            asked_ns: None,
            answered_ns: None,
            ended_ns: None,
        }
    }

    /// From a request head.
    pub(crate) fn from_request(cx: &mut Context, ends: &Ends, head: Head, framing: Framing, time_ns: i64) -> Self {
        let mut draft = Self::new(cx, ends, time_ns);
        cx.messages.seen += 1;
        cx.messages.kept += 1;
        draft.request = Phase::Open;
        let exchange = &mut *draft.exchange;
        if let StartLine::Request { method, target, protocol } = &head.start {
            let (method, target) = (method.bytes(&head.headers), target.bytes(&head.headers));
            exchange.protocol = *protocol;
            exchange.url = url(ends, method, target, &head.headers);
            exchange.method = known_or_own(method, &METHODS);
        }
        if head.odd {
            exchange.flags.set(Flags::MALFORMED);
        }
        exchange.request_headers = head.headers;
        draft.request_body = collector(keep_request(cx.bodies), framing);
        draft
    }

    /// For a response whose request was not seen.
    pub(crate) fn without_request(cx: &mut Context, ends: &Ends, time_ns: i64) -> Self {
        let mut draft = Self::new(cx, ends, time_ns);
        draft.request = Phase::Done;
        draft.exchange.error = Some(Fault::RequestMissing);
        cx.messages.unpaired += 1;
        draft
    }

    /// Takes the final response's head.
    pub(crate) fn respond(&mut self, cx: &mut Context, head: Head, framing: Framing, time_ns: i64) {
        cx.messages.seen += 1;
        cx.messages.kept += 1;
        let exchange = &mut *self.exchange;
        if let StartLine::Response { status, reason, protocol } = &head.start {
            let reason = reason.bytes(&head.headers);
            exchange.status = Some(*status);
            exchange.reason = (!reason.is_empty()).then(|| known_or_own(reason, &PHRASES));
            if self.request == Phase::Done && exchange.error == Some(Fault::RequestMissing) {
                exchange.protocol = *protocol;
            }
        }
        if head.odd {
            exchange.flags.set(Flags::MALFORMED);
        }
        if self.request == Phase::Open {
            exchange.flags.set(Flags::EARLY_RESPONSE);
        }
        exchange.response_headers = head.headers;
        self.response = Phase::Open;
        self.answered_ns = Some(time_ns);
        self.response_body = collector(keep_response(cx, exchange), framing);
    }

    /// A response without a head (HTTP/0.9).
    pub(crate) fn respond_bare(&mut self, cx: &Context, time_ns: i64) {
        self.response = Phase::Open;
        self.answered_ns = Some(time_ns);
        self.response_body = collector(keep_response(cx, &self.exchange), Framing::UntilClose);
    }

    /// Where in its stream the head of a half lies.
    pub(crate) fn place(&mut self, direction: Direction, start: u64, len: usize) {
        self.places[direction as usize] = Place { head: (start, len), run: (0, 0), end: start + len as u64 };
    }

    /// Notes that bytes of a body lie at `offset`; so many of it are stored already.
    fn note(&mut self, direction: Direction, offset: u64, len: usize, stored: usize) {
        let place = &mut self.places[direction as usize];
        if stored == 0 || offset != place.end {
            place.run = (offset, stored);
        }
        place.end = offset + len as u64;
    }

    /// Bytes of a direction came again: whether they are others than those kept of this exchange. `None`: none of
    /// them are its own.
    pub(crate) fn differs(&self, direction: Direction, offset: u64, again: &[u8]) -> Option<bool> {
        let place = &self.places[direction as usize];
        if offset >= place.end || offset + again.len() as u64 <= place.head.0 {
            return None;
        }
        let exchange = &*self.exchange;
        let (headers, body, open) = match direction {
            Direction::Sent => (&exchange.request_headers, &exchange.request_body, &self.request_body),
            Direction::Received => (&exchange.response_headers, &exchange.response_body, &self.response_body),
        };
        let stored = match open {
            Some(open) => open.stored(),
            None => body.content.chunks().first().map_or(&[][..], |bytes| bytes),
        };
        let (start, len) = place.head;
        let (run, at) = place.run;
        Some(
            differ((start, headers.buffer().get(..len).unwrap_or_default()), (offset, again))
                || differ((run, stored.get(at..).unwrap_or_default()), (offset, again)),
        )
    }

    /// The next bytes of the request's body, which lie at `offset` of the stream, where that means anything.
    pub(crate) fn request_data(&mut self, cx: &Context, offset: Option<u64>, bytes: &[u8]) {
        if let Some(offset) = offset {
            let stored = self.request_body.as_ref().map_or(0, |body| body.stored().len());
            self.note(Direction::Sent, offset, bytes.len(), stored);
        }
        let body = self.request_body.get_or_insert_with(|| Collector::new(keep_request(cx.bodies), None));
        body.push(bytes, &cx.budget, &mut self.exchange.reservation);
    }

    /// The next bytes of the response's body.
    pub(crate) fn response_data(&mut self, cx: &Context, offset: Option<u64>, bytes: &[u8]) {
        if let Some(offset) = offset {
            let stored = self.response_body.as_ref().map_or(0, |body| body.stored().len());
            self.note(Direction::Received, offset, bytes.len(), stored);
        }
        // What is kept was decided with the head; it is looked at again only for bodies nobody announced.
        let exchange = &self.exchange;
        let body = self.response_body.get_or_insert_with(|| Collector::new(keep_response(cx, exchange), None));
        body.push(bytes, &cx.budget, &mut self.exchange.reservation);
    }

    pub(crate) fn request_gap(&mut self, len: u64) {
        let body = self.request_body.get_or_insert_default();
        body.gap(len);
        if body.has_gap() {
            self.exchange.flags.set(Flags::GAP);
        }
    }

    pub(crate) fn response_gap(&mut self, len: u64) {
        let body = self.response_body.get_or_insert_default();
        body.gap(len);
        if body.has_gap() {
            self.exchange.flags.set(Flags::GAP);
        }
    }

    /// Whether of the body of this half, its head just read, only the size counts.
    pub(crate) fn only_counts(&self, direction: Direction) -> bool {
        let body = if direction == Direction::Sent { &self.request_body } else { &self.response_body };
        body.as_ref().is_some_and(Collector::only_counts)
    }

    /// The request is through. `fault`: it ended early.
    pub(crate) fn request_end(&mut self, time_ns: i64, fault: Option<Fault>) {
        if self.request == Phase::Done {
            return;
        }
        self.request = Phase::Done;
        self.asked_ns = Some(time_ns);
        let body = self.request_body.take();
        self.finish_body(body, fault, true);
    }

    /// The response is through. `fault`: it ended early, or never came.
    pub(crate) fn response_end(&mut self, time_ns: i64, fault: Option<Fault>) {
        if self.response == Phase::Done {
            return;
        }
        if self.response == Phase::Open {
            self.ended_ns = Some(time_ns);
        }
        self.response = Phase::Done;
        let body = self.response_body.take();
        self.finish_body(body, fault, false);
    }

    fn finish_body(&mut self, body: Option<Collector>, fault: Option<Fault>, of_request: bool) {
        let exchange = &mut *self.exchange;
        if let Some(body) = body {
            let gap = body.has_gap().then_some(Fault::Gap);
            let fault_of_body = fault.or(body.fault).or(gap);
            if exchange.error.is_some() {
                self.late_fault = fault_of_body;
            }
            exchange.error = exchange.error.or(fault_of_body);
            let body = body.finish(fault.is_some());
            *(if of_request { &mut exchange.request_body } else { &mut exchange.response_body }) = body;
        } else {
            exchange.error = exchange.error.or(fault);
        }
    }

    /// Whether its request asks for HTTP/2 and was not answered.
    pub(crate) fn waits_for_http2(&self) -> bool {
        let upgrade = self.exchange.request_headers.get("upgrade");
        self.response == Phase::Waiting && upgrade.is_some_and(|upgrade| upgrade.eq_ignore_ascii_case(b"h2c"))
    }

    pub(crate) fn is_done(&self) -> bool {
        !self.held && self.request == Phase::Done && self.response == Phase::Done
    }

    /// Takes the response over that was read before its request was told.
    pub(crate) fn adopt(&mut self, other: Self) {
        let (mine, theirs) = (&mut *self.exchange, *other.exchange);
        mine.status = theirs.status;
        mine.reason = theirs.reason;
        mine.response_headers = theirs.response_headers;
        mine.response_body = theirs.response_body;
        mine.flags.set(theirs.flags);
        mine.error = mine.error.or(theirs.error.filter(|fault| *fault != Fault::RequestMissing)).or(other.late_fault);
        if let (None, Some(reservation)) = (&mine.reservation, theirs.reservation) {
            mine.reservation = Some(reservation);
        }
        self.places[Direction::Received as usize] = other.places[Direction::Received as usize];
        self.answered_ns = other.answered_ns;
        self.ended_ns = other.ended_ns;
        self.response = Phase::Done;
    }

    /// Adds a trailer section to the header section, flagged.
    pub(crate) fn trailers(&mut self, trailers: &Headers, of_request: bool) {
        if trailers.is_empty() {
            return;
        }
        let exchange = &mut *self.exchange;
        exchange.flags.set(Flags::TRAILERS);
        let headers = if of_request { &mut exchange.request_headers } else { &mut exchange.response_headers };
        // The head is not in their buffer any more.
        self.places[usize::from(!of_request)].head.1 = 0;
        *headers = headers.followed_by(trailers);
    }

    /// Hands the exchange out.
    pub(crate) fn emit(mut self, cx: &mut Context) {
        let us = |from: i64, to: i64| u64::try_from((to - from) / 1_000).unwrap_or(0);
        let timings = &mut self.exchange.timings;
        timings.duration_us = self.ended_ns.map(|ended| us(self.started_ns, ended));
        timings.receive_us = self.answered_ns.zip(self.ended_ns).map(|(from, to)| us(from, to));
        timings.wait_us = self.asked_ns.zip(self.answered_ns).map(|(from, to)| us(from, to));
        if self.exchange.status.is_none() && self.answered_ns.is_none() {
            cx.messages.unpaired += 1;
        }
        cx.records.push(Record::Exchange(self.exchange));
    }
}

/// Whether bytes of a stream are others where two ranges of it overlap, each with where it begins.
pub(crate) fn differ((begin, kept): (u64, &[u8]), (offset, again): (u64, &[u8])) -> bool {
    let from = begin.max(offset);
    let until = (begin + kept.len() as u64).min(offset + again.len() as u64);
    if from >= until {
        return false;
    }
    work::done((until - from) as usize);
    kept[(from - begin) as usize..(until - begin) as usize]
        != again[(from - offset) as usize..(until - offset) as usize]
}

fn keep_request(policy: BodyPolicy) -> Keep {
    if policy == BodyPolicy::None { Keep::Count } else { Keep::Store }
}

fn keep_response(cx: &Context, exchange: &Exchange) -> Keep {
    match cx.bodies {
        _ if !cx.record_responses => Keep::Count,
        BodyPolicy::All => Keep::Store,
        BodyPolicy::None => Keep::Count,
        BodyPolicy::MediaOff => {
            let is_media =
                exchange.response_content_type().is_some_and(|value| Category::of(&media::essence(value)).is_media());
            if is_media { Keep::Hash } else { Keep::Store }
        }
    }
}

fn collector(keep: Keep, framing: Framing) -> Option<Collector> {
    match framing {
        Framing::None | Framing::Tunnel | Framing::Unlikely { .. } => None,
        Framing::Length(length) => Some(Collector::new(keep, Some(length))),
        Framing::Chunked { .. } | Framing::UntilClose => Some(Collector::new(keep, None)),
    }
}

/// Methods that need no memory of their own (RFC 9110 §9.3).
const METHODS: [&str; 9] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE"];
/// Reason phrases that need none (RFC 9110 §15).
const PHRASES: [&str; 16] = [
    "OK",
    "Created",
    "Accepted",
    "No Content",
    "Partial Content",
    "Moved Permanently",
    "Found",
    "Not Modified",
    "Temporary Redirect",
    "Bad Request",
    "Unauthorized",
    "Forbidden",
    "Not Found",
    "Internal Server Error",
    "Bad Gateway",
    "Service Unavailable",
];

/// Text of header bytes, one of the known or a copy.
fn known_or_own(bytes: &[u8], known: &[&'static str]) -> ByteString {
    match known.iter().find(|known| known.as_bytes() == bytes) {
        Some(known) => ByteString::from_static(known),
        None => String::from_utf8_lossy(bytes).into_owned().into(),
    }
}

/// The complete URL (RFC 9112 §3.3). What is not UTF-8 in it is replaced.
pub(crate) fn url(ends: &Ends, method: &[u8], target: &[u8], headers: &Headers) -> Url {
    let target = String::from_utf8_lossy(target);
    let host = headers.get("host").map(String::from_utf8_lossy).unwrap_or_default();
    let build = |authority: &str, target: &str| Url::from_parts("http", authority.trim(), target);
    let server = || ends.authority.clone().unwrap_or_else(|| ends.server.to_string().into());
    if method == b"CONNECT" {
        // What stands behind the authority does not belong there.
        let authority = target.split([' ', '/']).next().unwrap_or_default();
        if let Some(url) = build(authority, "") {
            return url;
        }
    }
    let absolute = (!target.starts_with('/')).then(|| Url::parse((*target).into())).flatten();
    absolute.or_else(|| build(&host, &target)).or_else(|| build(&server(), &target)).unwrap_or_default()
}

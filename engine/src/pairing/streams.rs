//! HTTP/2 in the clear: the stream number pairs requests with responses.
//!
//! In: pieces and gaps of both directions. Out: exchanges.

use bytes::Bytes;
use rustc_hash::FxHashMap;

use super::{
    Context,
    draft::{Draft, Ends, Phase},
};
use crate::{
    flow::{Ending, Gap, Piece},
    http::{
        framing::Framing,
        head::{Head, Part, StartLine},
        http2::{Event, Fields, Http2Half},
    },
    record::{Direction, Exchange, Fault, Flags, Headers, Protocol, Url},
};

/// Streams open at once at most.
const MAX_STREAMS: usize = 4_096;

/// Both directions of an HTTP/2 connection.
#[derive(Debug)]
pub(crate) struct Streams {
    ends: Ends,
    halves: [Http2Half; 2],
    open: FxHashMap<u32, Draft>,
    exchanges: u64,
}

impl Streams {
    pub(crate) fn new(ends: Ends) -> Self {
        let halves = [Http2Half::new(true), Http2Half::new(false)];
        Self { ends, halves, open: FxHashMap::default(), exchanges: 0 }
    }

    /// The request that asked for the upgrade is answered on stream 1 (RFC 7540 §3.2).
    pub(crate) fn upgraded(&mut self, cx: &mut Context, asked: &Exchange) {
        self.exchanges += 1;
        if asked.method.is_empty() {
            // The request was lost: what answers it stays alone here too.
            let draft = Draft::without_request(cx, &self.ends, asked.started_us * 1_000);
            self.open.insert(1, draft);
            return;
        }
        let start = StartLine::Request {
            method: Part::Own(asked.method.clone().into_bytes()),
            target: Part::Own(Bytes::new()),
            protocol: Protocol::Http2,
        };
        let head = Head { start, headers: asked.request_headers.clone(), odd: false };
        let mut draft = Draft::from_request(cx, &self.ends, head, Framing::None, asked.started_us * 1_000);
        draft.exchange.url = asked.url.clone();
        draft.request_end(asked.started_us * 1_000, None);
        self.open.insert(1, draft);
    }

    pub(crate) fn data(&mut self, cx: &mut Context, direction: Direction, piece: Piece<'_>) {
        let Self { ends, halves, open, exchanges } = self;
        let mut sink = |event: Event<'_>| on_event(cx, ends, open, exchanges, direction, event, piece.time_ns);
        halves[direction as usize].push(piece.bytes, &mut sink);
    }

    pub(crate) fn gap(&mut self, cx: &mut Context, direction: Direction, gap: Gap) {
        let Self { ends, halves, open, exchanges } = self;
        let mut sink = |event: Event<'_>| on_event(cx, ends, open, exchanges, direction, event, gap.time_ns);
        halves[direction as usize].gap(gap.len, &mut sink);
    }

    /// Ends all streams; returns how many exchanges there were.
    pub(crate) fn close(mut self, cx: &mut Context, ending: Ending, time_ns: i64) -> u64 {
        let fault = match ending {
            Ending::Reset => Fault::ServerReset,
            Ending::CaptureEnded => Fault::CaptureEnded,
            Ending::Evicted => Fault::Evicted,
            Ending::Closed | Ending::Idle | Ending::Reused => Fault::ResponseMissing,
        };
        let mut streams: Vec<u32> = self.open.keys().copied().collect();
        streams.sort_unstable();
        for stream in streams {
            if let Some(mut draft) = self.open.remove(&stream) {
                draft.request_end(time_ns, Some(fault));
                draft.response_end(time_ns, Some(fault));
                draft.emit(cx);
            }
        }
        self.exchanges
    }
}

fn on_event(
    cx: &mut Context,
    ends: &Ends,
    open: &mut FxHashMap<u32, Draft>,
    exchanges: &mut u64,
    direction: Direction,
    event: Event<'_>,
    time_ns: i64,
) {
    let sent = direction == Direction::Sent;
    let stream = match event {
        Event::Headers { stream, fields, end } => {
            headers(cx, ends, open, exchanges, (sent, stream), &fields, time_ns);
            if end {
                end_half(open, stream, sent, time_ns, None);
            }
            stream
        }
        Event::Promise { promised, fields } => {
            headers(cx, ends, open, exchanges, (true, promised), &fields, time_ns);
            end_half(open, promised, true, time_ns, None);
            promised
        }
        Event::Data { stream, bytes } => {
            match open.get_mut(&stream) {
                Some(draft) if sent => draft.request_data(cx, bytes),
                Some(draft) => draft.response_data(cx, bytes),
                None => {}
            }
            stream
        }
        Event::DataGap { stream, len } => {
            match open.get_mut(&stream) {
                Some(draft) if sent => draft.request_gap(len),
                Some(draft) => draft.response_gap(len),
                None => {}
            }
            stream
        }
        Event::End { stream } => {
            end_half(open, stream, sent, time_ns, None);
            stream
        }
        Event::Reset { stream } => {
            end_half(open, stream, true, time_ns, Some(Fault::StreamReset));
            end_half(open, stream, false, time_ns, Some(Fault::StreamReset));
            stream
        }
    };
    if open.get(&stream).is_some_and(Draft::is_done)
        && let Some(draft) = open.remove(&stream)
    {
        draft.emit(cx);
    }
}

fn end_half(open: &mut FxHashMap<u32, Draft>, stream: u32, sent: bool, time_ns: i64, fault: Option<Fault>) {
    match open.get_mut(&stream) {
        Some(draft) if sent => draft.request_end(time_ns, fault),
        Some(draft) => draft.response_end(time_ns, fault),
        None => {}
    }
}

fn headers(
    cx: &mut Context,
    ends: &Ends,
    open: &mut FxHashMap<u32, Draft>,
    exchanges: &mut u64,
    (sent, stream): (bool, u32),
    fields: &Fields,
    time_ns: i64,
) {
    let pseudo = |name: &[u8]| fields.iter().find(|(seen, _)| seen == name).map(|(_, value)| &value[..]);
    let regular = fields.iter().filter(|(name, _)| !name.starts_with(b":"));
    let section = Headers::from_pairs(regular.map(|(name, value)| (name, value)));
    if let Some(method) = pseudo(b":method").filter(|_| sent) {
        if open.len() >= MAX_STREAMS || open.contains_key(&stream) {
            cx.messages.unread("too_many_streams");
            return;
        }
        let start = StartLine::Request {
            method: Part::Own(Bytes::copy_from_slice(method)),
            target: Part::Own(Bytes::copy_from_slice(pseudo(b":path").unwrap_or_default())),
            protocol: Protocol::Http2,
        };
        let authority = pseudo(b":authority").map(String::from_utf8_lossy);
        let path = String::from_utf8_lossy(pseudo(b":path").unwrap_or_default());
        let url = authority.as_ref().and_then(|authority| Url::from_parts("http", authority, &path));
        let head = Head { start, headers: section, odd: false };
        let mut draft = Draft::from_request(cx, ends, head, Framing::UntilClose, time_ns);
        if let Some(url) = url {
            draft.exchange.url = url;
        }
        *exchanges += 1;
        open.insert(stream, draft);
        return;
    }
    let status = pseudo(b":status").and_then(|value| std::str::from_utf8(value).ok()?.parse::<u16>().ok());
    match (status.filter(|_| !sent), open.get_mut(&stream)) {
        (Some(100..=199), Some(draft)) => draft.exchange.flags.set(Flags::INTERIM),
        (Some(status), Some(draft)) if draft.response == Phase::Waiting => {
            let start = StartLine::Response { protocol: Protocol::Http2, status, reason: Part::Own(Bytes::new()) };
            draft.respond(cx, Head { start, headers: section, odd: false }, Framing::UntilClose, time_ns);
        }
        // A field section without pseudo-fields is a trailer section.
        (None, Some(draft)) => draft.trailers(&section, sent),
        (Some(_), None) => cx.messages.unread("no_such_stream"),
        _ => {}
    }
}

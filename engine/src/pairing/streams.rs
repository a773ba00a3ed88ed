//! HTTP/2 in the clear: the stream number pairs requests with responses.
//!
//! In: pieces and gaps of both directions. Out: exchanges.

use std::collections::VecDeque;

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

/// How long, in packet time, the response to a cancelled request is waited for: the server sends on until
/// the reset reaches it (RFC 9113 §5.1, "closed").
const CROSSING_NS: i64 = 1_000_000_000;

/// Both directions of an HTTP/2 connection.
#[derive(Debug)]
pub(crate) struct Streams {
    halves: [Http2Half; 2],
    table: Table,
}

/// The streams of a connection that are open.
#[derive(Debug)]
struct Table {
    ends: Ends,
    open: FxHashMap<u32, Draft>,
    /// Streams that the client reset, with the time: what the server had sent before it knew still comes.
    cancelled: VecDeque<(u32, i64)>,
    exchanges: u64,
}

impl Streams {
    pub(crate) fn new(ends: Ends) -> Self {
        let table = Table { ends, open: FxHashMap::default(), cancelled: VecDeque::new(), exchanges: 0 };
        Self { halves: [Http2Half::new(true), Http2Half::new(false)], table }
    }

    /// The request that asked for the upgrade is answered on stream 1 (RFC 7540 §3.2).
    pub(crate) fn upgraded(&mut self, cx: &mut Context, asked: &Exchange) {
        let Table { ends, open, exchanges, .. } = &mut self.table;
        *exchanges += 1;
        if asked.method.is_empty() {
            // The request was lost: what answers it stays alone here too.
            let draft = Draft::without_request(cx, ends, asked.started_us * 1_000);
            open.insert(1, draft);
            return;
        }
        let start = StartLine::Request {
            method: Part::Own(asked.method.clone().into_bytes()),
            target: Part::Own(Bytes::new()),
            protocol: Protocol::Http2,
        };
        let head = Head { start, headers: asked.request_headers.clone(), odd: false };
        let mut draft = Draft::from_request(cx, ends, head, Framing::None, asked.started_us * 1_000);
        draft.exchange.url = asked.url.clone();
        draft.request_end(asked.started_us * 1_000, None);
        open.insert(1, draft);
    }

    pub(crate) fn data(&mut self, cx: &mut Context, direction: Direction, piece: Piece<'_>) {
        let Self { halves, table } = self;
        table.give_up(cx, piece.time_ns);
        let mut sink = |event: Event<'_>| table.take(cx, direction, event, piece.time_ns);
        halves[direction as usize].push(piece.bytes, &mut sink);
    }

    pub(crate) fn gap(&mut self, cx: &mut Context, direction: Direction, gap: Gap) {
        let Self { halves, table } = self;
        let mut sink = |event: Event<'_>| table.take(cx, direction, event, gap.time_ns);
        halves[direction as usize].gap(gap.len, &mut sink);
    }

    /// Ends all streams; returns how many exchanges there were.
    pub(crate) fn close(mut self, cx: &mut Context, ending: Ending, time_ns: i64) -> u64 {
        self.table.give_up(cx, i64::MAX);
        let fault = match ending {
            Ending::Reset => Fault::ServerReset,
            Ending::CaptureEnded => Fault::CaptureEnded,
            Ending::Evicted => Fault::Evicted,
            Ending::Closed | Ending::Idle | Ending::Reused => Fault::ResponseMissing,
        };
        let mut streams: Vec<u32> = self.table.open.keys().copied().collect();
        streams.sort_unstable();
        for stream in streams {
            self.table.end_half(stream, true, time_ns, Some(fault));
            self.table.end_half(stream, false, time_ns, Some(fault));
            self.table.settle(cx, stream);
        }
        self.table.exchanges
    }
}

impl Table {
    /// The next event of one direction.
    fn take(&mut self, cx: &mut Context, direction: Direction, event: Event<'_>, time_ns: i64) {
        let sent = direction == Direction::Sent;
        let stream = match event {
            Event::Headers { stream, fields, end } => {
                self.headers(cx, (sent, stream), &fields, time_ns);
                if end {
                    self.end_half(stream, sent, time_ns, None);
                }
                stream
            }
            Event::Promise { promised, fields } => {
                self.headers(cx, (true, promised), &fields, time_ns);
                self.end_half(promised, true, time_ns, None);
                promised
            }
            Event::Data { stream, bytes } => {
                match self.open.get_mut(&stream) {
                    Some(draft) if sent => draft.request_data(cx, None, bytes),
                    Some(draft) => draft.response_data(cx, None, bytes),
                    None => {}
                }
                stream
            }
            Event::DataGap { stream, len } => {
                match self.open.get_mut(&stream) {
                    Some(draft) if sent => draft.request_gap(len),
                    Some(draft) => draft.response_gap(len),
                    None => {}
                }
                stream
            }
            Event::End { stream } => {
                self.end_half(stream, sent, time_ns, None);
                stream
            }
            Event::Reset { stream } => {
                self.end_half(stream, true, time_ns, Some(Fault::StreamReset));
                if !sent {
                    self.end_half(stream, false, time_ns, Some(Fault::StreamReset));
                } else if self.open.contains_key(&stream) && self.cancelled.len() < MAX_STREAMS {
                    self.cancelled.push_back((stream, time_ns));
                }
                stream
            }
        };
        self.settle(cx, stream);
    }

    /// Ends the cancelled streams whose responses had the time to come.
    fn give_up(&mut self, cx: &mut Context, now_ns: i64) {
        while let Some((stream, at_ns)) = self.cancelled.front().copied() {
            if now_ns.saturating_sub(at_ns) < CROSSING_NS {
                break;
            }
            self.cancelled.pop_front();
            self.end_half(stream, false, at_ns, Some(Fault::StreamReset));
            self.settle(cx, stream);
        }
    }

    fn end_half(&mut self, stream: u32, sent: bool, time_ns: i64, fault: Option<Fault>) {
        match self.open.get_mut(&stream) {
            Some(draft) if sent => draft.request_end(time_ns, fault),
            Some(draft) => draft.response_end(time_ns, fault),
            None => {}
        }
    }

    /// Hands the exchange out when both halves are through.
    fn settle(&mut self, cx: &mut Context, stream: u32) {
        if self.open.get(&stream).is_some_and(Draft::is_done)
            && let Some(draft) = self.open.remove(&stream)
        {
            draft.emit(cx);
        }
    }

    fn headers(&mut self, cx: &mut Context, (sent, stream): (bool, u32), fields: &Fields, time_ns: i64) {
        let Self { ends, open, exchanges, .. } = self;
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
}

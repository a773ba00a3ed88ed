//! Both directions of a connection: HTTP/1.x, and what it is upgraded to.
//!
//! In: pieces and gaps in causal order. Out: exchanges and messages as they are through, and the
//! connection when it ends.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{
    Context,
    draft::{Draft, Ends, differ},
    queue::Queue,
    recent::Recent,
    streams::Streams,
    turns::{Held, Reads},
    upgrade::Inside,
};
use crate::{
    flow::{Consumer, Ending, Gap, Opening, Piece, Unwanted},
    http::{
        half::{Half, Role},
        sniff,
    },
    record::{Connection, ConnectionKind, Direction, Fault, Flags, Record, Source},
};

/// Bytes looked through for a first message head.
const PROBE_BYTES: u64 = 64 << 10;
/// How often it is asked whose a connection is.
const MAX_ASKED: u32 = 4;
/// Exchanges, the newest, whose bytes are compared with those that come again.
const MAX_COMPARED: u64 = 8;

/// One connection.
#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) ends: Ends,
    pub(crate) requests: Half,
    pub(crate) responses: Half,
    pub(crate) queue: Queue,
    pub(crate) drafts: FxHashMap<u64, Draft>,
    pub(crate) next_draft: u64,
    /// The draft whose request is being read.
    pub(crate) asking: Option<u64>,
    /// The draft whose response is being read.
    pub(crate) answering: Option<u64>,
    /// The response being read answers no request that is known.
    pub(crate) alone: bool,
    /// Responses whose requests are not told yet, one behind the other.
    pub(crate) held: Vec<Held>,
    /// Offset behind all that the server is known to have sent.
    pub(crate) received_until: u64,
    pub(crate) reads: Reads,
    /// The last bytes of each direction.
    pub(crate) recent: [Recent; 2],
    /// When bytes last came.
    pub(crate) last_ns: i64,
    /// The response being read may answer HEAD, and have no body then.
    pub(crate) doubtful_body: bool,
    /// The client sent its FIN.
    pub(crate) sent_ended: bool,
    /// Where the response being read begins.
    pub(crate) response_start: u64,
    pub(crate) inside: Option<Box<Inside>>,
    /// A message head was seen.
    pub(crate) is_http: bool,
    /// A whole response was seen, or one is under way.
    pub(crate) answered: bool,
    pub(crate) exchanges: u64,
    /// Oddities of bytes under way, for the messages they belong to.
    pub(crate) odd: [Flags; 2],
    /// How long the handshake took: told with the first exchange.
    pub(crate) connect_us: Option<u64>,
    /// Inside a tunnel: the connection is told by the outer conversation.
    nested: bool,
    /// How often it was asked whose the connection is.
    owner_asked: u32,
    /// Bytes came again and were others.
    differed: bool,
    /// Whoever accepted the connection asks, and whoever opened it answers.
    reversed: bool,
    done: Option<Unwanted>,
    probed: u64,
    opened_ns: i64,
    bytes: [u64; 2],
}

impl Conversation {
    pub(crate) fn new(ends: Ends, opened_ns: i64, nested: bool) -> Self {
        Self {
            ends,
            requests: Half::new(Role::Requests),
            responses: Half::new(Role::Responses),
            queue: Queue::default(),
            drafts: FxHashMap::default(),
            next_draft: 0,
            asking: None,
            answering: None,
            alone: false,
            held: Vec::new(),
            received_until: 0,
            reads: Reads::default(),
            recent: Default::default(),
            last_ns: opened_ns,
            doubtful_body: false,
            sent_ended: false,
            response_start: 0,
            inside: None,
            is_http: false,
            answered: false,
            exchanges: 0,
            odd: [Flags::default(); 2],
            connect_us: None,
            nested,
            owner_asked: 0,
            differed: false,
            reversed: false,
            done: None,
            probed: 0,
            opened_ns,
            bytes: [0; 2],
        }
    }

    /// Whether this is inside another conversation: its offsets are no sequence numbers.
    pub(crate) fn nested(&self) -> bool {
        self.nested
    }

    /// Asks which process the connection belongs to, until it is known.
    pub(crate) fn ask_owner(&mut self, cx: &Context) {
        if self.ends.owner.is_none()
            && self.owner_asked < MAX_ASKED
            && let Some(owners) = &cx.owners
        {
            self.owner_asked += 1;
            self.ends.owner = owners.owner(self.ends.client, self.ends.server);
        }
    }

    /// Adds a draft; returns its number.
    pub(crate) fn add(&mut self, draft: Draft) -> u64 {
        let id = self.next_draft;
        self.next_draft += 1;
        self.exchanges += 1;
        self.drafts.insert(id, draft);
        id
    }

    /// Hands the draft out when both halves are through.
    pub(crate) fn settle(&mut self, cx: &mut Context, id: u64) {
        if self.drafts.get(&id).is_some_and(Draft::is_done)
            && let Some(draft) = self.drafts.remove(&id)
        {
            draft.emit(cx);
        }
    }

    /// These will get no response any more.
    pub(crate) fn unanswered(&mut self, cx: &mut Context, ids: Vec<u64>, time_ns: i64) {
        for id in ids {
            if let Some(draft) = self.drafts.get_mut(&id) {
                draft.response_end(time_ns, Some(Fault::ResponseMissing));
            }
            self.settle(cx, id);
        }
    }

    /// The direction as HTTP has it.
    fn role(&self, direction: Direction) -> Direction {
        if self.reversed { direction.opposite() } else { direction }
    }

    /// Whether the first head of the connection comes from the wrong end: the ports of a connection whose
    /// opening was not seen need not tell, and some clients let the server ask (SOCKS relays, PTTH).
    fn is_turned_round(&self, direction: Direction, piece: &Piece<'_>) -> bool {
        let wrong = match direction {
            Direction::Received => sniff::strict_request(piece.bytes) && memchr::memchr(b'\n', piece.bytes).is_some(),
            Direction::Sent => sniff::strict_response(piece.bytes),
        };
        wrong && piece.segment_start && self.requests.head_begin().is_none() && self.responses.head_begin().is_none()
    }

    /// Who was taken for the client is the server. Nothing was read so far.
    fn turn_round(&mut self) {
        self.reversed = !self.reversed;
        self.requests = Half::new(Role::Requests);
        self.responses = Half::new(Role::Responses);
        self.queue = Queue::default();
        self.reads = Reads::default();
        self.odd.swap(0, 1);
        self.bytes.swap(0, 1);
        let ends = &mut self.ends;
        std::mem::swap(&mut ends.client, &mut ends.server);
        // The label is the other end's.
        ends.device = None;
    }

    /// Before the first head: is this HTTP at all? `false`: the bytes need not be looked at further.
    fn probe(&mut self, direction: Direction, piece: &Piece<'_>) -> bool {
        let bytes = piece.bytes;
        if sniff::tls(bytes) || self.probed > PROBE_BYTES {
            self.done = Some(if sniff::tls(bytes) { Unwanted::Tls } else { Unwanted::NotHttp });
            return false;
        }
        let (half, looks) = match direction {
            Direction::Sent => (&mut self.requests, sniff::request(bytes) || may_begin_request(bytes)),
            Direction::Received if self.queue.waits() => return true,
            Direction::Received => (&mut self.responses, sniff::response(bytes) || b"HTTP/".starts_with(bytes)),
        };
        if half.is_between_messages() && !looks {
            half.lose();
        }
        self.probed += bytes.len() as u64;
        true
    }

    /// All that is under way ends.
    fn end_all(&mut self, cx: &mut Context, ending: Ending, time_ns: i64) {
        self.end_requests(cx, time_ns, ending);
        self.end_responses(cx, time_ns, ending);
        let fault = match ending {
            Ending::Reset => Fault::ServerReset,
            Ending::CaptureEnded => Fault::CaptureEnded,
            Ending::Evicted => Fault::Evicted,
            Ending::Closed | Ending::Idle | Ending::Reused => Fault::ResponseMissing,
        };
        let mut ids: Vec<u64> = self.drafts.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            if let Some(mut draft) = self.drafts.remove(&id) {
                draft.request_end(time_ns, Some(fault));
                draft.response_end(time_ns, Some(fault));
                draft.emit(cx);
            }
        }
        if let Some(inside) = self.inside.take() {
            self.exchanges += inside.close(cx, ending, time_ns);
        }
    }

    /// Ends a conversation inside another; returns how many exchanges it had.
    pub(crate) fn close_nested(mut self, cx: &mut Context, ending: Ending, time_ns: i64) -> u64 {
        self.end_all(cx, ending, time_ns);
        self.exchanges
    }
}

/// The first bytes of a request that came in tiny segments.
pub(crate) fn may_begin_request(bytes: &[u8]) -> bool {
    bytes.len() < 24 && !bytes.is_empty() && bytes.iter().all(u8::is_ascii_uppercase)
        || bytes.len() < 256 && bytes.starts_with(b"PRI * HTTP/2")
}

impl Consumer for Conversation {
    type Context = Context;

    fn open(cx: &mut Context, opening: &Opening) -> Option<Self> {
        let mut flags = Flags::default();
        if opening.midstream {
            flags.set(Flags::MIDSTREAM);
        }
        let connection = cx.ids.next_connection();
        let device = opening.client_link.is_known().then(|| opening.client_link.to_string().into());
        let ends = Ends {
            client: opening.client,
            server: opening.server,
            device,
            connection,
            flags,
            authority: None,
            owner: None,
        };
        let connect_us = opening.connect_us;
        Some(Self { connect_us, ..Self::new(ends, opening.opened_ns, false) })
    }

    fn sender_is_client(bytes: &[u8]) -> Option<bool> {
        if sniff::response(bytes) {
            return Some(false);
        }
        (sniff::request(bytes) || bytes.starts_with(b"PRI * HTTP/2")).then_some(true)
    }

    fn data(&mut self, cx: &mut Context, direction: Direction, piece: Piece<'_>) {
        let mut direction = self.role(direction);
        if !self.is_http && self.is_turned_round(direction, &piece) {
            self.turn_round();
            direction = direction.opposite();
        }
        self.bytes[direction as usize] += piece.bytes.len() as u64;
        self.last_ns = piece.time_ns;
        if direction == Direction::Received {
            self.received_until = piece.offset + piece.bytes.len() as u64;
            if let Some(ack) = piece.ack {
                self.reads.note(piece.offset, ack);
            }
        }
        if direction == Direction::Sent || self.inside.is_some() {
            self.recent[direction as usize].note(&piece);
        }
        if let Some(inside) = &mut self.inside {
            inside.data(cx, direction, piece);
            return;
        }
        if direction == Direction::Received {
            self.answer_to_bare_request(cx, piece.ack, piece.time_ns);
        }
        if direction == Direction::Sent
            && piece.bytes.starts_with(&sniff::HTTP2_PREFACE[..16])
            && (!self.is_http || self.requests.is_between_messages() || self.requests.is_unsure())
        {
            self.is_http = true;
            let mut streams = Streams::new(self.ends.clone());
            // Behind a request that asked for it: the answer was lost (RFC 7540 §3.2).
            if let Some(draft) = self.drafts.values().find(|draft| draft.waits_for_http2()) {
                streams.upgraded(cx, &draft.exchange);
            }
            streams.data(cx, direction, piece);
            self.inside = Some(Box::new(Inside::Http2(Box::new(streams))));
            return;
        }
        if !self.is_http && !self.probe(direction, &piece) {
            return;
        }
        match direction {
            Direction::Sent => self.sent(cx, piece),
            Direction::Received => self.received(cx, piece),
        }
    }

    fn gap(&mut self, cx: &mut Context, direction: Direction, gap: Gap) {
        let direction = self.role(direction);
        if let Some(inside) = &mut self.inside {
            inside.gap(cx, direction, gap);
            return;
        }
        match direction {
            Direction::Sent => self.request_gap(cx, gap),
            Direction::Received => {
                self.received_until = gap.offset + gap.len;
                self.response_gap_over_turns(cx, gap);
            }
        }
    }

    fn flag(&mut self, direction: Direction, flags: Flags) {
        let direction = self.role(direction);
        self.differed |= flags.has(Flags::OVERLAP);
        let current = if direction == Direction::Sent { self.asking } else { self.answering };
        match current.and_then(|id| self.drafts.get_mut(&id)) {
            Some(draft) => draft.exchange.flags.set(flags),
            None => self.odd[direction as usize].set(flags),
        }
    }

    fn again(&mut self, direction: Direction, offset: u64, bytes: &[u8]) -> bool {
        let direction = self.role(direction);
        let mut differs = self.recent[direction as usize].differs(offset, bytes);
        let mut flags = Flags::RETRANSMISSION;
        if differs {
            flags.set(Flags::OVERLAP);
        }
        if let Some(Inside::Http(inner)) = self.inside.as_deref_mut() {
            differs |= inner.again(direction, offset, bytes);
        }
        let half = if direction == Direction::Sent { &self.requests } else { &self.responses };
        if let Some((begin, head)) = half.head().filter(|(begin, _)| offset + bytes.len() as u64 > *begin) {
            let odd = &mut self.odd[direction as usize];
            odd.set(flags);
            if differ((begin, head), (offset, bytes)) {
                odd.set(Flags::OVERLAP);
                differs = true;
            }
        }
        let newest = (1..=MAX_COMPARED).map_while(|back| self.next_draft.checked_sub(back));
        for id in [self.asking, self.answering].into_iter().flatten().chain(newest) {
            let Some(draft) = self.drafts.get_mut(&id) else { continue };
            let Some(differs_here) = draft.differs(direction, offset, bytes) else { continue };
            draft.exchange.flags.set(flags);
            if differs_here {
                draft.exchange.flags.set(Flags::OVERLAP);
                differs = true;
            }
        }
        self.differed |= differs;
        differs
    }

    fn end(&mut self, cx: &mut Context, direction: Direction, time_ns: i64) {
        let direction = self.role(direction);
        if let Some(inside) = &mut self.inside {
            inside.end(cx, direction, time_ns);
            return;
        }
        match direction {
            Direction::Sent => {
                self.sent_ended = true;
                self.end_requests(cx, time_ns, Ending::Closed);
            }
            Direction::Received => self.end_responses(cx, time_ns, Ending::Closed),
        }
    }

    fn is_done(&self) -> Option<Unwanted> {
        self.done.filter(|_| !self.is_http)
    }

    fn close(mut self, cx: &mut Context, ending: Ending, time_ns: i64) {
        let is_tunnel = self.inside.as_ref().is_some_and(|inside| inside.is_tunnel());
        self.end_all(cx, ending, time_ns);
        if !self.is_http || self.nested {
            return;
        }
        let error = match ending {
            Ending::Reset => Some(Fault::ServerReset),
            Ending::Evicted => Some(Fault::Evicted),
            _ => None,
        };
        let mut flags = self.ends.flags;
        if self.differed {
            flags.set(Flags::OVERLAP);
        }
        cx.records.push(Record::Connection(Box::new(Connection {
            id: self.ends.connection,
            source: Source::Packets,
            device: self.ends.device.clone(),
            client: Some(self.ends.client),
            server: Some(self.ends.server),
            port: self.ends.server.port(),
            opened_us: self.opened_ns.div_euclid(1_000),
            duration_us: u64::try_from((time_ns - self.opened_ns) / 1_000).unwrap_or(0),
            kind: if is_tunnel { ConnectionKind::Tunnel } else { ConnectionKind::Plain },
            exchanges: self.exchanges,
            sent_bytes: self.bytes[Direction::Sent as usize],
            received_bytes: self.bytes[Direction::Received as usize],
            error,
            process: self.ends.owner.as_ref().map(|owner| Arc::clone(&owner.process)),
            pid: self.ends.owner.as_ref().map(|owner| owner.pid),
            flags,
            ..Connection::default()
        })));
    }
}

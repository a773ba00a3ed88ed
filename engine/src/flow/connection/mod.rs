//! Both directions of a flow: what may go on when, and which holes are proven.
//!
//! In: segments with packet time. Out: pieces and gaps to the consumer. Bytes wait while they
//! acknowledge bytes of the other direction that have not come yet, so that a response is read after
//! all of its request that can still come. A hole is a gap once the peer acknowledged beyond it and a
//! moment for reordered packets has passed, or after a long time, or when too much waits behind it.

mod handshake;

use super::{
    Consumer, Ending, FlowCounts, Gap, Opening, Piece, Unwanted,
    index::FlowKey,
    stream::{Arrival, Stream},
};
use crate::{
    packet::{LinkSource, Segment},
    record::{Direction, Flags},
    work,
};

/// How long packets that were overtaken are waited for once a hole is proven: time, or packets of the flow.
const GRACE_NS: i64 = 20_000_000;
const GRACE_PACKETS: u64 = 64;
/// How long a hole is waited for that nobody proves.
const PATIENCE_NS: i64 = 5_000_000_000;
/// Packets of the flow after which such a hole is given up whatever the time.
const PATIENCE_PACKETS: u64 = 4_096;
/// A connection that closed is kept for late packets.
const LINGER_NS: i64 = 10_000_000_000;
/// A connection is given up after this silence.
const IDLE_NS: i64 = 300_000_000_000;
/// Memory that waiting bytes of one flow take at most.
const MAX_WAITING: usize = 4 << 20;

/// One flow.
#[derive(Debug)]
pub(crate) struct Flow<C> {
    pub(crate) key: FlowKey,
    pub(crate) hash: u64,
    streams: [Stream; 2],
    consumer: Option<Box<C>>,
    /// Which end is the client, once known.
    client: Option<usize>,
    /// Gaps before the first bytes: told to whoever takes them.
    early: [Option<Gap>; 2],
    /// Nobody wants its bytes.
    unwanted: Option<Unwanted>,
    midstream: bool,
    reset: bool,
    opened_ns: i64,
    handshake_ns: Option<i64>,
    link_sources: [LinkSource; 2],
    pub(crate) last_ns: i64,
    packets: u64,
    /// A SYN for a new connection that the other end has not answered yet.
    rival: Option<(usize, u32)>,
    /// The tick it waits for in the wheel.
    pub(crate) scheduled: u64,
}

/// What the table has to do after a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// Nothing.
    Keep,
    /// The segment opens a new connection with the same key: this one is over.
    Replace,
}

impl<C: Consumer> Flow<C> {
    pub(crate) fn new(key: FlowKey, hash: u64, time_ns: i64) -> Self {
        Self {
            key,
            hash,
            streams: Default::default(),
            consumer: None,
            client: None,
            early: [None; 2],
            unwanted: None,
            midstream: true,
            reset: false,
            opened_ns: time_ns,
            handshake_ns: None,
            link_sources: [LinkSource::default(); 2],
            last_ns: time_ns,
            packets: 0,
            rival: None,
            scheduled: 0,
        }
    }

    /// Memory that waiting bytes take.
    pub(crate) fn waiting_memory(&self) -> usize {
        self.streams[0].waiting_memory + self.streams[1].waiting_memory
    }

    /// A segment from end `side`.
    pub(crate) fn segment(
        &mut self,
        side: usize,
        segment: &Segment<'_>,
        time_ns: i64,
        cx: &mut C::Context,
        counts: &mut FlowCounts,
    ) -> After {
        let control = segment.control;
        if control.syn() && !self.handshake(side, segment, time_ns, counts) {
            return After::Replace;
        }
        if let Some((end, isn)) = self.rival {
            // The handshake of a new connection goes on: data right behind its SYN.
            if end == side && segment.sequence == isn.wrapping_add(1) && !control.syn() && !segment.payload.is_empty() {
                return After::Replace;
            }
            if control.syn() {
                return After::Keep;
            }
        }
        self.last_ns = self.last_ns.max(time_ns);
        self.packets += 1;
        let arrival = Arrival { time_ns, packet: self.packets };
        let first = segment.sequence.wrapping_add(u32::from(control.syn()));
        let payload = segment.payload;
        counts.payload_bytes += payload.len() as u64;
        if control.rst() {
            // Only one in its place counts (RFC 5961 §3.2); its payload says why, in words, for nobody.
            let stream = &self.streams[side];
            self.reset |= !stream.known || stream.offset_of(segment.sequence).abs_diff(stream.next) <= 1 << 16;
            counts.unwanted(Unwanted::Reset, payload.len());
            self.pump(false, arrival, cx, counts);
            return After::Keep;
        }
        if !self.streams[side].known {
            self.streams[side].start(first, payload.is_empty());
        }
        if !self.streams[side].seen {
            self.streams[side].seen = true;
            self.link_sources[side] = segment.link_source;
        }
        // Packets made by hand acknowledge 0.
        let acknowledges = control.ack() && (segment.acknowledgement != 0 || self.streams[1 - side].isn.is_some());
        if acknowledges && !self.streams[1 - side].known {
            self.streams[1 - side].start(segment.acknowledgement, true);
        }
        let ack =
            if acknowledges { self.streams[1 - side].acknowledge(segment.acknowledgement, arrival) } else { None };
        if !payload.is_empty() {
            self.payload(side, first, segment, ack, arrival, cx, counts);
        }
        let stream = &mut self.streams[side];
        if control.fin() {
            let end = stream.offset_of(first) + payload.len() as u64 + u64::from(segment.cut);
            if end >= stream.next && stream.fin.is_none_or(|fin| fin < end) {
                stream.fin = Some(end);
            }
        }
        if self.must_pump() {
            self.pump(false, arrival, cx, counts);
        }
        After::Keep
    }

    #[allow(clippy::too_many_arguments)] // all of them belong to the one segment
    fn payload(
        &mut self,
        side: usize,
        first: u32,
        segment: &Segment<'_>,
        ack: Option<u64>,
        arrival: Arrival,
        cx: &mut C::Context,
        counts: &mut FlowCounts,
    ) {
        let mut payload = segment.payload;
        let stream = &mut self.streams[side];
        let mut offset = stream.offset_of(first);
        stream.settle(offset);
        let end = offset + payload.len() as u64;
        let segment_start = offset >= stream.next;
        if !segment_start {
            let seen = (stream.next - offset).min(payload.len() as u64);
            counts.retransmitted_bytes += seen;
            // A keep-alive has a byte that was never sent (RFC 9293 §3.8.4).
            let is_keep_alive = payload.len() == 1 && end == stream.next;
            let (again, rest) = payload.split_at(seen as usize);
            if !is_keep_alive && self.came_again(side, offset, again) {
                counts.overlaps += 1;
                counts.differing += 1;
            }
            payload = rest;
            offset += seen;
            if payload.is_empty() {
                return;
            }
        }
        let (stream, other) = pair(&mut self.streams, side);
        let may_go = !other.seen || ack.is_none_or(|ack| ack <= other.next);
        if offset == stream.next && !stream.has_waiting() && may_go {
            stream.advance(end);
            let piece = Piece { offset, bytes: payload, ack, time_ns: arrival.time_ns, segment_start };
            self.deliver(side, piece, cx, counts);
        } else {
            let inserted = stream.wait(offset, payload, ack, arrival);
            counts.retransmitted_bytes += inserted.duplicate;
            if inserted.duplicate > 0 {
                counts.overlaps += 1;
                self.flag(side, Flags::RETRANSMISSION);
            }
            if inserted.differing {
                counts.differing += 1;
                self.flag(side, Flags::OVERLAP);
            }
        }
        if segment.cut > 0 {
            // The frame says that more was sent: as good as the peer's word.
            let stream = &mut self.streams[side];
            let until = end + u64::from(segment.cut);
            if stream.next == end && !stream.has_waiting() {
                stream.advance(until);
                let gap = Gap { offset: end, len: u64::from(segment.cut), time_ns: arrival.time_ns };
                counts.cut_bytes += gap.len;
                self.lose(side, gap, cx, counts);
            } else if until > stream.acked {
                stream.acked = until;
                stream.proof.get_or_insert(arrival);
            }
        }
    }

    fn flag(&mut self, side: usize, flags: Flags) {
        let direction = self.direction(side);
        if let Some(consumer) = &mut self.consumer {
            consumer.flag(direction, flags);
        }
    }

    /// Whether bytes that come again are others than those handed over.
    fn came_again(&mut self, side: usize, offset: u64, bytes: &[u8]) -> bool {
        let direction = self.direction(side);
        self.consumer.as_mut().is_some_and(|consumer| consumer.again(direction, offset, bytes))
    }

    fn direction(&self, side: usize) -> Direction {
        if self.client == Some(side) { Direction::Sent } else { Direction::Received }
    }

    fn must_pump(&self) -> bool {
        self.is_blocked() || self.streams.iter().any(|stream| !stream.ended && stream.fin == Some(stream.next))
    }

    /// Whether something waits, or a hole is proven.
    pub(crate) fn is_blocked(&self) -> bool {
        self.streams.iter().any(|stream| stream.has_waiting() || stream.seen && stream.proof.is_some())
    }

    /// Hands out what may go on; `force`: gives every hole up.
    pub(crate) fn pump(&mut self, force: bool, now: Arrival, cx: &mut C::Context, counts: &mut FlowCounts) {
        loop {
            work::done(1);
            while self.go_on(0, now.time_ns, cx, counts) | self.go_on(1, now.time_ns, cx, counts) {}
            let force = force || self.waiting_memory() > MAX_WAITING;
            if !self.is_blocked() || !self.give_way(force, now, cx, counts) {
                break;
            }
        }
    }

    /// Hands out the chunks of a direction that are next and wait for nothing.
    fn go_on(&mut self, side: usize, time_ns: i64, cx: &mut C::Context, counts: &mut FlowCounts) -> bool {
        let mut moved = false;
        loop {
            let (stream, other) = pair(&mut self.streams, side);
            let Some((offset, chunk)) = stream.first_waiting() else { break };
            if offset != stream.next || other.seen && chunk.ack.is_some_and(|ack| ack > other.next) {
                break;
            }
            self.release(side, cx, counts);
            moved = true;
        }
        let stream = &mut self.streams[side];
        if stream.fin == Some(stream.next) && !stream.ended {
            stream.ended = true;
            moved = true;
            let direction = self.direction(side);
            if let Some(consumer) = &mut self.consumer {
                consumer.end(cx, direction, time_ns);
            }
        }
        moved
    }

    fn release(&mut self, side: usize, cx: &mut C::Context, counts: &mut FlowCounts) {
        let stream = &mut self.streams[side];
        if let Some((offset, chunk)) = stream.take_first() {
            stream.advance(offset + chunk.bytes.len() as u64);
            for (begin, bytes, segment_start) in chunk.parts() {
                let (ack, time_ns) = (chunk.ack, chunk.arrival.time_ns);
                let piece = Piece { offset: offset + begin, bytes, ack, time_ns, segment_start };
                self.deliver(side, piece, cx, counts);
            }
        }
    }

    /// Gives up the hole, or the order, that has been waited for long enough; `false`: none has.
    fn give_way(&mut self, force: bool, now: Arrival, cx: &mut C::Context, counts: &mut FlowCounts) -> bool {
        let past = |since: Arrival, time_ns: i64, packets: u64| {
            force || now.time_ns - since.time_ns > time_ns || now.packet - since.packet > packets
        };
        // Proven holes first: they let the other direction go on.
        for side in 0..2 {
            let stream = &self.streams[side];
            let Some(proof) = stream.proof.filter(|_| stream.seen) else { continue };
            let first = stream.first_waiting().map(|(offset, chunk)| (offset, chunk.arrival));
            let until = first.map_or(stream.acked, |(offset, _)| offset.min(stream.acked));
            // Not beyond what the other end had got when it sent what waits: that comes in between.
            let between = self.streams[1 - side].first_waiting().and_then(|(_, chunk)| chunk.ack);
            let until = between.filter(|ack| *ack > stream.next).map_or(until, |ack| ack.min(until));
            // One number beyond the end and nothing there: a FIN that was not seen.
            let lost_fin = first.is_none() && stream.acked == stream.next + 1;
            if until > stream.next && !lost_fin && past(proof, GRACE_NS, GRACE_PACKETS) {
                self.skip_to(side, until, now.time_ns, cx, counts);
                return true;
            }
            if lost_fin && force {
                let next = stream.next + 1;
                self.streams[side].advance(next);
                return true;
            }
        }
        for side in 0..2 {
            let stream = &self.streams[side];
            let Some((offset, chunk)) = stream.first_waiting() else { continue };
            if offset == stream.next && past(chunk.arrival, GRACE_NS, GRACE_PACKETS) {
                self.release(side, cx, counts);
                return true;
            }
            if offset > stream.next && past(chunk.arrival, PATIENCE_NS, PATIENCE_PACKETS) {
                self.skip_to(side, offset, now.time_ns, cx, counts);
                return true;
            }
        }
        false
    }

    fn skip_to(&mut self, side: usize, offset: u64, time_ns: i64, cx: &mut C::Context, counts: &mut FlowCounts) {
        let stream = &mut self.streams[side];
        let gap = Gap { offset: stream.next, len: offset - stream.next, time_ns };
        stream.advance(offset);
        self.lose(side, gap, cx, counts);
    }

    fn lose(&mut self, side: usize, gap: Gap, cx: &mut C::Context, counts: &mut FlowCounts) {
        counts.gap_bytes += gap.len;
        let direction = self.direction(side);
        if let Some(consumer) = &mut self.consumer {
            consumer.gap(cx, direction, gap);
        } else if self.unwanted.is_none() {
            // Gaps before the first bytes adjoin.
            let early = self.early[side].get_or_insert(Gap { len: 0, ..gap });
            early.len += gap.len;
        }
    }

    fn deliver(&mut self, side: usize, piece: Piece<'_>, cx: &mut C::Context, counts: &mut FlowCounts) {
        if self.consumer.is_none() && self.unwanted.is_none() {
            self.open(side, piece.bytes, cx);
        }
        let direction = self.direction(side);
        let Some(consumer) = &mut self.consumer else {
            counts.unwanted(self.unwanted.unwrap_or(Unwanted::NotHttp), piece.bytes.len());
            return;
        };
        consumer.data(cx, direction, piece);
        if let Some(why) = consumer.is_done() {
            self.unwanted = Some(why);
            counts.unwanted(why, piece.bytes.len());
            if let Some(consumer) = self.consumer.take() {
                consumer.close(cx, Ending::Closed, piece.time_ns);
            }
        } else {
            counts.delivered_bytes += piece.bytes.len() as u64;
        }
    }

    /// The first bytes: who is the client, and does anybody care?
    fn open(&mut self, side: usize, bytes: &[u8], cx: &mut C::Context) {
        let lower_port = usize::from(self.key.ends[1].1 < self.key.ends[0].1);
        let client = *self.client.get_or_insert_with(|| match C::sender_is_client(bytes) {
            Some(true) => side,
            Some(false) => 1 - side,
            None => 1 - lower_port,
        });
        let end = |side: usize| self.key.ends[side].0.with_port(self.key.ends[side].1);
        let connect_us =
            self.handshake_ns.map(|at| (at - self.opened_ns).max(0) as u64 / 1_000).filter(|_| !self.midstream);
        let opening = Opening {
            client: end(client),
            server: end(1 - client),
            opened_ns: self.opened_ns,
            midstream: self.midstream,
            connect_us,
            client_link: self.link_sources[client],
        };
        self.consumer = C::open(cx, &opening).map(Box::new);
        self.unwanted = self.consumer.is_none().then_some(Unwanted::NotHttp);
        for side in [client, 1 - client] {
            let direction = self.direction(side);
            if let (Some(consumer), Some(gap)) = (&mut self.consumer, self.early[side].take()) {
                consumer.gap(cx, direction, gap);
            }
        }
    }

    /// Hands out all that waits and ends both directions.
    pub(crate) fn finish(&mut self, ending: Ending, time_ns: i64, cx: &mut C::Context, counts: &mut FlowCounts) {
        self.pump(true, Arrival { time_ns, packet: self.packets }, cx, counts);
        if let Some(consumer) = self.consumer.take() {
            let closed = self.streams.iter().any(|stream| stream.ended);
            let ending = match ending {
                Ending::Idle | Ending::CaptureEnded | Ending::Reused if self.reset => Ending::Reset,
                Ending::Idle | Ending::CaptureEnded | Ending::Reused if closed => Ending::Closed,
                other => other,
            };
            consumer.close(cx, ending, self.last_ns);
        }
    }

    /// Looks at it when its time has come: `None` when it is over, else when to look again.
    pub(crate) fn look(&mut self, now_ns: i64, cx: &mut C::Context, counts: &mut FlowCounts) -> Option<i64> {
        if self.is_blocked() {
            self.pump(false, Arrival { time_ns: now_ns, packet: self.packets }, cx, counts);
        }
        (self.end_of_silence() > now_ns).then(|| self.deadline().max(now_ns + 1))
    }

    /// When it is given up if nothing comes.
    fn end_of_silence(&self) -> i64 {
        let over = self.reset || self.streams.iter().all(|stream| stream.ended || !stream.known);
        self.last_ns.saturating_add(if over { LINGER_NS } else { IDLE_NS })
    }

    /// When it wants to be looked at.
    pub(crate) fn deadline(&self) -> i64 {
        let end = self.end_of_silence();
        let since = |stream: &Stream| {
            let proof = stream.proof.filter(|_| stream.seen).map(|arrival| arrival.time_ns + GRACE_NS);
            let held = stream.first_waiting().map(|(offset, chunk)| {
                chunk.arrival.time_ns + if offset == stream.next { GRACE_NS } else { PATIENCE_NS }
            });
            proof.into_iter().chain(held).min()
        };
        let lost_fin = |stream: &Stream| !stream.has_waiting() && stream.acked == stream.next + 1;
        self.streams
            .iter()
            .filter(|stream| !lost_fin(stream))
            .filter_map(since)
            .min()
            .map_or(end, |blocked| blocked.min(end))
    }
}

fn pair(streams: &mut [Stream; 2], side: usize) -> (&mut Stream, &mut Stream) {
    let [first, second] = streams;
    if side == 0 { (first, second) } else { (second, first) }
}

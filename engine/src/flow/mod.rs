//! Flows: from segments to two byte streams a connection, in order, with gaps told.
//!
//! - [`index`]: from addresses and ports to a place, open addressing.
//! - [`stream`]: one direction: what is expected next, what waits behind a hole.
//! - [`connection`]: both directions: what may go on when, which holes are proven.
//! - [`wheel`]: the lazy timer wheel on packet time.
//! - [`table`]: all flows of a shard, bounded.
//!
//! In: segments and packet time. Out: pieces and gaps to a [`Consumer`], in causal order: bytes that
//! acknowledge others come after them.

pub(crate) mod connection;
pub(crate) mod index;
pub(crate) mod stream;
pub(crate) mod table;
pub(crate) mod wheel;

use std::net::SocketAddr;

use crate::{
    packet::LinkSource,
    record::{Direction, Flags},
};

pub(crate) use table::FlowTable;

/// Bytes of a stream in order. Offsets count from somewhere past 2^32 and never wrap.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece<'a> {
    pub(crate) offset: u64,
    pub(crate) bytes: &'a [u8],
    /// Offset in the other direction that the segment acknowledged, where that direction is known.
    pub(crate) ack: Option<u64>,
    pub(crate) time_ns: i64,
    /// Whether a segment began with the first of the bytes.
    pub(crate) segment_start: bool,
}

/// Bytes of a stream that were lost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gap {
    pub(crate) offset: u64,
    pub(crate) len: u64,
    pub(crate) time_ns: i64,
}

/// What is known of a flow when its first bytes come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opening {
    pub(crate) client: SocketAddr,
    pub(crate) server: SocketAddr,
    pub(crate) opened_ns: i64,
    /// The capture began, or the handshake was lost, after the connection was made.
    pub(crate) midstream: bool,
    /// How long the handshake took, where it was seen.
    pub(crate) connect_us: Option<u64>,
    /// Hardware address of who sent the client's frames, where it is asked for.
    pub(crate) client_link: LinkSource,
}

/// Why a stream or flow ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// FIN.
    Closed,
    /// RST.
    Reset,
    /// Silent for long.
    Idle,
    /// Its addresses and ports were used again.
    Reused,
    /// To stay within the bounds.
    Evicted,
    /// There are no more packets.
    CaptureEnded,
}

/// Takes the two streams of a connection.
pub(crate) trait Consumer: Sized {
    /// What all consumers of a shard share.
    type Context;

    /// For a connection whose first bytes came; `None`: nobody cares for its bytes.
    fn open(cx: &mut Self::Context, opening: &Opening) -> Option<Self>;

    /// Whether who sent these first bytes is the client, when they tell.
    fn sender_is_client(bytes: &[u8]) -> Option<bool>;

    /// The next bytes of a direction.
    fn data(&mut self, cx: &mut Self::Context, direction: Direction, piece: Piece<'_>);

    /// The next bytes of a direction are lost.
    fn gap(&mut self, cx: &mut Self::Context, direction: Direction, gap: Gap);

    /// Something odd happened to the bytes under way in a direction.
    fn flag(&mut self, direction: Direction, flags: Flags);

    /// Bytes that were handed over before came again: whether they are others, as far as what is kept tells. Flags
    /// the messages they are of.
    fn again(&mut self, direction: Direction, offset: u64, bytes: &[u8]) -> bool;

    /// A direction ended.
    fn end(&mut self, cx: &mut Self::Context, direction: Direction, time_ns: i64);

    /// Why it has no use for more bytes, when it has none.
    fn is_done(&self) -> Option<Unwanted>;

    /// The connection ended.
    fn close(self, cx: &mut Self::Context, ending: Ending, time_ns: i64);
}

/// Why nobody wants bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unwanted {
    /// TLS: closed.
    Tls,
    /// Another protocol: nothing that looks like a message.
    NotHttp,
    /// They came with a reset.
    Reset,
    /// They waited when a handshake began that they are not of.
    BeforeHandshake,
}

impl Unwanted {
    /// Every reason as the ledger has it, in the order of the enumeration.
    pub(crate) const REASONS: [&str; 4] =
        ["ignored:tls", "ignored:not_http", "ignored:reset", "ignored:before_handshake"];
}

/// What the flows of a shard counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FlowCounts {
    /// Connections.
    pub(crate) flows: u64,
    /// Connections dropped to stay within the bounds.
    pub(crate) evicted: u64,
    /// Payload bytes of all segments.
    pub(crate) payload_bytes: u64,
    /// Handed to a consumer.
    pub(crate) delivered_bytes: u64,
    /// No consumer wanted them, by why.
    pub(crate) unwanted_bytes: [u64; Unwanted::REASONS.len()],
    /// Had been seen before.
    pub(crate) retransmitted_bytes: u64,
    /// Never seen, though sent.
    pub(crate) gap_bytes: u64,
    /// Of these, cut off frames that were captured.
    pub(crate) cut_bytes: u64,
    /// Segments that overlapped bytes waiting, or differed from bytes handed over.
    pub(crate) overlaps: u64,
    /// Of these, with other bytes: the first were kept.
    pub(crate) differing: u64,
}

impl FlowCounts {
    /// Nobody wants so many bytes.
    pub(crate) fn unwanted(&mut self, why: Unwanted, bytes: usize) {
        self.unwanted_bytes[why as usize] += bytes as u64;
    }
}

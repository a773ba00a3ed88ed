//! A connection's script as TCP segments (RFC 9293): handshake, data, acknowledgements, close.
//!
//! Acknowledgement numbers are what a real stack sends: a server's segment acknowledges the request
//! bytes it had read when it answered.

use std::net::SocketAddr;

use bytes::Bytes;

use super::{random::Random, script::Turn};

/// FIN flag.
pub const FIN: u8 = 0x01;
/// SYN flag.
pub const SYN: u8 = 0x02;
/// PSH flag.
pub const PSH: u8 = 0x08;
/// ACK flag.
pub const ACK: u8 = 0x10;

/// One TCP segment.
#[derive(Debug, Clone)]
pub struct Segment {
    /// When it was seen, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// Connection it belongs to.
    pub connection: u64,
    /// Whether the client sent it.
    pub from_client: bool,
    /// Sender.
    pub source: SocketAddr,
    /// Receiver.
    pub destination: SocketAddr,
    /// Sequence number of its first byte.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Flags.
    pub flags: u8,
    /// Data.
    pub payload: Bytes,
}

/// Numbers of one side.
struct Side {
    address: SocketAddr,
    initial: u32,
    sent: u64,
}

impl Side {
    fn number(&self, offset: u64) -> u32 {
        // Sequence numbers are modulo 2^32 (RFC 9293 §3.4); the SYN takes one.
        self.initial.wrapping_add(1).wrapping_add(offset as u32)
    }
}

/// Where a connection runs, and how its bytes are cut.
pub(super) struct Path {
    pub(super) connection: u64,
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
    pub(super) wrapping: bool,
    pub(super) segment: std::ops::RangeInclusive<u64>,
}

/// The segments of a connection that begins at `time_ns`.
pub(super) fn write(path: &Path, turns: &[Turn], mut time_ns: u64, random: &mut Random) -> Vec<Segment> {
    let initial = |random: &mut Random| {
        if path.wrapping { u32::MAX - random.between(0, 2000) as u32 } else { random.next() as u32 }
    };
    let mut client = Side { address: path.client, initial: initial(random), sent: 0 };
    let mut server = Side { address: path.server, initial: initial(random), sent: 0 };
    let round_trip_ns = random.between(200_000, 20_000_000);
    let mut segments = Vec::new();
    let mut push = |time_ns: u64, from: &Side, to: &Side, from_client, numbers: (u32, u32), flags, payload| {
        segments.push(Segment {
            time_ns,
            connection: path.connection,
            from_client,
            source: from.address,
            destination: to.address,
            sequence: numbers.0,
            acknowledgement: numbers.1,
            flags,
            payload,
        });
    };
    push(time_ns, &client, &server, true, (client.initial, 0), SYN, Bytes::new());
    time_ns += round_trip_ns / 2;
    push(time_ns, &server, &client, false, (server.initial, client.number(0)), SYN | ACK, Bytes::new());
    time_ns += round_trip_ns / 2;
    push(time_ns, &client, &server, true, (client.number(0), server.number(0)), ACK, Bytes::new());
    // Where each client turn ended, in bytes sent.
    let mut ends = vec![0];
    for turn in turns {
        if !turn.client {
            time_ns += round_trip_ns / 2 + random.between(50_000, 5_000_000);
        }
        let cuts = cut(&turn.parts, &path.segment, random);
        let last = cuts.len().saturating_sub(1);
        for (index, payload) in cuts.into_iter().enumerate() {
            let (from, to, acknowledged) = if turn.client {
                (&mut client, &server, server.sent)
            } else {
                let read = ends.get(turn.after).copied().unwrap_or(client.sent);
                (&mut server, &client, read)
            };
            time_ns += random.between(1_000, 12_000);
            let flags = if index == last { ACK | PSH } else { ACK };
            let len = payload.len() as u64;
            let numbers = (from.number(from.sent), to.number(acknowledged));
            push(time_ns, from, to, turn.client, numbers, flags, payload);
            from.sent += len;
            // The receiver acknowledges every second segment, and the last one of a response.
            if index % 2 == 1 || (index == last && !turn.client) {
                let (by, of) = if turn.client { (&server, &client) } else { (&client, &server) };
                time_ns += 1_000;
                push(time_ns, by, of, !turn.client, (by.number(by.sent), of.number(of.sent)), ACK, Bytes::new());
            }
        }
        if turn.client {
            ends.push(client.sent);
        }
    }
    time_ns += round_trip_ns / 2;
    push(
        time_ns,
        &client,
        &server,
        true,
        (client.number(client.sent), server.number(server.sent)),
        FIN | ACK,
        Bytes::new(),
    );
    let (client_end, server_end) = (client.number(client.sent + 1), server.number(server.sent + 1));
    time_ns += round_trip_ns / 2;
    push(time_ns, &server, &client, false, (server.number(server.sent), client_end), FIN | ACK, Bytes::new());
    time_ns += round_trip_ns / 2;
    push(time_ns, &client, &server, true, (client_end, server_end), ACK, Bytes::new());
    segments
}

/// Cuts the bytes of a turn into payloads without regard to where its parts begin.
fn cut(parts: &[Bytes], sizes: &std::ops::RangeInclusive<u64>, random: &mut Random) -> Vec<Bytes> {
    let mut payloads = Vec::new();
    let mut room = random.between(*sizes.start(), *sizes.end()).max(1) as usize;
    let mut gathered: Vec<Bytes> = Vec::new();
    for part in parts {
        let mut rest = part.clone();
        while !rest.is_empty() {
            let piece = rest.split_to(room.min(rest.len()));
            room -= piece.len();
            gathered.push(piece);
            if room == 0 {
                payloads.push(join(&mut gathered));
                room = random.between(*sizes.start(), *sizes.end()).max(1) as usize;
            }
        }
    }
    if !gathered.is_empty() {
        payloads.push(join(&mut gathered));
    }
    payloads
}

fn join(pieces: &mut Vec<Bytes>) -> Bytes {
    let joined = match &**pieces {
        [only] => only.clone(),
        several => several.concat().into(),
    };
    pieces.clear();
    joined
}

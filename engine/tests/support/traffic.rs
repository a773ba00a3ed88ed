//! Connections with known truth, and what taps do to their packets.
//!
//! In: a mix and a seed. Out: packets in the order of time, and where the two heads of each pair lie. Packets
//! are dropped from the capture, not from the network: acknowledgements go on as if all had come.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::Ipv4Addr,
};

use weir_engine::source::{Frame, LinkType};

use super::Outcome;

pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9).max(1))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

#[derive(Clone)]
pub(crate) struct Packet {
    pub(crate) time_ns: i64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) connection: usize,
    pub(crate) from_server: bool,
    /// Payload range in the stream.
    pub(crate) range: (u64, u64),
}

/// Where the two heads of a pair lie.
pub(crate) struct Pair {
    pub(crate) id: String,
    pub(crate) connection: usize,
    request: (u64, u64),
    response: (u64, u64),
}

/// How clients ask.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asking {
    /// Up to so many requests at once, the next when all are answered.
    Turns(u64),
    /// So many requests are always under way: the next goes out with each answer.
    Window(usize),
}

#[derive(Clone, Copy)]
pub(crate) struct Mix {
    pub(crate) connections: usize,
    pub(crate) turns: usize,
    pub(crate) asking: Asking,
    pub(crate) max_body: u64,
    pub(crate) mss: usize,
    /// Of a thousand bursts, so many end with a retransmission of one of their packets.
    pub(crate) retransmitted: u64,
    /// Of a thousand requests with bodies, so many wait for 100 (Continue).
    pub(crate) expecting: u64,
}

pub(crate) const KEEP_ALIVE: Mix = Mix {
    connections: 60,
    turns: 40,
    asking: Asking::Turns(1),
    max_body: 12_000,
    mss: 1_460,
    retransmitted: 0,
    expecting: 0,
};
pub(crate) const PIPELINED: Mix = Mix { turns: 12, asking: Asking::Turns(6), max_body: 6_000, ..KEEP_ALIVE };
pub(crate) const WINDOWED: Mix = Mix { asking: Asking::Window(3), max_body: 6_000, ..KEEP_ALIVE };

/// One connection's packets as they are written.
pub(crate) struct Wire {
    pub(crate) packets: Vec<Packet>,
    pub(crate) client_port: u16,
    pub(crate) connection: usize,
    pub(crate) now: i64,
    /// Bytes sent by client and server.
    pub(crate) sent: [u64; 2],
    pub(crate) isn: [u32; 2],
}

impl Wire {
    pub(crate) fn open(connection: usize, isn: [u32; 2]) -> Self {
        Self {
            packets: Vec::new(),
            client_port: 20_000 + connection as u16,
            connection,
            now: 1_700_000_000_000_000_000,
            sent: [0; 2],
            isn,
        }
    }

    pub(crate) fn handshake(&mut self) {
        self.packet(0, 0x02, &[]);
        self.packet(1, 0x12, &[]);
        self.packet(0, 0x10, &[]);
    }

    pub(crate) fn packet(&mut self, from: usize, control: u8, payload: &[u8]) {
        self.packet_at(from, control, self.sent[from], payload);
        self.sent[from] += payload.len() as u64;
    }

    /// A packet with bytes that begin at `begin` of the stream.
    pub(crate) fn packet_at(&mut self, from: usize, control: u8, begin: u64, payload: &[u8]) {
        self.now += 20_000;
        let to = 1 - from;
        let (client, server) =
            (Ipv4Addr::new(10, 0, (self.connection >> 8) as u8, self.connection as u8), Ipv4Addr::new(192, 0, 2, 1));
        let (source, destination) = if from == 0 { (client, server) } else { (server, client) };
        let (sport, dport) = if from == 0 { (self.client_port, 80) } else { (80, self.client_port) };
        let syn = u32::from(control & 2 != 0);
        let sequence = self.isn[from].wrapping_add(1 - syn).wrapping_add(begin as u32);
        let ack = if control & 0x10 == 0 { 0 } else { self.isn[to].wrapping_add(1).wrapping_add(self.sent[to] as u32) };
        let mut bytes = vec![0_u8; 12];
        bytes.extend([8, 0, 0x45, 0]);
        bytes.extend(((40 + payload.len()) as u16).to_be_bytes());
        bytes.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        bytes.extend(source.octets());
        bytes.extend(destination.octets());
        bytes.extend(sport.to_be_bytes());
        bytes.extend(dport.to_be_bytes());
        bytes.extend(sequence.to_be_bytes());
        bytes.extend(ack.to_be_bytes());
        bytes.extend([0x50, control, 0xff, 0xff, 0, 0, 0, 0]);
        bytes.extend(payload);
        self.packets.push(Packet {
            time_ns: self.now,
            bytes,
            connection: self.connection,
            from_server: from == 1,
            range: (begin, begin + payload.len() as u64),
        });
    }

    /// Sends bytes in segments; every second one is acknowledged.
    pub(crate) fn send(&mut self, from: usize, bytes: &[u8], mss: usize) {
        for (index, part) in bytes.chunks(mss).enumerate() {
            self.packet(from, 0x18, part);
            if index % 2 == 1 {
                self.packet(1 - from, 0x10, &[]);
            }
        }
    }

    /// Sends a segment of the last bytes once more, cut elsewhere.
    fn send_again(&mut self, from: usize, bytes: &[u8], mss: usize, random: &mut Random) {
        let begin = random.below(bytes.len() as u64) as usize;
        let end = (begin + mss).min(bytes.len());
        self.packet_at(from, 0x18, self.sent[from] - (bytes.len() - begin) as u64, &bytes[begin..end]);
    }
}

/// A request that was sent, and what its response will be.
struct Asked {
    id: String,
    kind: u64,
    range: (u64, u64),
}

fn ask(id: String, mix: Mix, begin: u64, random: &mut Random) -> (Asked, Vec<u8>, Vec<u8>) {
    let kind = random.below(10);
    let body = vec![b'q'; if kind == 0 { random.below(4_000) as usize } else { 0 }];
    let method = match kind {
        0 => "POST",
        1 => "HEAD",
        _ => "GET",
    };
    let agent = "x".repeat(random.below(200) as usize);
    let mut head = format!("{method} /{id} HTTP/1.1\r\nHost: example.test\r\nUser-Agent: {agent}\r\n");
    if kind == 0 {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        if random.below(1_000) < mix.expecting && !body.is_empty() {
            head.push_str("Expect: 100-continue\r\n");
        }
    }
    head.push_str("\r\n");
    let head = head.into_bytes();
    (Asked { id, kind, range: (begin, begin + head.len() as u64) }, head, body)
}

/// The response's head and body. Bodies look like heads: nobody may take them for one.
fn answer(asked: &Asked, mix: Mix, random: &mut Random) -> (Vec<u8>, Vec<u8>) {
    let kind = asked.kind;
    let size = if kind == 2 { 0 } else { random.below(mix.max_body) as usize };
    let text = b"HTTP/1.1 200 OK\r\nX-Id: wrong\r\n\r\nGET /wrong HTTP/1.1\r\nHost: a\r\n\r\n";
    let content: Vec<u8> = text.iter().copied().cycle().take(size).collect();
    let status = if kind == 2 { 304 } else { 200 };
    let server = "s".repeat(random.below(100) as usize);
    let mut head = format!("HTTP/1.1 {status} X\r\nServer: {server}\r\nX-Id: {}\r\n", asked.id);
    let mut body = Vec::new();
    if kind == 3 {
        head.push_str("Transfer-Encoding: chunked\r\n");
        for chunk in content.chunks(3_000) {
            body.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            body.extend(chunk);
            body.extend(b"\r\n");
        }
        body.extend(b"0\r\n\r\n");
    } else if kind != 2 {
        head.push_str(&format!("Content-Length: {size}\r\n"));
        if kind != 1 {
            body = content;
        }
    }
    head.push_str("\r\n");
    (head.into_bytes(), body)
}

fn send_response(wire: &mut Wire, asked: Asked, mix: Mix, random: &mut Random, pairs: &mut Vec<Pair>) {
    wire.now += random.below(5_000_000) as i64;
    let (head, body) = answer(&asked, mix, random);
    let response = (wire.sent[1], wire.sent[1] + head.len() as u64);
    let bytes = [head, body].concat();
    wire.send(1, &bytes, mix.mss);
    if random.below(1_000) < mix.retransmitted {
        wire.send_again(1, &bytes, mix.mss, random);
    }
    pairs.push(Pair { id: asked.id, connection: wire.connection, request: asked.range, response });
}

/// Requests as they are sent at once; those that wait for 100 (Continue) get it.
fn send_requests(wire: &mut Wire, ids: Vec<String>, mix: Mix, random: &mut Random) -> Vec<Asked> {
    wire.now += random.below(3_000_000) as i64;
    let (mut all, mut bytes) = (Vec::new(), Vec::new());
    for id in ids {
        let (asked, head, body) = ask(id, mix, wire.sent[0] + bytes.len() as u64, random);
        let waits = head.windows(7).any(|window| window == b"Expect:") && bytes.is_empty();
        bytes.extend(head);
        if waits {
            wire.send(0, &bytes, mix.mss);
            bytes.clear();
            wire.send(1, b"HTTP/1.1 100 Continue\r\n\r\n", mix.mss);
            wire.packet(0, 0x10, &[]);
        }
        bytes.extend(body);
        all.push(asked);
    }
    wire.send(0, &bytes, mix.mss);
    if !bytes.is_empty() && random.below(1_000) < mix.retransmitted {
        wire.send_again(0, &bytes, mix.mss, random);
    }
    all
}

/// The packets of a mix in the order of time, and its pairs.
pub(crate) fn traffic(mix: Mix, random: &mut Random) -> (Vec<Packet>, Vec<Pair>) {
    let (mut packets, mut pairs) = (Vec::new(), Vec::new());
    for connection in 0..mix.connections {
        let mut wire = Wire::open(connection, [random.next() as u32, random.next() as u32]);
        wire.now += random.below(2_000_000_000) as i64;
        wire.handshake();
        match mix.asking {
            Asking::Turns(most) => {
                for turn in 0..mix.turns {
                    let burst = 1 + random.below(most);
                    let ids = (0..burst).map(|n| format!("{connection}-{turn}-{n}")).collect();
                    for asked in send_requests(&mut wire, ids, mix, random) {
                        send_response(&mut wire, asked, mix, random, &mut pairs);
                    }
                    wire.packet(0, 0x10, &[]);
                }
            }
            Asking::Window(window) => {
                let mut waiting = std::collections::VecDeque::new();
                for turn in 0..mix.turns {
                    waiting.extend(send_requests(&mut wire, vec![format!("{connection}-{turn}-0")], mix, random));
                    if waiting.len() >= window
                        && let Some(asked) = waiting.pop_front()
                    {
                        send_response(&mut wire, asked, mix, random, &mut pairs);
                    }
                }
                for asked in waiting {
                    send_response(&mut wire, asked, mix, random, &mut pairs);
                }
            }
        }
        wire.packet(0, 0x11, &[]);
        wire.packet(1, 0x11, &[]);
        packets.append(&mut wire.packets);
    }
    packets.sort_by_key(|packet| packet.time_ns);
    (packets, pairs)
}

/// Whose packets are lost.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Both,
    Client,
    Server,
}

/// What a tap does. Shares are of a thousand packets.
#[derive(Clone, Copy)]
pub(crate) struct Tap {
    pub(crate) lost: u64,
    /// Packets lost one after the other.
    pub(crate) run: u64,
    pub(crate) side: Side,
    /// Seen up to four packets of their connection and a millisecond late.
    pub(crate) late: u64,
    /// Seen twice.
    pub(crate) twice: u64,
    /// Packets at the beginning of a connection that are never lost.
    pub(crate) safe: usize,
}

impl Tap {
    pub(crate) const fn losing(lost: u64) -> Self {
        Self { lost, run: 1, side: Side::Both, late: 0, twice: 0, safe: 0 }
    }
}

/// The packets that the tap saw, as it saw them.
pub(crate) fn tapped(packets: &[Packet], tap: Tap, random: &mut Random) -> Vec<Packet> {
    let mut left = 0;
    let mut seen: Vec<Packet> = Vec::new();
    let mut held: BTreeMap<usize, (u64, Packet)> = BTreeMap::new();
    let mut begun: HashMap<usize, usize> = HashMap::new();
    for packet in packets {
        if left == 0 && random.below(1_000 * tap.run) < tap.lost {
            left = tap.run;
        }
        let concerned = match tap.side {
            Side::Both => true,
            Side::Client => !packet.from_server,
            Side::Server => packet.from_server,
        };
        let number = begun.entry(packet.connection).or_default();
        *number += 1;
        let lost = left > 0 && concerned && *number > tap.safe;
        // Packets are overtaken by those sent right behind them.
        held.retain(|_, (_, late)| {
            let waits = packet.time_ns - late.time_ns <= 1_000_000;
            if !waits {
                seen.push(late.clone());
            }
            waits
        });
        left = left.saturating_sub(1);
        if lost {
            continue;
        }
        if tap.late > 0 && !held.contains_key(&packet.connection) && random.below(1_000) < tap.late {
            held.insert(packet.connection, (random.below(4), packet.clone()));
            continue;
        }
        seen.push(packet.clone());
        if tap.twice > 0 && random.below(1_000) < tap.twice {
            seen.push(packet.clone());
        }
        if let Some((0, mut late)) = held.get(&packet.connection).cloned() {
            held.remove(&packet.connection);
            late.time_ns = packet.time_ns;
            seen.push(late);
        } else if let Some((after, _)) = held.get_mut(&packet.connection) {
            *after -= 1;
        }
    }
    seen.extend(held.into_values().map(|(_, packet)| packet));
    seen
}

/// Frames of packets.
pub(crate) fn frames(packets: &[Packet]) -> impl Iterator<Item = Frame<'_>> {
    packets.iter().map(|packet| Frame {
        time_ns: packet.time_ns,
        link: LinkType::ETHERNET,
        data: &packet.bytes,
        original_len: packet.bytes.len() as u32,
    })
}

/// A capture file of packets.
pub(crate) fn pcap(packets: &[Packet]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 1] {
        file.extend(word.to_le_bytes());
    }
    for packet in packets {
        let (seconds, micros) = (packet.time_ns / 1_000_000_000, packet.time_ns % 1_000_000_000 / 1_000);
        for word in [seconds as u32, micros as u32, packet.bytes.len() as u32, packet.bytes.len() as u32] {
            file.extend(word.to_le_bytes());
        }
        file.extend(&packet.bytes);
    }
    file
}

/// The pairs whose two heads the tap saw whole.
pub(crate) fn recoverable<'a>(pairs: &'a [Pair], seen: &[Packet]) -> HashSet<&'a str> {
    let mut ranges: HashMap<(usize, bool), Vec<(u64, u64)>> = HashMap::new();
    for packet in seen.iter().filter(|packet| packet.range.0 < packet.range.1) {
        ranges.entry((packet.connection, packet.from_server)).or_default().push(packet.range);
    }
    ranges.values_mut().for_each(|ranges| ranges.sort_unstable());
    let whole = |connection: usize, server: bool, (begin, end): (u64, u64)| {
        let mut reached = begin;
        for (from, to) in ranges.get(&(connection, server)).into_iter().flatten() {
            if *from <= reached {
                reached = reached.max(*to);
            }
        }
        reached >= end
    };
    pairs
        .iter()
        .filter(|pair| whole(pair.connection, false, pair.request) && whole(pair.connection, true, pair.response))
        .map(|pair| pair.id.as_str())
        .collect()
}

/// Pairs that were told: of those that could be, and wrong ones.
pub(crate) fn score(outcome: &Outcome, recoverable: &HashSet<&str>) -> (usize, Vec<String>) {
    let (mut right, mut wrong) = (0, Vec::new());
    for exchange in outcome.exchanges.iter().filter(|exchange| !exchange.method.is_empty() && exchange.status.is_some())
    {
        let asked = exchange.url.path().trim_start_matches('/');
        let answered = exchange.response_headers.get("x-id").map(String::from_utf8_lossy).unwrap_or_default();
        if asked != answered {
            wrong.push(format!("{asked} got {answered}"));
        } else if recoverable.contains(asked) {
            right += 1;
        }
    }
    (right, wrong)
}

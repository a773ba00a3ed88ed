//! Inputs made to be slow: the work they cost grows with their length, not with its square.

use std::sync::Arc;

use crate::{
    http::BodyPolicy,
    pipeline::{Budget, Ids},
    record::Record,
    shard::{Shard, ShardOptions},
    source::{Frame, LinkType},
    work,
};

/// One connection into a shard.
struct Line {
    shard: Shard,
    records: Vec<Record>,
    time_ns: i64,
    /// Bytes sent by client and server.
    sent: [u32; 2],
}

impl Line {
    fn open() -> Self {
        let options = ShardOptions { bodies: BodyPolicy::All, ..ShardOptions::default() };
        let shard = Shard::new(&options, Arc::new(Ids::default()), Budget::new(1 << 30));
        let mut line = Self { shard, records: Vec::new(), time_ns: 0, sent: [0; 2] };
        line.packet(0, 0x02, u32::MAX, &[]);
        line.packet(1, 0x12, u32::MAX, &[]);
        line
    }

    fn packet(&mut self, from: usize, control: u8, begin: u32, payload: &[u8]) {
        self.time_ns += 1_000;
        let mut bytes = vec![0x45, 0];
        bytes.extend(((40 + payload.len()) as u16).to_be_bytes());
        bytes.extend([0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1 + from as u8, 10, 0, 0, 2 - from as u8]);
        bytes.extend(if from == 0 { [0x4e, 0x20, 0, 80] } else { [0, 80, 0x4e, 0x20] });
        bytes.extend(begin.to_be_bytes());
        bytes.extend(self.sent[1 - from].to_be_bytes());
        bytes.extend([0x50, control, 0xff, 0xff, 0, 0, 0, 0]);
        bytes.extend(payload);
        let original_len = bytes.len() as u32;
        let frame = Frame { time_ns: self.time_ns, link: LinkType::RAW, data: &bytes, original_len };
        self.shard.frame(&frame, &mut self.records);
    }

    fn send(&mut self, from: usize, bytes: &[u8], segment: usize) {
        for part in bytes.chunks(segment) {
            self.packet(from, 0x18, self.sent[from], part);
            self.sent[from] += part.len() as u32;
        }
    }

    fn finish(mut self) -> Vec<Record> {
        self.shard.finish(&mut self.records);
        assert!(self.shard.ledger().balances(), "{:?}", self.shard.ledger());
        self.records
    }
}

/// The work for `task` with so much input, and with four times as much: it may not be much more than four times.
fn is_linear(what: &str, size: usize, task: impl Fn(usize)) {
    let (once, four_times) = (work::of(|| task(size)), work::of(|| task(4 * size)));
    assert!(once > 0, "{what}: work is counted");
    assert!(four_times < once * 5, "{what}: {once} steps for {size}, {four_times} for four times as much");
}

#[test]
fn tiny_segments_above_a_hole() {
    for (what, downwards) in [("upwards", false), ("downwards", true)] {
        is_linear(what, 75_000, |count| {
            let mut line = Line::open();
            for n in 0..count as u32 {
                line.packet(0, 0x18, 10 + if downwards { count as u32 - n } else { n }, b"x");
            }
            line.finish();
        });
    }
}

/// Every second byte, then the others: as many pieces as there can be.
#[test]
fn combs_above_a_hole() {
    is_linear("comb", 40_000, |count| {
        let mut line = Line::open();
        for n in (0..count as u32).step_by(2).chain((1..count as u32).step_by(2)) {
            line.packet(1, 0x18, 10 + n, b"x");
        }
        line.finish();
    });
}

#[test]
fn heads_of_many_lines() {
    for segment in [1, 11, 1_460, 60_000] {
        is_linear("lines", 25_000, |lines| {
            let mut line = Line::open();
            line.send(0, b"GET / HTTP/1.1\r\nHost: a\r\n", 1_460);
            line.send(0, "X-A: b\r\n".repeat(lines).as_bytes(), segment);
            line.finish();
        });
    }
}

/// What might be the end of a head is looked at again with each byte.
#[test]
fn heads_of_blanks() {
    for odd in ["\n ", "\r", "\n\t \r", "a\n:"] {
        is_linear("blanks", 8_000, |count| {
            let mut line = Line::open();
            line.send(0, b"GET / HTTP/1.1\r\nHost: a\r\n", 1_460);
            line.send(0, odd.repeat(count).as_bytes(), 1);
            line.finish();
        });
    }
}

#[test]
fn endless_chunk_extensions_and_trailers() {
    for (what, begin, endless) in [
        ("extensions", "1", ";ext=1"),
        ("chunks", "", "1\r\nx\r\n"),
        ("trailers", "0\r\n", "X-A: b\r\n"),
        ("junk", "0\r\n", "x"),
    ] {
        is_linear(what, 25_000, |count| {
            let mut line = Line::open();
            line.send(0, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 1_460);
            line.send(0, begin.as_bytes(), 1_460);
            line.send(0, endless.repeat(count).as_bytes(), 3);
            line.finish();
        });
    }
}

/// Frames of HTTP/2 without their beginning: HPACK cannot be read from the middle, and nothing is made up.
#[test]
fn http2_seen_midstream_makes_no_exchange() {
    let mut line = Line::open();
    line.send(0, &[0, 0, 3, 1, 5, 0, 0, 0, 9, 0xbe, 0xbf, 0xc0], 1_460);
    line.send(1, &[0, 0, 1, 1, 5, 0, 0, 0, 9, 0x88], 1_460);
    assert_eq!(line.finish().len(), 0);
}

/// Requests without end to a server that never answers, and answers without end that nobody asked for.
#[test]
fn endless_messages() {
    is_linear("requests", 2_000, |count| {
        let mut line = Line::open();
        line.send(0, "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(count).as_bytes(), 1_460);
        let records = line.finish();
        let exchanges = records.iter().filter(|record| matches!(record, Record::Exchange(_))).count();
        assert_eq!(exchanges, count);
    });
    is_linear("responses", 6_000, |count| {
        let mut line = Line::open();
        line.send(1, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".repeat(count).as_bytes(), 1_460);
        line.finish();
    });
}

/// Behind a hole each piece is searched for a beginning, once.
#[test]
fn bodies_full_of_beginnings_behind_a_hole() {
    is_linear("beginnings", 5_000, |count| {
        let mut line = Line::open();
        line.send(0, "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3).as_bytes(), 1_460);
        line.sent[1] += 100;
        line.send(1, "HTTP/1.1 200 OK\r\nX: HTTP/1.1 200\r\nHTTP/1.".repeat(count).as_bytes(), 700);
        line.finish();
    });
}

//! What the fuzz targets in `fuzz/` do with their input. They live here so that the kept cases are replayed by
//! `make test` without cargo-fuzz.
//!
//! In: bytes. Out: nothing, or a panic: a crash, a ledger that does not balance, a half that does not say what
//! is missing.

#![allow(dead_code)] // each target uses its part

use std::sync::Arc;

use weir_engine::{
    content::{self, Limits},
    filter::Expr,
    http::BodyPolicy,
    pipeline::{Budget, Ids},
    record::Record,
    shard::{Shard, ShardOptions},
    source::{Block, CaptureReader, Frame, FrameSource, LinkType},
};

/// Link types that are decoded, and one that is not.
const LINKS: [u32; 23] =
    [0, 1, 9, 12, 14, 50, 51, 101, 104, 105, 108, 113, 127, 166, 228, 229, 239, 276, 9_999, 10, 107, 192, 219];

/// Small bounds, so that inputs reach them.
fn shard() -> Shard {
    let options =
        ShardOptions { bodies: BodyPolicy::All, max_flows: 64, max_out_of_order: 64 << 10, ..ShardOptions::default() };
    Shard::new(&options, Arc::new(Ids::default()), Budget::new(1 << 20))
}

fn finish(mut shard: Shard, mut records: Vec<Record>) {
    shard.finish(&mut records);
    let ledger = shard.ledger();
    assert!(ledger.balances(), "the ledger balances: {ledger:?}");
    for record in records {
        if let Record::Exchange(exchange) = record {
            assert!(
                exchange.error.is_some() || !exchange.method.is_empty(),
                "a half says what is missing: {exchange:?}"
            );
        }
    }
}

/// One frame: the link type, how much was cut, the bytes.
pub(crate) fn frame(data: &[u8]) {
    let [link, cut, bytes @ ..] = data else { return };
    let link = LinkType(LINKS[usize::from(*link) % LINKS.len()]);
    let (mut shard, mut records) = (shard(), Vec::new());
    let original_len = bytes.len() as u32 + u32::from(*cut);
    for time_ns in [0, 1_000] {
        shard.frame(&Frame { time_ns, link, data: bytes, original_len }, &mut records);
    }
    finish(shard, records);
}

/// A container of frames: the link type, then for each frame how much later it came (in units of 2 ms), its
/// length in two bytes, its bytes. Mutations stay inside frames.
pub(crate) fn packets(data: &[u8]) {
    let Some((link, mut rest)) = data.split_first() else { return };
    let link = LinkType(LINKS[usize::from(*link) % LINKS.len()]);
    let (mut shard, mut records, mut time_ns) = (shard(), Vec::new(), 0);
    while let [later, low, high, tail @ ..] = rest {
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(tail.len());
        let (bytes, behind) = tail.split_at(len);
        rest = behind;
        time_ns += i64::from(*later) * 2_000_000;
        shard.frame(&Frame { time_ns, link, data: bytes, original_len: len as u32 }, &mut records);
    }
    finish(shard, records);
}

/// The two streams of one connection: for each piece a byte (1: from the server, 2: lost to the tap, 4: cut in
/// segments of one byte, 8: FIN behind it, 16: seen twice, 32: seen after the next, 64: acknowledges nothing
/// new, 128: 30 ms later), its length in two bytes, its bytes.
pub(crate) fn streams(data: &[u8]) {
    let (mut shard, mut records) = (shard(), Vec::new());
    for (time_ns, data) in segments(data) {
        let frame = Frame { time_ns, link: LinkType::RAW, data: &data, original_len: data.len() as u32 };
        shard.frame(&frame, &mut records);
    }
    finish(shard, records);
}

fn pieces(mut data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let [kind, low, high, tail @ ..] = data else { return None };
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(tail.len());
        let (bytes, behind) = tail.split_at(len);
        data = behind;
        Some((*kind, bytes))
    })
}

fn segments(data: &[u8]) -> Vec<(i64, Vec<u8>)> {
    let mut frames = Vec::new();
    let mut sent = [0_u32; 2];
    let mut told = [0_u32; 2];
    let mut time_ns = 0;
    let packet = |from: usize, control: u8, begin: u32, ack: u32, payload: &[u8]| {
        let mut bytes = vec![0x45, 0];
        bytes.extend(((40 + payload.len()) as u16).to_be_bytes());
        bytes.extend([0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1 + from as u8, 10, 0, 0, 2 - from as u8]);
        let ports = if from == 0 { [0x4e, 0x20, 0, 80] } else { [0, 80, 0x4e, 0x20] };
        bytes.extend(ports);
        bytes.extend(begin.wrapping_add(u32::MAX - 50).to_be_bytes());
        bytes.extend(ack.wrapping_add(u32::MAX - 50).to_be_bytes());
        bytes.extend([0x50, control, 0xff, 0xff, 0, 0, 0, 0]);
        bytes.extend(payload);
        bytes
    };
    frames.push((0, packet(0, 2, u32::MAX, 0, &[])));
    frames.push((0, packet(1, 0x12, u32::MAX, 0, &[])));
    let mut late: Option<(i64, Vec<u8>)> = None;
    for (kind, bytes) in pieces(data) {
        let from = usize::from(kind & 1);
        time_ns += if kind & 128 != 0 { 30_000_000 } else { 100_000 };
        let size = if kind & 4 != 0 { 1 } else { 16_384 };
        if kind & 64 == 0 {
            told[from] = sent[1 - from];
        }
        for part in bytes.chunks(size) {
            let frame = (time_ns, packet(from, 0x18, sent[from], told[from], part));
            sent[from] = sent[from].wrapping_add(part.len() as u32);
            if kind & 2 != 0 {
                continue;
            }
            if kind & 16 != 0 {
                frames.push(frame.clone());
            }
            if kind & 32 != 0 && late.is_none() {
                late = Some(frame);
                continue;
            }
            frames.push(frame);
            if let Some((_, frame)) = late.take() {
                frames.push((time_ns, frame));
            }
        }
        if kind & 8 != 0 {
            frames.push((time_ns, packet(from, 0x11, sent[from], sent[1 - from], &[])));
            sent[from] = sent[from].wrapping_add(1);
        }
    }
    frames.extend(late.map(|(_, frame)| (time_ns, frame)));
    frames
}

/// A capture file of any kind.
pub(crate) fn pcapng(data: &[u8]) {
    let Ok(mut reader) = CaptureReader::new(data) else { return };
    let (mut shard, mut block, mut records) = (shard(), Block::new(), Vec::new());
    while let Ok(true) = reader.next_block(&mut block) {
        shard.block(&block, &mut records);
    }
    finish(shard, records);
}

/// The filter language: what is parsed is printed so that it parses to the same.
pub(crate) fn filter(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Expr::parse(text) {
        Ok(expression) => {
            let printed = expression.to_string();
            let again = Expr::parse(&printed).unwrap_or_else(|error| panic!("{printed}: {error}"));
            assert_eq!(again, expression, "{printed}");
        }
        Err(error) => {
            let _ = (error.to_string(), error.excerpt(text));
        }
    }
}

/// Content codings: the first byte chooses them, the rest is the body. What comes out stays in its bounds.
pub(crate) fn content(data: &[u8]) {
    const CODINGS: [&str; 8] = ["gzip", "deflate", "br", "zstd", "gzip, gzip", "deflate, br", "x-gzip", "identity"];
    let Some((coding, body)) = data.split_first() else { return };
    let limits = Limits::default();
    if let Ok(decoded) = content::decode(body, CODINGS[usize::from(*coding) % CODINGS.len()], limits) {
        let _ = content::display_text(&decoded.bytes);
    }
}

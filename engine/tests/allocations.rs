//! In-order packets cost no allocation: asserted with an allocator that counts.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::Arc,
};

use weir_engine::{
    http::BodyPolicy,
    pipeline::{Budget, Ids},
    record::Record,
    shard::{Dispatcher, Shard, ShardOptions, Sorted},
    source::{CaptureReader, Frame, FrameSource, LinkType},
};

/// The system's allocator, counting what this thread asks of it.
struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn count() -> u64 {
    COUNT.with(Cell::get)
}

// SAFETY: every call goes to the system's allocator as it came; counting does not allocate, for the cell is a
// constant without destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SYN: u8 = 2;
const PSH_ACK: u8 = 0x18;
const SEGMENT: usize = 1_448;
/// Segments of one response body.
const SEGMENTS: usize = 6_000;

/// An Ethernet frame of one of both sides.
fn frame(from_client: bool, numbers: (u32, u32), control: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    out.extend_from_slice(&[0x45, 0]);
    out.extend_from_slice(&(40 + payload.len() as u16).to_be_bytes());
    out.extend_from_slice(&[0, 0, 0, 0, 64, 6, 0, 0]);
    let (client, server) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let (ports, addresses) =
        if from_client { ([5_000_u16, 80], [client, server]) } else { ([80, 5_000], [server, client]) };
    out.extend(addresses.concat());
    out.extend(ports.into_iter().flat_map(u16::to_be_bytes));
    out.extend_from_slice(&numbers.0.to_be_bytes());
    out.extend_from_slice(&numbers.1.to_be_bytes());
    out.extend_from_slice(&[0x50, control, 0xff, 0xff, 0, 0, 0, 0]);
    out.extend_from_slice(payload);
    out
}

/// The frames of a handshake, a request and the head of its response; then those of the body, acknowledged as
/// they come.
fn conversation(media_type: &str) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let request = b"GET /large HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let length = SEGMENTS * SEGMENT + 1;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n\r\n");
    let asked = 101 + request.len() as u32;
    let opening = vec![
        frame(true, (100, 0), SYN, b""),
        frame(false, (900, 101), SYN | 0x10, b""),
        frame(true, (101, 901), PSH_ACK, request),
        frame(false, (901, asked), PSH_ACK, head.as_bytes()),
    ];
    let mut at = 901 + head.len() as u32;
    let mut body = Vec::new();
    for _ in 0..SEGMENTS {
        body.push(frame(false, (at, asked), 0x10, &[b'x'; SEGMENT]));
        at += SEGMENT as u32;
        body.push(frame(true, (asked, at), 0x10, b""));
    }
    (opening, body)
}

fn options(bodies: BodyPolicy) -> ShardOptions {
    ShardOptions { bodies, ..ShardOptions::default() }
}

fn as_frame(number: usize, data: &[u8]) -> Frame<'_> {
    Frame { time_ns: number as i64 * 10_000, link: LinkType::ETHERNET, data, original_len: data.len() as u32 }
}

/// Allocations while the packets of a body go through a shard.
fn allocations(media_type: &str, bodies: BodyPolicy) -> u64 {
    let (opening, body) = conversation(media_type);
    let mut shard = Shard::new(&options(bodies), Arc::new(Ids::default()), Budget::new(1 << 30));
    let mut records: Vec<Record> = Vec::new();
    for (number, data) in opening.iter().enumerate() {
        shard.frame(&as_frame(number, data), &mut records);
    }
    let before = count();
    for (number, data) in body.iter().enumerate() {
        shard.frame(&as_frame(number, data), &mut records);
    }
    let allocated = count() - before;
    shard.finish(&mut records);
    let Some(Record::Exchange(exchange)) = records.first() else { panic!("one exchange") };
    assert_eq!(exchange.response_body.size as usize, SEGMENTS * SEGMENT, "every packet was taken");
    allocated
}

#[test]
fn bodies_that_are_counted_or_hashed_cost_none() {
    assert_eq!(allocations("text/plain", BodyPolicy::None), 0);
    assert_eq!(allocations("image/png", BodyPolicy::MediaOff), 0);
}

#[test]
fn bodies_that_are_stored_cost_their_doublings() {
    let allocated = allocations("text/plain", BodyPolicy::All);
    assert!(allocated <= 16, "{allocated} allocations for {SEGMENTS} segments");
}

#[test]
fn reading_and_sorting_cost_none_once_buffers_are_there() {
    let (opening, body) = conversation("text/plain");
    let mut file = [&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0][..], &[0; 12], &[1, 0, 0, 0]].concat();
    for (number, data) in opening.iter().chain(&body).enumerate() {
        for word in [1, number as u32, data.len() as u32, data.len() as u32] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        file.extend_from_slice(data);
    }
    let mut sorted = Sorted::default();
    let mut dispatcher = Dispatcher::new(&options(BodyPolicy::None), 2);
    let mut allocated = [0; 3];
    for pass in &mut allocated {
        let mut reader = CaptureReader::new(&file[..]).expect("opens");
        let before = count();
        while reader.next_block(&mut sorted.block).expect("reads") {
            dispatcher.sort(&mut sorted);
        }
        *pass = count() - before;
    }
    // The reader is new each time: its own small buffer is all there is.
    assert!(allocated[2] <= 4, "{allocated:?} allocations for {} packets", 2 * SEGMENTS);
}

//! HTTP/2 on one connection of the generator, by hand: of an answer only its status, size and end matter. We allow the
//! server no dynamic table (SETTINGS_HEADER_TABLE_SIZE 0), so that a header block can be read by itself.

use std::collections::{HashMap, VecDeque};

use super::{Done, Failure, Sent};
use crate::plan::Prepared;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADER: usize = 9;
const MOST_FRAME: usize = 16_384;
const WINDOW: u32 = 0x7fff_ffff;
/// What was received is given back once it is so much.
const GIVE_BACK: u64 = 64 << 20;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;

struct Stream {
    sent: Sent,
    first: Option<u64>,
    status: Option<u16>,
    size: u64,
    hasher: Option<Box<blake3::Hasher>>,
    /// Of a body, what is still to be sent: offset.
    body_at: usize,
    window: i64,
}

/// The state of a connection.
pub(super) struct Http2 {
    streams: HashMap<u32, Stream, rustc_hash::FxBuildHasher>,
    next: u32,
    pending: Vec<u8>,
    /// A header block whose end has not come: stream, flags, bytes.
    block: Option<(u32, u8, Vec<u8>)>,
    blocked: VecDeque<u32>,
    window: i64,
    initial_window: i64,
    received: u64,
    most_streams: usize,
    hashes: bool,
    /// The server takes no more streams.
    pub(super) closing: bool,
}

fn frame(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    out.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

impl Http2 {
    /// A new connection; its preface goes into `out`.
    pub(super) fn new(out: &mut Vec<u8>, hashes: bool) -> Self {
        out.extend_from_slice(PREFACE);
        frame(out, 18, SETTINGS, 0, 0);
        for (setting, value) in [(1_u16, 0_u32), (2, 0), (4, WINDOW)] {
            out.extend_from_slice(&setting.to_be_bytes());
            out.extend_from_slice(&value.to_be_bytes());
        }
        frame(out, 4, WINDOW_UPDATE, 0, 0);
        out.extend_from_slice(&(WINDOW - 65_535).to_be_bytes());
        Self {
            streams: HashMap::default(),
            next: 1,
            pending: Vec::new(),
            block: None,
            blocked: VecDeque::new(),
            window: 65_535,
            initial_window: 65_535,
            received: 0,
            most_streams: 100,
            hashes,
            closing: false,
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.streams.len()
    }

    pub(super) fn has_room(&self) -> bool {
        !self.closing && self.streams.len() < self.most_streams && self.next < 0x7fff_fff0
    }

    pub(super) fn oldest(&self) -> Option<u64> {
        self.streams.values().map(|stream| stream.sent.sent).min()
    }

    pub(super) fn send(&mut self, out: &mut Vec<u8>, request: &Prepared, id: Option<&[u8]>, sent: Sent) {
        let number = self.next;
        self.next += 2;
        let flags = END_HEADERS | if request.body.is_empty() { END_STREAM } else { 0 };
        frame(out, request.bytes.len(), HEADERS, flags, number);
        let start = out.len();
        out.extend_from_slice(&request.bytes);
        if let (Some(at), Some(id)) = (request.id_at, id) {
            out[start + at..start + at + id.len()].copy_from_slice(id);
        }
        let stream = Stream {
            sent,
            first: None,
            status: None,
            size: 0,
            hasher: self.hashes.then(Box::default),
            body_at: 0,
            window: self.initial_window,
        };
        self.streams.insert(number, stream);
        if !request.body.is_empty() {
            self.send_body(out, number, request);
        }
    }

    /// Sends of a body what the windows allow.
    fn send_body(&mut self, out: &mut Vec<u8>, number: u32, request: &Prepared) {
        let Some(stream) = self.streams.get_mut(&number) else { return };
        let body = &request.body;
        while stream.body_at < body.len() {
            let room = self.window.min(stream.window).clamp(0, MOST_FRAME as i64) as usize;
            let count = room.min(body.len() - stream.body_at);
            if count == 0 {
                self.blocked.push_back(number);
                return;
            }
            let end = stream.body_at + count;
            frame(out, count, DATA, if end == body.len() { END_STREAM } else { 0 }, number);
            out.extend_from_slice(&body[stream.body_at..end]);
            stream.body_at = end;
            stream.window -= count as i64;
            self.window -= count as i64;
        }
    }

    fn unblock(&mut self, out: &mut Vec<u8>, requests: &[Prepared]) {
        for _ in 0..self.blocked.len() {
            let Some(number) = self.blocked.pop_front() else { return };
            if let Some(stream) = self.streams.get(&number) {
                let request = &requests[stream.sent.request as usize];
                self.send_body(out, number, request);
            }
        }
    }

    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        now: u64,
        requests: &[Prepared],
        out: &mut Vec<u8>,
        done: &mut Vec<Done>,
    ) -> Result<(), Failure> {
        if self.pending.is_empty() {
            let used = self.consume(bytes, now, requests, out, done)?;
            self.pending.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut all = std::mem::take(&mut self.pending);
        all.extend_from_slice(bytes);
        let used = self.consume(&all, now, requests, out, done)?;
        all.drain(..used);
        self.pending = all;
        Ok(())
    }

    fn consume(
        &mut self,
        bytes: &[u8],
        now: u64,
        requests: &[Prepared],
        out: &mut Vec<u8>,
        done: &mut Vec<Done>,
    ) -> Result<usize, Failure> {
        let mut at = 0;
        while let Some(head) = bytes.get(at..at + HEADER) {
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            if length > MOST_FRAME {
                return Err(Failure::Protocol);
            }
            let Some(payload) = bytes.get(at + HEADER..at + HEADER + length) else { break };
            let number = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
            let (kind, flags) = (head[3], head[4]);
            at += HEADER + length;
            match kind {
                DATA => self.data(number, flags, payload, now, out, done)?,
                HEADERS => {
                    let mut payload = unpadded(payload, flags)?;
                    if flags & PRIORITY != 0 {
                        payload = payload.get(5..).ok_or(Failure::Protocol)?;
                    }
                    if flags & END_HEADERS == 0 {
                        self.block = Some((number, flags, payload.to_vec()));
                    } else {
                        self.headers(number, flags, payload, now, done)?;
                    }
                }
                CONTINUATION => {
                    let (of, first, mut block) = self.block.take().ok_or(Failure::Protocol)?;
                    block.extend_from_slice(payload);
                    if of != number || block.len() > 4 * MOST_FRAME {
                        return Err(Failure::Protocol);
                    }
                    if flags & END_HEADERS == 0 {
                        self.block = Some((of, first, block));
                    } else {
                        self.headers(number, first, &block, now, done)?;
                    }
                }
                RST_STREAM => self.finish(number, now, Some(Failure::Reset), done),
                SETTINGS if flags & ACK == 0 => {
                    self.settings(payload);
                    frame(out, 0, SETTINGS, ACK, 0);
                    self.unblock(out, requests);
                }
                PING if flags & ACK == 0 => {
                    frame(out, payload.len(), PING, ACK, 0);
                    out.extend_from_slice(payload);
                }
                GOAWAY => self.closing = true,
                WINDOW_UPDATE => {
                    let update = payload.first_chunk().map(|update| u32::from_be_bytes(*update) & WINDOW);
                    let update = i64::from(update.ok_or(Failure::Protocol)?);
                    if number == 0 {
                        self.window += update;
                    } else if let Some(stream) = self.streams.get_mut(&number) {
                        stream.window += update;
                    }
                    self.unblock(out, requests);
                }
                _ => {}
            }
        }
        Ok(at)
    }

    fn settings(&mut self, payload: &[u8]) {
        for setting in payload.chunks_exact(6) {
            let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
            match u16::from_be_bytes([setting[0], setting[1]]) {
                3 => self.most_streams = value as usize,
                4 => {
                    let change = i64::from(value) - self.initial_window;
                    self.initial_window += change;
                    self.streams.values_mut().for_each(|stream| stream.window += change);
                }
                _ => {}
            }
        }
    }

    fn headers(&mut self, number: u32, flags: u8, block: &[u8], now: u64, done: &mut Vec<Done>) -> Result<(), Failure> {
        let Some(stream) = self.streams.get_mut(&number) else { return Ok(()) };
        // A second block is the trailer section.
        if stream.status.is_none() {
            let status = status(block).ok_or(Failure::Protocol)?;
            if status >= 200 {
                stream.status = Some(status);
                stream.first = Some(now);
            }
        }
        if flags & END_STREAM != 0 {
            self.finish(number, now, None, done);
        }
        Ok(())
    }

    fn data(
        &mut self,
        number: u32,
        flags: u8,
        payload: &[u8],
        now: u64,
        out: &mut Vec<u8>,
        done: &mut Vec<Done>,
    ) -> Result<(), Failure> {
        self.received += payload.len() as u64;
        if self.received > GIVE_BACK {
            frame(out, 4, WINDOW_UPDATE, 0, 0);
            out.extend_from_slice(&(self.received as u32).to_be_bytes());
            self.received = 0;
        }
        let data = unpadded(payload, flags)?;
        if let Some(stream) = self.streams.get_mut(&number) {
            stream.size += data.len() as u64;
            if let Some(hasher) = &mut stream.hasher {
                hasher.update(data);
            }
        }
        if flags & END_STREAM != 0 {
            self.finish(number, now, None, done);
        }
        Ok(())
    }

    fn finish(&mut self, number: u32, now: u64, failure: Option<Failure>, done: &mut Vec<Done>) {
        let Some(stream) = self.streams.remove(&number) else { return };
        let failure = failure.or(if stream.status.is_none() { Some(Failure::Protocol) } else { None });
        let hashed = stream.hasher.filter(|_| stream.size > 0 && failure.is_none());
        done.push(Done {
            sent: stream.sent,
            first: stream.first,
            ended: now,
            status: stream.status,
            size: stream.size,
            hash: hashed.map(|hasher| *hasher.finalize().as_bytes()),
            failure,
        });
    }

    /// The connection has ended: what was under way ends with it.
    pub(super) fn end(&mut self, now: u64, failure: Failure, done: &mut Vec<Done>) {
        let numbers: Vec<u32> = self.streams.keys().copied().collect();
        for number in numbers {
            self.finish(number, now, Some(failure), done);
        }
    }
}

/// The payload without its padding.
fn unpadded(payload: &[u8], flags: u8) -> Result<&[u8], Failure> {
    if flags & PADDED == 0 {
        return Ok(payload);
    }
    let (padding, rest) = payload.split_first().ok_or(Failure::Protocol)?;
    let end = rest.len().checked_sub(usize::from(*padding)).ok_or(Failure::Protocol)?;
    Ok(&rest[..end])
}

/// The status in a header block that uses no dynamic table. Pseudo-header fields come first (RFC 9113 §8.3).
fn status(block: &[u8]) -> Option<u16> {
    let mut at = 0;
    while let Some(first) = block.get(at).copied() {
        if first & 0x80 != 0 {
            let index = integer(block, &mut at, 7)?;
            return [200, 204, 206, 304, 400, 404, 500].get(index.checked_sub(8)?).copied();
        }
        if first & 0xe0 == 0x20 {
            integer(block, &mut at, 5)?;
            continue;
        }
        let index = integer(block, &mut at, if first & 0x40 != 0 { 6 } else { 4 })?;
        if index == 0 {
            let (_, name) = string(block, &mut at)?;
            // Written out, or in Huffman's code.
            if name != b":status" && name != [0xb8, 0x84, 0x8d, 0x36, 0xa3] {
                return None;
            }
        } else if !(8..=14).contains(&index) {
            return None;
        }
        let (is_coded, value) = string(block, &mut at)?;
        return if is_coded { huffman_digits(value) } else { std::str::from_utf8(value).ok()?.parse().ok() };
    }
    None
}

fn integer(block: &[u8], at: &mut usize, bits: u32) -> Option<usize> {
    let most = (1_usize << bits) - 1;
    let mut value = usize::from(*block.get(*at)?) & most;
    *at += 1;
    if value < most {
        return Some(value);
    }
    for shift in [0, 7, 14, 21] {
        let byte = *block.get(*at)?;
        *at += 1;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn string<'a>(block: &'a [u8], at: &mut usize) -> Option<(bool, &'a [u8])> {
    let is_coded = block.get(*at)? & 0x80 != 0;
    let length = integer(block, at, 7)?;
    let value = block.get(*at..*at + length)?;
    *at += length;
    Some((is_coded, value))
}

/// Three digits in Huffman's code (RFC 7541, appendix B): five bits for 0 to 2, six for the others.
fn huffman_digits(value: &[u8]) -> Option<u16> {
    let bits =
        value.iter().take(3).fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - value.len().min(3)));
    let (mut left, mut number) = (24_u32, 0);
    for _ in 0..3 {
        let five = bits >> (left - 5) & 0x1f;
        let digit = if five < 3 {
            left -= 5;
            five
        } else {
            let six = bits >> (left - 6) & 0x3f;
            left -= 6;
            six.checked_sub(0x19).filter(|above| *above < 7)? + 3
        };
        number = number * 10 + digit as u16;
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Plan, Template, Way};

    #[test]
    fn statuses() {
        assert_eq!(status(&[0x88]), Some(200));
        assert_eq!(status(&[0x20, 0x8d]), Some(404));
        assert_eq!(status(&[0x48, 3, b'5', b'0', b'3']), Some(503));
        assert_eq!(status(&[0x08, 3, b'4', b'1', b'8', 0x88]), Some(418));
        // 302 in Huffman's code, as in RFC 7541 C.6.1.
        assert_eq!(status(&[0x48, 0x82, 0x64, 0x02]), Some(302));
        assert_eq!(status(&[0x48, 0x83, 0x64, 0x0e, 0xff]), Some(307));
        assert_eq!(status(&[0xff, 0x80, 0x80, 0x80, 0x80]), None);
        assert_eq!(status(&[]), None);
    }

    #[test]
    fn streams_end_in_any_order_and_bodies_wait_for_room() {
        let mut post = Template::get("http://127.0.0.1/");
        post.method = "POST".into();
        post.body = vec![7; 100_000].into();
        let way = Way { http2: true, ..Way::default() };
        let plan = Plan::build(&[Template::get("http://127.0.0.1/"), post], &way).expect("a plan");
        let (mut out, mut done) = (Vec::new(), Vec::new());
        let mut http = Http2::new(&mut out, true);
        for request in [0, 0, 1] {
            let sent = Sent { request, id: 0, intended: 0, sent: 0 };
            http.send(&mut out, &plan.requests[request as usize], None, sent);
        }
        assert!(out.len() < 66_000, "not more than the window");
        out.clear();
        let mut input = Vec::new();
        frame(&mut input, 0, SETTINGS, 0, 0);
        frame(&mut input, 1, HEADERS, END_HEADERS, 3);
        input.push(0x88);
        frame(&mut input, 1, HEADERS, END_HEADERS | END_STREAM, 1);
        input.push(0x89);
        frame(&mut input, 7, DATA, END_STREAM | PADDED, 3);
        input.extend_from_slice(b"\x01hello\0");
        for stream in [0, 5] {
            frame(&mut input, 4, WINDOW_UPDATE, 0, stream);
            input.extend_from_slice(&100_000_u32.to_be_bytes());
        }
        for piece in input.chunks(5) {
            http.feed(piece, 9, &plan.requests, &mut out, &mut done).expect("frames");
        }
        let told: Vec<_> = done.iter().map(|done| (done.status, done.size)).collect();
        assert_eq!(told, [(Some(204), 0), (Some(200), 5)]);
        assert_eq!(done[1].hash, Some(*blake3::hash(b"hello").as_bytes()));
        assert!(out.len() > 34_000, "the rest of the body went out");
        http.end(10, Failure::Closed, &mut done);
        assert_eq!(done[2].failure, Some(Failure::Closed));
    }
}

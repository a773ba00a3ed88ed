//! WebSocket messages (RFC 6455), read passively from bytes that pass through a tunnel.
//!
//! In: the bytes of both directions as they passed, split anywhere. Out: one [`Message`] each,
//! unmasked, fragments joined, inflated where permessage-deflate (RFC 7692) compressed them. Bounded:
//! payloads past the limit are counted, not kept. What is not WebSocket ends the reading, not the
//! traffic.

use std::rc::Rc;

use bytes::{Buf, Bytes, BytesMut};
use flate2::{Decompress, FlushDecompress, Status};
use weir_engine::record::{BodyState, Direction, Headers, Message, MessageKind, Record};

use crate::{client::Client, core::now_us, tee::charge, tunnel::Tap};

/// Header of a frame at most: 2 bytes, 8 of length, 4 of mask.
const HEADER: usize = 14;

/// A finished message, without what only the connection knows.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    /// What kind it is.
    pub kind: MessageKind,
    /// Payload bytes on the wire.
    pub size: u64,
    /// Payload as the application sees it.
    pub payload: Bytes,
    /// Whether only a prefix is kept.
    pub truncated: bool,
    /// Whether it was compressed.
    pub compressed: bool,
}

#[derive(Debug)]
struct Frame {
    fin: bool,
    control: bool,
    left: u64,
    mask: Option<[u8; 4]>,
    position: usize,
}

#[derive(Debug)]
struct Gathered {
    kind: MessageKind,
    size: u64,
    payload: BytesMut,
    truncated: bool,
    compressed: bool,
}

impl Gathered {
    fn new(kind: MessageKind, compressed: bool) -> Self {
        Self { kind, size: 0, payload: BytesMut::new(), truncated: false, compressed }
    }

    fn add(&mut self, bytes: &[u8], limit: usize) {
        self.size += bytes.len() as u64;
        let room = limit.saturating_sub(self.payload.len()).min(bytes.len());
        self.payload.extend_from_slice(&bytes[..room]);
        self.truncated |= room < bytes.len();
    }
}

/// Reads the frames of one direction.
#[derive(Debug)]
pub struct Frames {
    header: BytesMut,
    frame: Option<Frame>,
    data: Option<Gathered>,
    control: Option<Gathered>,
    inflater: Option<Inflater>,
    limit: usize,
    broken: bool,
}

impl Frames {
    /// Keeps at most `limit` payload bytes of a message; `deflate`: permessage-deflate was agreed, `Some(true)`:
    /// with context takeover.
    #[must_use]
    pub fn new(limit: usize, deflate: Option<bool>) -> Self {
        let inflater = deflate.map(Inflater::new);
        Self { header: BytesMut::new(), frame: None, data: None, control: None, inflater, limit, broken: false }
    }

    /// Takes bytes; `seen` gets each message as it ends.
    pub fn feed(&mut self, mut bytes: &[u8], mut seen: impl FnMut(Seen)) {
        while !bytes.is_empty() && !self.broken {
            if self.frame.is_none() {
                self.header(&mut bytes);
            } else {
                self.payload(&mut bytes);
            }
            if self.frame.as_ref().is_some_and(|frame| frame.left == 0) {
                self.frame_ended(&mut seen);
            }
        }
    }

    fn header(&mut self, bytes: &mut &[u8]) {
        while self.header.len() < HEADER && !bytes.is_empty() {
            self.header.extend_from_slice(&bytes[..1]);
            bytes.advance(1);
            let header = &self.header[..];
            let &[first, second, ..] = header else { continue };
            let (extra, masked) = (second & 0x7f, second & 0x80 != 0);
            let length_bytes = match extra {
                126 => 2,
                127 => 8,
                _ => 0,
            };
            if header.len() < 2 + length_bytes + if masked { 4 } else { 0 } {
                continue;
            }
            let left = match length_bytes {
                0 => u64::from(extra),
                count => header[2..2 + count].iter().fold(0, |length, &byte| length << 8 | u64::from(byte)),
            };
            let mask = masked.then(|| {
                let at = 2 + length_bytes;
                [header[at], header[at + 1], header[at + 2], header[at + 3]]
            });
            self.begin(first, left, mask);
            self.header.clear();
            return;
        }
    }

    fn begin(&mut self, first: u8, left: u64, mask: Option<[u8; 4]>) {
        let fin = first & 0x80 != 0;
        let compressed = first & 0x40 != 0;
        let opcode = first & 0x0f;
        let control = opcode >= 8;
        let fits = match opcode {
            0 => self.data.is_some() && !compressed,
            1 | 2 => self.data.is_none() && (!compressed || self.inflater.is_some()),
            8..=10 => fin && left <= 125 && !compressed,
            _ => false,
        };
        if !fits || first & 0x30 != 0 || left > i64::MAX as u64 {
            self.broken = true;
            return;
        }
        match opcode {
            1 => self.data = Some(Gathered::new(MessageKind::Text, compressed)),
            2 => self.data = Some(Gathered::new(MessageKind::Binary, compressed)),
            8 => self.control = Some(Gathered::new(MessageKind::Close, false)),
            9 => self.control = Some(Gathered::new(MessageKind::Ping, false)),
            10 => self.control = Some(Gathered::new(MessageKind::Pong, false)),
            _ => {}
        }
        self.frame = Some(Frame { fin, control, left, mask, position: 0 });
    }

    fn payload(&mut self, bytes: &mut &[u8]) {
        let Some(frame) = &mut self.frame else { return };
        let take = usize::try_from(frame.left).unwrap_or(usize::MAX).min(bytes.len());
        let mut piece = [0; 4096];
        let mut rest = &bytes[..take];
        while !rest.is_empty() {
            let count = rest.len().min(piece.len());
            let piece = &mut piece[..count];
            piece.copy_from_slice(&rest[..count]);
            rest = &rest[count..];
            if let Some(mask) = frame.mask {
                for byte in piece.iter_mut() {
                    *byte ^= mask[frame.position & 3];
                    frame.position += 1;
                }
            }
            let Some(message) = (if frame.control { &mut self.control } else { &mut self.data }) else { continue };
            match &mut self.inflater {
                Some(inflater) if message.compressed => {
                    message.size += count as u64;
                    if !inflater.inflate(piece, self.limit, message) {
                        self.broken = true;
                        return;
                    }
                }
                _ => message.add(piece, self.limit),
            }
        }
        frame.left -= take as u64;
        bytes.advance(take);
    }

    fn frame_ended(&mut self, seen: &mut impl FnMut(Seen)) {
        let Some(frame) = self.frame.take() else { return };
        let ended = if frame.control {
            self.control.take()
        } else if frame.fin {
            self.data.take()
        } else {
            None
        };
        let Some(mut message) = ended else { return };
        if message.compressed
            && let Some(inflater) = &mut self.inflater
        {
            // The tail that the sender left out (RFC 7692 §7.2.2).
            if !inflater.inflate(&[0, 0, 0xff, 0xff], self.limit, &mut message) {
                self.broken = true;
                return;
            }
            inflater.message_ended();
        }
        seen(Seen {
            kind: message.kind,
            size: message.size,
            payload: message.payload.freeze(),
            truncated: message.truncated,
            compressed: message.compressed,
        });
    }
}

#[derive(Debug)]
struct Inflater {
    state: Decompress,
    takeover: bool,
}

impl Inflater {
    fn new(takeover: bool) -> Self {
        Self { state: Decompress::new(false), takeover }
    }

    /// Inflates a piece; what is past the limit is inflated for the context only.
    fn inflate(&mut self, mut input: &[u8], limit: usize, message: &mut Gathered) -> bool {
        let mut out = [0; 8192];
        loop {
            let (read, written) = (self.state.total_in(), self.state.total_out());
            let Ok(status) = self.state.decompress(input, &mut out, FlushDecompress::Sync) else { return false };
            let consumed = usize::try_from(self.state.total_in() - read).unwrap_or(0);
            let produced = usize::try_from(self.state.total_out() - written).unwrap_or(0);
            let size = message.size;
            message.add(&out[..produced], limit);
            message.size = size;
            input = &input[consumed..];
            if status == Status::StreamEnd {
                self.state.reset(false);
            }
            if (input.is_empty() && produced < out.len()) || (consumed == 0 && produced == 0) {
                return true;
            }
        }
    }

    fn message_ended(&mut self) {
        if !self.takeover {
            self.state.reset(false);
        }
    }
}

/// Records the messages of one WebSocket.
#[derive(Debug)]
pub struct WebSocketTap {
    client: Rc<Client>,
    exchange: u64,
    sent: Frames,
    received: Frames,
}

/// A tap, when the connection became a WebSocket.
#[must_use]
pub fn tap(client: &Rc<Client>, exchange: u64, request: &Headers, response: &Headers) -> Option<WebSocketTap> {
    let is_websocket =
        request.get("upgrade").is_some_and(|value| value.trim_ascii().eq_ignore_ascii_case(b"websocket"));
    is_websocket.then(|| over_stream(client, exchange, response))
}

/// A tap for a stream that became a WebSocket by extended CONNECT (RFC 8441).
#[must_use]
pub fn over_stream(client: &Rc<Client>, exchange: u64, response: &Headers) -> WebSocketTap {
    let extensions: Vec<u8> = response.get_all("sec-websocket-extensions").collect::<Vec<_>>().join(&b","[..]);
    let (sent, received) = deflate(&extensions);
    let limit = client.core.config().limits.stored_message_bytes;
    WebSocketTap {
        client: Rc::clone(client),
        exchange,
        sent: Frames::new(limit, sent),
        received: Frames::new(limit, received),
    }
}

/// Whether permessage-deflate was agreed, and context takeover with it: from the client, from the server.
fn deflate(extensions: &[u8]) -> (Option<bool>, Option<bool>) {
    let text = String::from_utf8_lossy(extensions).to_ascii_lowercase();
    let Some(agreed) = text.split(',').find(|extension| extension.trim().starts_with("permessage-deflate")) else {
        return (None, None);
    };
    let has = |name: &str| agreed.split(';').any(|parameter| parameter.trim() == name);
    (Some(!has("client_no_context_takeover")), Some(!has("server_no_context_takeover")))
}

impl Tap for WebSocketTap {
    fn pass(&mut self, direction: Direction, bytes: &Bytes) {
        let frames = match direction {
            Direction::Sent => &mut self.sent,
            Direction::Received => &mut self.received,
        };
        let (client, exchange) = (&self.client, self.exchange);
        let keep = &client.core.config().keep;
        let policy_keeps =
            keep.bodies() != crate::config::BodyPolicy::None && (keep.responses() || direction == Direction::Sent);
        frames.feed(bytes, |seen| {
            let mut reservation = None;
            let fits = policy_keeps && charge(&client.core.shared.budget, &mut reservation, seen.payload.len());
            let state = match (policy_keeps, fits, seen.truncated) {
                _ if seen.size == 0 => BodyState::None,
                (false, ..) => BodyState::SkippedPolicy,
                (true, false, _) | (true, true, true) => BodyState::Truncated,
                (true, true, false) => BodyState::Stored,
            };
            client.core.record_later(Record::Message(Box::new(Message {
                client: Some(client.address),
                device: client.device(),
                exchange,
                connection: client.id,
                at_us: now_us(),
                direction,
                kind: seen.kind,
                size: seen.size,
                state,
                payload: if fits { seen.payload } else { Bytes::new() },
                compressed: seen.compressed,
                reservation,
            })));
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        let masked = if mask.is_some() { 0x80 } else { 0 };
        match payload.len() {
            len @ 0..126 => bytes.push(masked | len as u8),
            len => {
                bytes.push(masked | 126);
                bytes.extend_from_slice(&(len as u16).to_be_bytes());
            }
        }
        bytes.extend(mask.iter().flatten());
        bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask.map_or(0, |mask| mask[at & 3])));
        bytes
    }

    fn read(frames: &mut Frames, bytes: &[u8]) -> Vec<Seen> {
        let mut all = Vec::new();
        frames.feed(bytes, |seen| all.push(seen));
        all
    }

    fn deflated(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(payload.len() + 64);
        let mut state = flate2::Compress::new(flate2::Compression::default(), false);
        state.compress_vec(payload, &mut out, flate2::FlushCompress::Sync).expect("compresses");
        out.truncate(out.len() - 4);
        out
    }

    #[test]
    fn fragments_controls_and_masks() {
        let mut bytes = frame(0x01, Some([1, 2, 3, 4]), b"Hel");
        bytes.extend(frame(0x89, Some([9, 9, 9, 9]), b"ping"));
        bytes.extend(frame(0x80, Some([5, 6, 7, 8]), b"lo"));
        bytes.extend(frame(0x82, None, &[7; 300]));
        let seen = read(&mut Frames::new(100, None), &bytes);
        let short: Vec<_> =
            seen.iter().map(|seen| (seen.kind, seen.size, seen.payload.len(), seen.truncated)).collect();
        assert_eq!(
            short,
            [(MessageKind::Ping, 4, 4, false), (MessageKind::Text, 5, 5, false), (MessageKind::Binary, 300, 100, true),]
        );
        assert_eq!(&seen[1].payload[..], b"Hello");
    }

    #[test]
    fn compressed_messages() {
        let wire = deflated(b"hello hello hello");
        let mut frames = Frames::new(1000, Some(false));
        for _ in 0..2 {
            let seen = read(&mut frames, &frame(0xc1, None, &wire));
            assert_eq!(&seen[0].payload[..], b"hello hello hello");
            assert_eq!((seen[0].size, seen[0].compressed), (wire.len() as u64, true));
        }
        let bomb = deflated(&vec![0; 50_000]);
        let seen = read(&mut Frames::new(1000, Some(true)), &frame(0xc2, None, &bomb));
        assert_eq!((seen[0].payload.len(), seen[0].truncated), (1000, true));
        assert_eq!(deflate(b"permessage-deflate; client_no_context_takeover"), (Some(false), Some(true)));
    }

    #[test]
    fn nonsense_ends_the_reading() {
        for bad in [&[0x83, 0][..], &[0x80, 0], &[0x09, 0], &[0xf1, 0], &[0xc1, 0]] {
            let mut frames = Frames::new(10, None);
            assert!(read(&mut frames, bad).is_empty());
            assert!(frames.broken, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn splits_do_not_matter(cut in 0_usize..330, other in 0_usize..330) {
            let mut bytes = frame(0x01, Some([1, 2, 3, 4]), b"Hel");
            bytes.extend(frame(0x80, Some([5, 6, 7, 8]), b"lo"));
            bytes.extend(frame(0x82, None, &[7; 300]));
            let (a, b) = (cut.min(other).min(bytes.len()), cut.max(other).min(bytes.len()));
            let mut frames = Frames::new(1000, None);
            let mut seen = read(&mut frames, &bytes[..a]);
            seen.extend(read(&mut frames, &bytes[a..b]));
            seen.extend(read(&mut frames, &bytes[b..]));
            prop_assert_eq!(seen, read(&mut Frames::new(1000, None), &bytes));
        }

        #[test]
        fn anything_is_taken_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&mut Frames::new(64, Some(true)), &bytes);
        }
    }
}

//! WebSocket (RFC 6455): frames to messages, with permessage-deflate (RFC 7692).
//!
//! In: bytes of one direction behind the handshake. Out: messages. A gap inside a payload is bridged by
//! its length; elsewhere the rest of the direction is lost.

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};

use crate::record::{BodyState, MessageKind};

/// Bytes of one message kept at most, on the wire and inflated.
const MAX_MESSAGE: usize = 16 << 20;
/// Inflated bytes for one on the wire at most, beyond a floor.
const MAX_RATIO: usize = 1_100;

/// A whole message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WebSocketMessage {
    pub(crate) kind: MessageKind,
    pub(crate) size: u64,
    pub(crate) state: BodyState,
    pub(crate) payload: Bytes,
    pub(crate) compressed: bool,
}

/// One direction.
#[derive(Debug)]
pub(crate) struct WebSocket {
    header: Vec<u8>,
    frame: Option<Frame>,
    message: Option<Partial>,
    /// A control frame may stand between the fragments of a message.
    control: Option<Partial>,
    inflate: Option<Inflate>,
    lost: bool,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    left: u64,
    at: u64,
    mask: Option<[u8; 4]>,
    fin: bool,
    control: bool,
}

#[derive(Debug)]
struct Partial {
    kind: MessageKind,
    compressed: bool,
    bytes: Vec<u8>,
    size: u64,
    gap: bool,
}

#[derive(Debug)]
struct Inflate {
    decompress: Decompress,
    keep_context: bool,
    broken: bool,
}

impl WebSocket {
    /// `deflate`: whether permessage-deflate was agreed on, and whether this direction keeps its window.
    pub(crate) fn new(deflate: Option<bool>) -> Self {
        let inflate =
            deflate.map(|keep_context| Inflate { decompress: Decompress::new(false), keep_context, broken: false });
        Self { header: Vec::with_capacity(14), frame: None, message: None, control: None, inflate, lost: false }
    }

    /// Takes bytes; messages that became whole go to `sink`. `false`: this is not WebSocket, or the way was lost.
    pub(crate) fn push(&mut self, mut bytes: &[u8], sink: &mut dyn FnMut(WebSocketMessage)) -> bool {
        while !self.lost {
            if let Some(frame) = &mut self.frame {
                let len = usize::try_from(frame.left).map_or(bytes.len(), |left| left.min(bytes.len()));
                let (payload, rest) = bytes.split_at(len);
                bytes = rest;
                let (at, mask, control) = (frame.at, frame.mask, frame.control);
                frame.at += len as u64;
                frame.left -= len as u64;
                let done = frame.left == 0;
                if let Some(partial) = if control { &mut self.control } else { &mut self.message } {
                    partial.push(payload, mask, at);
                }
                if !done {
                    break;
                }
                self.end_frame(sink);
            } else {
                let Some((&byte, rest)) = bytes.split_first() else { break };
                self.header.push(byte);
                bytes = rest;
                self.begin_frame();
                if self.frame.is_some_and(|frame| frame.left == 0) {
                    self.end_frame(sink);
                }
            }
        }
        !self.lost
    }

    fn begin_frame(&mut self) {
        let [first, second, rest @ ..] = &*self.header else { return };
        let (length_len, masked) = (
            match second & 0x7f {
                126 => 2,
                127 => 8,
                _ => 0,
            },
            second & 0x80 != 0,
        );
        if rest.len() < length_len + if masked { 4 } else { 0 } {
            return;
        }
        let extended = rest[..length_len].iter().fold(0_u64, |length, byte| length << 8 | u64::from(*byte));
        let left = if length_len == 0 { u64::from(second & 0x7f) } else { extended };
        let mask = rest[length_len..].first_chunk().copied().filter(|_| masked);
        let (fin, opcode, reserved) = (first & 0x80 != 0, first & 0x0f, first & 0x70);
        let kind = match opcode {
            0 => None,
            1 => Some(MessageKind::Text),
            2 => Some(MessageKind::Binary),
            8 => Some(MessageKind::Close),
            9 => Some(MessageKind::Ping),
            10 => Some(MessageKind::Pong),
            _ => return self.lost = true,
        };
        let control = opcode >= 8;
        let compressed = reserved == 0x40;
        let sensible = match kind {
            None => self.message.is_some() && reserved == 0,
            Some(_) if control => left <= 125 && fin && reserved == 0,
            Some(_) => self.message.is_none() && (reserved == 0 || compressed && self.inflate.is_some()),
        };
        if !sensible || left >> 63 != 0 {
            return self.lost = true;
        }
        if let Some(kind) = kind {
            let partial = Some(Partial { kind, compressed, bytes: Vec::new(), size: 0, gap: false });
            *(if control { &mut self.control } else { &mut self.message }) = partial;
        }
        self.frame = Some(Frame { left, at: 0, mask, fin, control });
        self.header.clear();
    }

    fn end_frame(&mut self, sink: &mut dyn FnMut(WebSocketMessage)) {
        let Some(frame) = self.frame.take() else { return };
        if !frame.fin {
            return;
        }
        let partial = if frame.control { self.control.take() } else { self.message.take() };
        if let Some(partial) = partial {
            sink(self.finish(partial));
        }
    }

    fn finish(&mut self, partial: Partial) -> WebSocketMessage {
        let Partial { kind, compressed, bytes, size, gap } = partial;
        let mut state = if gap {
            BodyState::Gap
        } else if (bytes.len() as u64) < size {
            BodyState::Truncated
        } else if size == 0 {
            BodyState::None
        } else {
            BodyState::Stored
        };
        let mut payload = bytes;
        if let (true, Some(inflate)) = (compressed, &mut self.inflate) {
            if state != BodyState::Stored {
                // The window is lost with the bytes.
                inflate.broken |= inflate.keep_context;
            } else if let Some((inflated, whole)) = inflate.message(&payload) {
                payload = inflated;
                if !whole {
                    state = BodyState::Truncated;
                }
            } else {
                state = BodyState::Truncated;
                payload.clear();
            }
        }
        WebSocketMessage { kind, size, state, payload: payload.into(), compressed }
    }

    /// Bytes are lost.
    pub(crate) fn gap(&mut self, len: u64, sink: &mut dyn FnMut(WebSocketMessage)) -> bool {
        match &mut self.frame {
            Some(frame) if len <= frame.left => {
                frame.left -= len;
                frame.at += len;
                let (control, done) = (frame.control, frame.left == 0);
                if let Some(partial) = if control { &mut self.control } else { &mut self.message } {
                    partial.gap = true;
                    partial.size += len;
                }
                if done {
                    self.end_frame(sink);
                }
            }
            _ => self.lost = true,
        }
        !self.lost
    }
}

impl Partial {
    fn push(&mut self, payload: &[u8], mask: Option<[u8; 4]>, at: u64) {
        self.size += payload.len() as u64;
        let room = MAX_MESSAGE.saturating_sub(self.bytes.len());
        let payload = &payload[..payload.len().min(room)];
        let begun = self.bytes.len();
        self.bytes.extend_from_slice(payload);
        if let Some(mask) = mask {
            for (index, byte) in self.bytes[begun..].iter_mut().enumerate() {
                *byte ^= mask[(at as usize + index) & 3];
            }
        }
    }
}

impl Inflate {
    /// The message inflated, and whether that is all of it; `None`: it cannot be inflated.
    fn message(&mut self, bytes: &[u8]) -> Option<(Vec<u8>, bool)> {
        if self.broken {
            return None;
        }
        let limit = (bytes.len() * MAX_RATIO).clamp(64 << 10, MAX_MESSAGE);
        let mut out = Vec::with_capacity((bytes.len() * 4).clamp(256, limit));
        // What the sender took off the end (RFC 7692 §7.2.2).
        for part in [bytes, &[0, 0, 0xff, 0xff]] {
            let begun = self.decompress.total_in();
            loop {
                let used = (self.decompress.total_in() - begun) as usize;
                if out.len() == out.capacity() {
                    if out.len() >= limit {
                        self.broken = true;
                        return Some((out, false));
                    }
                    out.reserve(out.len().min(limit - out.len()).max(64));
                }
                let before = out.len();
                let status = self.decompress.decompress_vec(&part[used..], &mut out, FlushDecompress::Sync);
                let moved = out.len() > before || (self.decompress.total_in() - begun) as usize > used;
                match status {
                    Ok(Status::StreamEnd) => break,
                    Ok(_)
                        if !moved
                            || out.len() < out.capacity()
                                && (self.decompress.total_in() - begun) as usize == part.len() =>
                    {
                        break;
                    }
                    Ok(_) => {}
                    Err(_) => {
                        self.broken = true;
                        return None;
                    }
                }
            }
        }
        if !self.keep_context {
            self.decompress.reset(false);
        }
        Some((out, true))
    }
}

/// What `Sec-WebSocket-Extensions` of a handshake's response agrees on: for client and server messages,
/// whether each direction keeps its window. `None`: no permessage-deflate.
pub(crate) fn agreed_deflate(extensions: &[u8]) -> Option<(bool, bool)> {
    let text = std::str::from_utf8(extensions).ok()?.to_ascii_lowercase();
    let agreed = text.split(',').find(|extension| extension.trim_start().starts_with("permessage-deflate"))?;
    Some((!agreed.contains("client_no_context_takeover"), !agreed.contains("server_no_context_takeover")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(socket: &mut WebSocket, parts: &[&[u8]]) -> Vec<WebSocketMessage> {
        let mut out = Vec::new();
        for part in parts {
            socket.push(part, &mut |message| out.push(message));
        }
        out
    }

    /// The examples of RFC 6455 §5.7.
    #[test]
    fn frames_masks_and_fragments() {
        let bytes: &[u8] = &[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        for parts in [&[bytes][..], &single] {
            let seen = messages(&mut WebSocket::new(None), parts);
            assert_eq!(&seen[0].payload[..], b"Hello");
        }
        let fragments: &[&[u8]] = &[&[0x01, 3, b'H', b'e', b'l'], &[0x89, 0], &[0x80, 2, b'l', b'o']];
        let seen = messages(&mut WebSocket::new(None), fragments);
        assert_eq!((seen[0].kind, seen[1].kind), (MessageKind::Ping, MessageKind::Text));
        assert_eq!(&seen[1].payload[..], b"Hello");
        assert!(!WebSocket::new(None).push(&[0x83, 0], &mut |_| {}));
    }

    /// The examples of RFC 7692 §7.2.3: the second message uses the window of the first.
    #[test]
    fn inflates_with_and_without_the_window() {
        let first: &[u8] = &[0xc1, 0x07, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        let again: &[u8] = &[0xc1, 0x05, 0xf2, 0x00, 0x11, 0x00, 0x00];
        let seen = messages(&mut WebSocket::new(Some(true)), &[first, again]);
        assert!(seen.iter().all(|message| &message.payload[..] == b"Hello" && message.compressed));
        let seen = messages(&mut WebSocket::new(Some(false)), &[first, first]);
        assert_eq!(&seen[1].payload[..], b"Hello");
        assert_eq!(agreed_deflate(b"x, permessage-deflate; server_no_context_takeover"), Some((true, false)));
    }

    #[test]
    fn bridges_gaps_in_payloads() {
        let mut socket = WebSocket::new(None);
        let mut seen = Vec::new();
        socket.push(&[0x82, 6, 1, 2], &mut |message| seen.push(message));
        assert!(socket.gap(3, &mut |message| seen.push(message)));
        socket.push(&[9, 0x81, 1, b'x'], &mut |message| seen.push(message));
        assert_eq!((seen[0].state, seen[0].size, &seen[1].payload[..]), (BodyState::Gap, 6, &b"x"[..]));
        assert!(!socket.gap(1, &mut |_| {}));
    }
}

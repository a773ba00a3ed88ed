//! Events of a `text/event-stream` (HTML standard, §9.2.6, "Interpreting an event stream").
//!
//! In: bytes of the stream. Out: one message for each event a browser would dispatch: a block of lines,
//! ended by an empty line, with at least one `data` field. The payload is the block as it was sent
//! (so that `event`, `id` and comments stay visible), its line ends normalised to LF.
//! Blocks without data (keep-alive comments, a lone `id`), and what stands unfinished at the end
//! of the stream, are not dispatched and give no message.

use bytes::Bytes;
use weir_engine::record::{BodyState, Direction, Message, MessageKind};

/// The byte order mark one stream may begin with.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Finds the events of one stream.
#[derive(Debug)]
pub struct EventStream {
    direction: Direction,
    limit: usize,
    /// The lines of the block under way, LF after each; at most `limit` bytes.
    block: Vec<u8>,
    /// Bytes of the block on the wire, also those that were not kept.
    size: u64,
    truncated: bool,
    /// Bytes of the line under way.
    line_len: u64,
    /// The first bytes of the line under way: enough to tell its field name.
    line_start: [u8; 5],
    has_data: bool,
    /// The last byte was a CR: a LF that follows belongs to it.
    after_cr: bool,
    /// How much of a byte order mark was seen; `None` once the stream has begun.
    mark: Option<usize>,
}

impl EventStream {
    /// A tap at the beginning of a stream.
    #[must_use]
    pub fn new(direction: Direction, limit: usize) -> Self {
        Self {
            direction,
            limit,
            block: Vec::new(),
            size: 0,
            truncated: false,
            line_len: 0,
            line_start: [0; 5],
            has_data: false,
            after_cr: false,
            mark: Some(0),
        }
    }

    /// Takes the next bytes; calls `found` for each event they complete.
    pub fn feed(&mut self, bytes: &[u8], now_us: i64, mut found: impl FnMut(Message)) {
        let mut rest = self.skip_mark(bytes);
        while !rest.is_empty() {
            if self.after_cr {
                self.after_cr = false;
                if rest[0] == b'\n' {
                    rest = &rest[1..];
                    continue;
                }
            }
            match memchr::memchr2(b'\n', b'\r', rest) {
                None => {
                    self.extend_line(rest);
                    return;
                }
                Some(end) => {
                    self.extend_line(&rest[..end]);
                    self.after_cr = rest[end] == b'\r';
                    self.size += 1;
                    self.end_line(now_us, &mut found);
                    rest = &rest[end + 1..];
                }
            }
        }
    }

    fn skip_mark<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(seen) = self.mark else { return bytes };
        let expected = &BYTE_ORDER_MARK[seen..];
        let common = expected.iter().zip(bytes).take_while(|(a, b)| a == b).count();
        if common == expected.len() {
            self.mark = None;
            return &bytes[common..];
        }
        if common == bytes.len() {
            self.mark = Some(seen + common);
            return &[];
        }
        self.mark = None;
        // No mark after all: what looked like its beginning is part of the first line.
        self.extend_line(&BYTE_ORDER_MARK[..seen]);
        bytes
    }

    fn extend_line(&mut self, bytes: &[u8]) {
        if let Ok(from @ 0..5) = usize::try_from(self.line_len) {
            let count = bytes.len().min(5 - from);
            self.line_start[from..from + count].copy_from_slice(&bytes[..count]);
        }
        self.line_len += bytes.len() as u64;
        self.size += bytes.len() as u64;
        self.keep(bytes);
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.limit.saturating_sub(self.block.len());
        self.truncated |= bytes.len() > room;
        self.block.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self, now_us: i64, found: &mut impl FnMut(Message)) {
        if self.line_len > 0 {
            // The field name is all before the colon, or the whole line.
            let name_is_data = &self.line_start[..4] == b"data" && self.line_len >= 4;
            self.has_data |= name_is_data && (self.line_len == 4 || self.line_start[4] == b':');
            self.line_len = 0;
            self.keep(b"\n");
            return;
        }
        let block = std::mem::take(&mut self.block);
        let size = std::mem::take(&mut self.size);
        let truncated = std::mem::take(&mut self.truncated);
        if std::mem::take(&mut self.has_data) {
            found(Message {
                at_us: now_us,
                direction: self.direction,
                kind: MessageKind::Event,
                size,
                state: if truncated { BodyState::Truncated } else { BodyState::Stored },
                payload: Bytes::from(block),
                ..Message::default()
            });
        } else {
            // Keep the buffer for the next block.
            self.block = block;
            self.block.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events(pieces: &[&[u8]], limit: usize) -> Vec<(Vec<u8>, BodyState)> {
        let mut tap = EventStream::new(Direction::Received, limit);
        let mut found = Vec::new();
        for piece in pieces {
            tap.feed(piece, 7, |message| found.push((message.payload.to_vec(), message.state)));
        }
        found
    }

    #[test]
    fn what_browsers_dispatch() {
        let stream = b"\xEF\xBB\xBFdata: one\n\n: keep-alive\n\nid: 3\n\nevent: x\r\ndata: two\r\ndata\r\n\r\ndatax: no\n\ndata: open";
        let found = events(&[stream], 100);
        assert_eq!(
            found,
            [
                (b"data: one\n".to_vec(), BodyState::Stored),
                (b"event: x\ndata: two\ndata\n".to_vec(), BodyState::Stored)
            ]
        );
    }

    #[test]
    fn cr_alone_ends_a_line_and_memory_is_bounded() {
        assert_eq!(events(&[b"data: a\r\rdata: b\r", b"\n\r\n"], 100).len(), 2);
        let found = events(&[b"data: 0123456789\n\ndata:x\n\n"], 8);
        assert_eq!(found[0], (b"data: 01".to_vec(), BodyState::Truncated));
        assert_eq!(found[1], (b"data:x\n".to_vec(), BodyState::Stored));
    }

    proptest! {
        #[test]
        fn splits_do_not_matter(
            words in prop::collection::vec(prop::sample::select(vec!["data", ":", " x", "\n", "\r\n", "\r", "id: 1", "\u{feff}", "é"]), 0..60),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
            limit in 1_usize..40,
        ) {
            let stream = words.concat().into_bytes();
            let whole = events(&[&stream], limit);
            let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            at.sort_unstable();
            at.push(stream.len());
            let mut pieces = Vec::new();
            let mut from = 0;
            for to in at {
                pieces.push(&stream[from..to]);
                from = to;
            }
            prop_assert_eq!(&whole, &events(&pieces, limit));
            let bytes: Vec<_> = stream.chunks(1).collect();
            prop_assert_eq!(&whole, &events(&bytes, limit));
        }
    }
}

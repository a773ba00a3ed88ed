//! Length-prefixed gRPC messages ("gRPC over HTTP2", *Length-Prefixed-Message*): a byte that says
//! whether the message is compressed, its length in four bytes, the message.
//!
//! In: bytes of a body. Out: one message for each that is complete. A length is believed only as far as
//! bytes arrive: nothing is allocated for it beforehand. The trailers frame of gRPC-Web (bit 0x80) is
//! no message; a prefix byte that gRPC does not know ends the tap: what follows would be guesswork.

use bytes::Bytes;
use weir_engine::record::{BodyState, Direction, Message, MessageKind};

/// Length of a message's prefix.
const PREFIX: usize = 5;
/// The trailers frame of gRPC-Web.
const WEB_TRAILERS: u8 = 0x80;

/// Whether a media type (without parameters) carries length-prefixed messages in binary.
#[must_use]
pub fn is_grpc(essence: &[u8]) -> bool {
    ["application/grpc", "application/grpc-web"].iter().any(|base| {
        essence.get(..base.len()).is_some_and(|start| start.eq_ignore_ascii_case(base.as_bytes()))
            && matches!(essence.get(base.len()), None | Some(b'+'))
    })
}

/// Finds the messages of one body.
#[derive(Debug)]
pub struct Grpc {
    direction: Direction,
    limit: usize,
    prefix: [u8; PREFIX],
    prefix_len: usize,
    payload: Vec<u8>,
    /// Bytes of the message still to come.
    missing: u32,
    lost: bool,
}

impl Grpc {
    /// A tap at the beginning of a body.
    #[must_use]
    pub fn new(direction: Direction, limit: usize) -> Self {
        Self { direction, limit, prefix: [0; PREFIX], prefix_len: 0, payload: Vec::new(), missing: 0, lost: false }
    }

    /// Takes the next bytes; calls `found` for each message they complete.
    pub fn feed(&mut self, mut bytes: &[u8], now_us: i64, mut found: impl FnMut(Message)) {
        while !bytes.is_empty() && !self.lost {
            if self.prefix_len < PREFIX {
                let count = bytes.len().min(PREFIX - self.prefix_len);
                self.prefix[self.prefix_len..self.prefix_len + count].copy_from_slice(&bytes[..count]);
                self.prefix_len += count;
                bytes = &bytes[count..];
                if self.prefix_len < PREFIX {
                    return;
                }
                let [flag, length @ ..] = self.prefix;
                self.missing = u32::from_be_bytes(length);
                self.lost = flag & !(WEB_TRAILERS | 1) != 0;
                if self.missing > 0 || self.lost {
                    continue;
                }
            }
            let count = bytes.len().min(self.missing as usize);
            let room = self.limit.saturating_sub(self.payload.len());
            self.payload.extend_from_slice(&bytes[..count.min(room)]);
            self.missing -= u32::try_from(count).unwrap_or(self.missing);
            bytes = &bytes[count..];
            if self.missing == 0 {
                self.finish(now_us, &mut found);
            }
        }
    }

    fn finish(&mut self, now_us: i64, found: &mut impl FnMut(Message)) {
        self.prefix_len = 0;
        let payload = std::mem::take(&mut self.payload);
        let [flag, length @ ..] = self.prefix;
        if flag & WEB_TRAILERS != 0 {
            return;
        }
        let length = u32::from_be_bytes(length);
        found(Message {
            at_us: now_us,
            direction: self.direction,
            kind: MessageKind::Grpc,
            size: u64::from(length),
            state: if payload.len() < length as usize { BodyState::Truncated } else { BodyState::Stored },
            payload: Bytes::from(payload),
            compressed: flag & 1 == 1,
            ..Message::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Found = (Vec<u8>, u64, BodyState, bool);

    fn messages(pieces: &[&[u8]], limit: usize) -> Vec<Found> {
        let mut tap = Grpc::new(Direction::Sent, limit);
        let mut found = Vec::new();
        for piece in pieces {
            tap.feed(piece, 7, |message| {
                found.push((message.payload.to_vec(), message.size, message.state, message.compressed));
            });
        }
        found
    }

    fn framed(messages: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let mut body = Vec::new();
        for (flag, payload) in messages {
            body.push(*flag);
            body.extend_from_slice(&u32::try_from(payload.len()).expect("small").to_be_bytes());
            body.extend_from_slice(payload);
        }
        body
    }

    #[test]
    fn empty_huge_and_unknown() {
        let body = framed(&[(0, vec![]), (1, b"abc".to_vec()), (0x80, b"grpc-status: 0".to_vec())]);
        let found = messages(&[&body], 2);
        assert_eq!(found, [(vec![], 0, BodyState::Stored, false), (b"ab".to_vec(), 3, BodyState::Truncated, true)]);
        assert!(messages(&[&[0, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3]], 100).is_empty());
        assert!(messages(&[&[9, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]], 100).is_empty());
    }

    proptest! {
        #[test]
        fn splits_do_not_matter(
            sent in prop::collection::vec((0_u8..2, prop::collection::vec(any::<u8>(), 0..20)), 0..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let body = framed(&sent);
            let expected: Vec<Found> = sent
                .iter()
                .map(|(flag, payload)| (payload.clone(), payload.len() as u64, BodyState::Stored, *flag == 1))
                .collect();
            let (head, tail) = body.split_at(cut.index(body.len() + 1));
            prop_assert_eq!(&messages(&[head, tail], 64), &expected);
            let bytes: Vec<_> = body.chunks(1).collect();
            prop_assert_eq!(&messages(&bytes, 64), &expected);
        }

        #[test]
        fn garbage_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = messages(&[&bytes], 16);
        }
    }
}

//! The last bytes of a direction outside of long bodies, to be compared when bytes come again whose message has
//! been handed on.
//!
//! In: pieces. Out: whether bytes that come again are others. No memory of its own, no allocation.

use super::draft::differ;
use crate::flow::Piece;

/// Bytes kept.
const KEPT: usize = 256;

/// The end of what was read.
#[derive(Debug)]
pub(crate) struct Recent {
    /// Offset behind it.
    end: u64,
    len: usize,
    /// The last `len` are of the stream.
    bytes: [u8; KEPT],
}

impl Default for Recent {
    fn default() -> Self {
        Self { end: 0, len: 0, bytes: [0; KEPT] }
    }
}

impl Recent {
    /// Takes the end of a piece.
    pub(crate) fn note(&mut self, piece: &Piece<'_>) {
        let taken = piece.bytes.len().min(KEPT);
        if piece.offset != self.end {
            self.len = 0;
        }
        self.bytes.copy_within(taken.., 0);
        self.bytes[KEPT - taken..].copy_from_slice(&piece.bytes[piece.bytes.len() - taken..]);
        self.len = (self.len + taken).min(KEPT);
        self.end = piece.offset + piece.bytes.len() as u64;
    }

    /// Whether bytes that come again, at `offset`, are others.
    pub(crate) fn differs(&self, offset: u64, again: &[u8]) -> bool {
        differ((self.end - self.len as u64, &self.bytes[KEPT - self.len..]), (offset, again))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_whatever_the_pieces() {
        let text: Vec<u8> = (0..1_000_u32).map(|at| (at % 251) as u8).collect();
        for size in [1, 7, 255, 256, 257, 600] {
            let mut recent = Recent::default();
            let mut offset = 5_000;
            for bytes in text.chunks(size) {
                recent.note(&Piece { offset, bytes, ack: None, time_ns: 0, segment_start: true });
                offset += bytes.len() as u64;
            }
            assert!(!recent.differs(5_000, &text), "{size}");
            for at in 1_000 - KEPT..1_000 {
                let mut other = text.clone();
                other[at] ^= 1;
                assert!(recent.differs(5_000, &other), "{size} {at}");
            }
            let mut other = text.clone();
            other[999 - KEPT] ^= 1;
            assert!(!recent.differs(5_000, &other), "what is gone is not compared");
            // Behind a gap nothing before it counts.
            recent.note(&Piece { offset: offset + 9, bytes: b"ab", ack: None, time_ns: 0, segment_start: true });
            assert!(!recent.differs(5_000, &vec![0; 1_008]));
            assert!(recent.differs(offset + 10, b"c") && !recent.differs(offset + 10, b"b"));
        }
    }
}

//! What is kept of a body: all of it, a prefix, or only its size and hash.
//!
//! In: pieces of it. Out: the body as recorded. Its memory is counted in the budget.

use bytes::{Bytes, BytesMut};

use crate::{
    pipeline::{Budget, Reservation},
    record::{Body, BodyState, Fault},
    work,
};

/// Which bodies are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyPolicy {
    /// All.
    All,
    /// All but images, audio and video in responses; of these size and hash.
    #[default]
    MediaOff,
    /// None; their sizes are counted.
    None,
}

/// Bytes stored of one body at most.
const MAX_STORED: usize = 256 << 20;
/// Bytes of room made ahead by an announced length at most. What is not touched takes no memory, and the budget
/// is asked for what comes.
const MAX_AHEAD: usize = 256 << 10;
/// Bytes gathered before they are hashed: as many as the widest vectors take at once, several times faster than
/// a segment at a time.
const HASH_BYTES: usize = 16 << 10;
/// The budget is asked for in steps of this.
const BUDGET_STEP: usize = 32 << 10;

/// What to do with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Keep {
    /// Store them.
    #[default]
    Store,
    /// Hash and count them.
    Hash,
    /// Count them.
    Count,
}

/// Gathers one body.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    keep: Keep,
    stored: BytesMut,
    hasher: Option<Box<blake3::Hasher>>,
    size: u64,
    gap: bool,
    reserved: usize,
    pub(crate) fault: Option<Fault>,
}

impl Collector {
    /// `announced`: its length, where the head tells.
    pub(crate) fn new(keep: Keep, announced: Option<u64>) -> Self {
        let ahead = announced.map_or(0, |length| usize::try_from(length).unwrap_or(MAX_AHEAD).min(MAX_AHEAD));
        let stored = match keep {
            Keep::Store => BytesMut::with_capacity(ahead),
            Keep::Hash => BytesMut::with_capacity(ahead.min(HASH_BYTES)),
            Keep::Count => BytesMut::new(),
        };
        let hasher = (keep == Keep::Hash).then(Box::default);
        Self { keep, stored, hasher, ..Self::default() }
    }

    pub(crate) fn push(&mut self, bytes: &[u8], budget: &Budget, reservation: &mut Option<Reservation>) {
        self.size += bytes.len() as u64;
        work::done(bytes.len());
        match self.keep {
            Keep::Count => {}
            Keep::Hash => {
                if let Some(hasher) = &mut self.hasher {
                    let mut bytes = bytes;
                    // Whole blocks only: one that is not a multiple of BLAKE3's chunks makes all behind it slow.
                    while self.stored.len() + bytes.len() >= HASH_BYTES {
                        let (first, rest) = bytes.split_at(HASH_BYTES - self.stored.len());
                        self.stored.extend_from_slice(first);
                        hasher.update(&self.stored);
                        self.stored.clear();
                        bytes = rest;
                    }
                    self.stored.extend_from_slice(bytes);
                }
            }
            Keep::Store if self.fault.is_some() => {}
            Keep::Store => {
                let need = self.stored.len() + bytes.len();
                if need > MAX_STORED {
                    self.fault = Some(Fault::BodyLimit);
                } else if !self.reserve(need, budget, reservation) {
                    self.fault = Some(Fault::MemoryLimit);
                } else {
                    self.stored.extend_from_slice(bytes);
                }
            }
        }
    }

    fn reserve(&mut self, need: usize, budget: &Budget, reservation: &mut Option<Reservation>) -> bool {
        if need <= self.reserved {
            return true;
        }
        let more = (need - self.reserved).next_multiple_of(BUDGET_STEP);
        let granted = reservation.get_or_insert_with(|| budget.empty()).grow(more);
        if granted {
            self.reserved += more;
        }
        granted
    }

    /// Bytes of it are lost.
    pub(crate) fn gap(&mut self, len: u64) {
        self.size += len;
        // Where only the size counts nothing of the record is lost.
        self.gap |= len > 0 && self.keep != Keep::Count;
        // A hash over what is left would be nobody's.
        if self.hasher.take().is_some() {
            self.stored = BytesMut::new();
        }
    }

    /// The body as recorded. `cut`: it ended early.
    pub(crate) fn finish(self, cut: bool) -> Body {
        if self.size == 0 && !cut {
            return Body::default();
        }
        let hash = self.hasher.filter(|_| !cut).map(|mut hasher| *hasher.update(&self.stored).finalize().as_bytes());
        let content = if self.keep == Keep::Store { self.stored.freeze() } else { Bytes::new() };
        let state = match self.keep {
            Keep::Count => BodyState::SkippedPolicy,
            Keep::Hash => BodyState::SkippedMedia,
            Keep::Store if self.gap => BodyState::Gap,
            Keep::Store if cut || self.fault.is_some() => BodyState::Truncated,
            Keep::Store => BodyState::Stored,
        };
        Body { state, size: self.size, hash, content: content.into(), ..Body::default() }
    }

    /// The bytes that are stored so far.
    pub(crate) fn stored(&self) -> &[u8] {
        if self.keep == Keep::Store { &self.stored } else { &[] }
    }

    pub(crate) fn has_gap(&self) -> bool {
        self.gap
    }

    /// Whether nothing but its size is kept.
    pub(crate) fn only_counts(&self) -> bool {
        self.keep == Keep::Count
    }
}

//! A block: many frames in one buffer that is used again.
//!
//! In: a source fills it. Out: a shard walks over its frames where they lie.

use super::LinkType;

/// One frame as captured.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// Capture time, nanoseconds since the Unix epoch.
    pub time_ns: i64,
    /// What `data` begins with.
    pub link: LinkType,
    /// The captured bytes.
    pub data: &'a [u8],
    /// Bytes the frame had on the wire; more than `data` holds when a snap length cut it.
    pub original_len: u32,
}

#[derive(Debug, Clone, Copy)]
struct FrameAt {
    time_ns: i64,
    start: usize,
    len: u32,
    original_len: u32,
    link: LinkType,
}

/// Many frames in one buffer.
#[derive(Debug, Default)]
pub struct Block {
    /// As long as it ever was: what lies behind `filled` is of earlier blocks, so that nothing is zeroed twice.
    buffer: Vec<u8>,
    filled: usize,
    frames: Vec<FrameAt>,
}

impl Block {
    /// An empty block.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the frames; the buffer stays for the next ones.
    pub fn clear(&mut self) {
        self.frames.clear();
        self.filled = 0;
    }

    /// The bytes there are.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }

    /// Adds bytes behind those there are; returns where.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> usize {
        let start = self.filled;
        self.room(start + bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
        start
    }

    /// Room for bytes up to `target`, behind those there are; [`filled`](Self::filled) says how many came.
    pub(super) fn room(&mut self, target: usize) -> &mut [u8] {
        if self.buffer.len() < target {
            self.buffer.resize(target, 0);
        }
        &mut self.buffer[self.filled..target.max(self.filled)]
    }

    /// So many bytes came into the room.
    pub(super) fn filled(&mut self, count: usize) {
        self.filled += count;
    }

    /// Adds a frame at the end, copying its bytes: for sources that make frames instead of reading them.
    pub fn push(&mut self, frame: &Frame<'_>) {
        let start = self.append(frame.data);
        self.mark(frame.time_ns, frame.link, start, frame.data.len(), frame.original_len);
    }

    /// Notes that a frame lies at this place of the buffer.
    pub(super) fn mark(&mut self, time_ns: i64, link: LinkType, start: usize, len: usize, original_len: u32) {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        self.frames.push(FrameAt { time_ns, start, len, original_len: original_len.max(len), link });
    }

    /// The frames in the order they were captured.
    pub fn frames(&self) -> impl ExactSizeIterator<Item = Frame<'_>> {
        self.frames.iter().map(|at| Frame {
            time_ns: at.time_ns,
            link: at.link,
            data: &self.buffer[at.start..at.start + at.len as usize],
            original_len: at.original_len,
        })
    }

    /// How many frames there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there are no frames.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

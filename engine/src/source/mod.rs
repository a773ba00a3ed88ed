//! Sources of frames: capture files, read in big blocks into buffers that are used again.
//!
//! - [`link`]: the numbers of link types (what a frame begins with).
//! - [`block`]: many frames in one buffer, the unit handed to a shard.
//! - [`pcap`], [`pcapng`]: the two file formats, bytes in, steps out, no I/O.
//! - [`unpack`]: takes gzip and zstd off, and tells what is inside.
//! - [`reader`]: reads a file or pipe, follows concatenated files and counts what is torn.
//!
//! In: bytes of a capture file. Out: blocks of frames `{time, link type, captured bytes, original length}`.

pub mod block;
pub mod link;
pub(crate) mod pcap;
pub(crate) mod pcapng;
pub mod reader;
pub mod unpack;

pub use block::{Block, Frame};
pub use link::LinkType;
pub use reader::{CaptureReader, SourceTally};
pub use unpack::{Contents, Unpacked};

/// Why no frames come.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Reading failed.
    #[error("the capture cannot be read: {0}; check the file and the disk it lies on")]
    Read(#[from] std::io::Error),
    /// The first bytes are those of no capture format.
    #[error(
        "this is neither pcap nor pcapng (it begins with {magic:02x?}); give a capture file, plain or in gzip or zstd"
    )]
    NotACapture {
        /// The first bytes, as many as there are up to four.
        magic: Vec<u8>,
    },
}

/// Hands out blocks of frames.
pub trait FrameSource {
    /// Fills `block` (clearing it first) with the next frames. `false`: there are no more.
    ///
    /// # Errors
    /// When reading fails or the bytes are those of no capture. What was read before stays valid.
    fn next_block(&mut self, block: &mut Block) -> Result<bool, SourceError>;

    /// What was read and what was torn so far.
    fn tally(&self) -> &SourceTally;
}

/// What a format makes of the bytes at a position.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Not all of the next record is there; so many bytes from here would do.
    Need(usize),
    /// So many bytes that hold no frame.
    Skip(usize),
    /// A frame.
    Frame(Record),
    /// A new file begins here.
    Restart,
    /// Nothing that can be understood: the file is damaged from here on.
    Damaged,
}

/// Where a frame lies, relative to the position looked at.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) time_ns: i64,
    pub(crate) link: LinkType,
    pub(crate) start: usize,
    pub(crate) len: usize,
    pub(crate) original_len: u32,
    /// Bytes of the whole record.
    pub(crate) size: usize,
}

/// Bytes of one record at most; more is damage (GRO frames are 64 KiB, jumbo snap lengths 256 KiB).
pub(crate) const MAX_RECORD: usize = 16 << 20;

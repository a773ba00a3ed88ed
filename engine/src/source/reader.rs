//! Reads captures: from a file or pipe, one after another, in big reads into the block's own buffer.
//!
//! In: anything that can be read, unpacked. Out: blocks of frames, and a tally of what was read and torn.

use std::io::{ErrorKind, Read};

use super::{
    Block, FrameSource, SourceError, Step, Unpacked,
    pcap::{self, Pcap},
    pcapng::{self, Pcapng},
};

/// Bytes read at once. Measured: a `read` into a buffer of 1 to 4 MiB costs half of a walk over a mapped file.
const BLOCK_BYTES: usize = 2 << 20;
/// What was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceTally {
    /// Frames handed out.
    pub frames: u64,
    /// Bytes of the capture, after decompression.
    pub bytes: u64,
    /// Places where a capture was cut or damaged: what came before was used.
    pub tears: u64,
    /// Bytes that could not be used for it.
    pub torn_bytes: u64,
    /// Decryption secrets in the capture, by type; kept aside.
    pub secrets: Vec<(u32, Vec<u8>)>,
    /// Name resolution blocks in the capture; kept aside.
    pub names: Vec<Vec<u8>>,
}

#[derive(Debug)]
enum Format {
    Unknown,
    Pcap(Pcap),
    Pcapng(Box<Pcapng>),
}

/// Reads one capture stream.
pub struct CaptureReader<'r> {
    input: Box<dyn Read + Send + 'r>,
    compressed: bool,
    format: Format,
    /// The part of a record that the last block ended in.
    rest: Vec<u8>,
    /// What the next record needs at least.
    need: usize,
    ended: bool,
    tally: SourceTally,
}

impl std::fmt::Debug for CaptureReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CaptureReader")
            .field("format", &self.format)
            .field("tally", &self.tally)
            .finish_non_exhaustive()
    }
}

impl<'r> CaptureReader<'r> {
    /// Looks at the first bytes and takes compression off.
    ///
    /// # Errors
    /// When the first bytes cannot be read.
    pub fn new(input: impl Read + Send + 'r) -> Result<Self, SourceError> {
        Unpacked::new(input).map(Self::from_unpacked)
    }

    /// Reads what has been looked at.
    #[must_use]
    pub fn from_unpacked(unpacked: Unpacked<'r>) -> Self {
        let Unpacked { input, compressed, .. } = unpacked;
        let (format, rest, tally) = (Format::Unknown, Vec::new(), SourceTally::default());
        Self { input, compressed, format, rest, need: 4, ended: false, tally }
    }

    /// Reads until there are `target` bytes, the input pauses, or it ends.
    fn fill(&mut self, block: &mut Block, target: usize) -> Result<(), SourceError> {
        loop {
            let room = block.room(target);
            if room.is_empty() {
                return Ok(());
            }
            match self.input.read(room) {
                Ok(0) => {
                    self.ended = true;
                    return Ok(());
                }
                Ok(count) => {
                    block.filled(count);
                    self.tally.bytes += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A pipe with nothing in it now: what there is goes on.
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // A compressed stream that is cut short or damaged: what came out is used.
                Err(_) if self.compressed => {
                    self.tally.tears += 1;
                    self.ended = true;
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Marks the frames of the buffer; returns how many bytes were used.
    fn walk(&mut self, block: &mut Block) -> Result<usize, SourceError> {
        let mut at = 0;
        loop {
            let data = &block.bytes()[at..];
            let step = match &mut self.format {
                Format::Unknown if data.len() < 4 => Step::Need(4),
                Format::Unknown if pcapng::begins(data) => {
                    self.format = Format::Pcapng(Box::default());
                    continue;
                }
                Format::Unknown if pcap::begins(data) => match Pcap::parse(data) {
                    Some(format) => {
                        self.format = Format::Pcap(format);
                        Step::Skip(pcap::HEADER_LEN)
                    }
                    None => Step::Need(pcap::HEADER_LEN),
                },
                Format::Unknown if self.tally.frames == 0 && self.tally.tears == 0 => {
                    return Err(SourceError::NotACapture { magic: data[..4].to_vec() });
                }
                Format::Unknown => Step::Damaged,
                Format::Pcap(_) if pcapng::begins(data) && data.get(8..12).is_some_and(is_byte_order_magic) => {
                    Step::Restart
                }
                Format::Pcap(format) => format.step(data),
                Format::Pcapng(format) => format.step(data),
            };
            match step {
                Step::Need(bytes) => {
                    self.need = bytes;
                    return Ok(at);
                }
                Step::Skip(bytes) => at += bytes,
                Step::Restart => self.forget_format(),
                Step::Frame(record) => {
                    self.tally.frames += 1;
                    block.mark(record.time_ns, record.link, at + record.start, record.len, record.original_len);
                    at += record.size;
                }
                Step::Damaged => {
                    self.tally.tears += 1;
                    self.tally.torn_bytes += data.len() as u64;
                    self.ended = true;
                    return Ok(block.bytes().len());
                }
            }
        }
    }

    fn forget_format(&mut self) {
        if let Format::Pcapng(format) = std::mem::replace(&mut self.format, Format::Unknown) {
            self.tally.secrets.extend(format.secrets);
            self.tally.names.extend(format.names);
        }
    }
}

impl FrameSource for CaptureReader<'_> {
    fn next_block(&mut self, block: &mut Block) -> Result<bool, SourceError> {
        block.clear();
        block.append(&self.rest);
        self.rest.clear();
        while block.is_empty() {
            if self.ended {
                self.forget_format();
                return Ok(false);
            }
            let target = BLOCK_BYTES.max(self.need.next_power_of_two());
            self.fill(block, target)?;
            let used = self.walk(block)?;
            if self.ended {
                let torn = block.bytes().len() - used;
                if torn > 0 {
                    self.tally.tears += 1;
                    self.tally.torn_bytes += torn as u64;
                }
            } else {
                self.rest.extend_from_slice(&block.bytes()[used..]);
                if block.is_empty() {
                    block.clear();
                    block.append(&self.rest);
                    self.rest.clear();
                }
            }
        }
        Ok(true)
    }

    fn tally(&self) -> &SourceTally {
        &self.tally
    }
}

fn is_byte_order_magic(bytes: &[u8]) -> bool {
    matches!(bytes, [0x1a, 0x2b, 0x3c, 0x4d] | [0x4d, 0x3c, 0x2b, 0x1a])
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn capture(frames: &[&[u8]]) -> Vec<u8> {
        let mut out = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0];
        for value in [0_u32, 0, 65_535, 1] {
            out.extend(value.to_le_bytes());
        }
        for frame in frames {
            for value in [1, 2, frame.len() as u32, frame.len() as u32] {
                out.extend(value.to_le_bytes());
            }
            out.extend(*frame);
        }
        out
    }

    fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, SourceTally) {
        let mut reader = CaptureReader::new(bytes).expect("opens");
        let (mut block, mut frames) = (Block::new(), Vec::new());
        while reader.next_block(&mut block).expect("reads") {
            frames.extend(block.frames().map(|frame| frame.data.to_vec()));
        }
        (frames, reader.tally().clone())
    }

    #[test]
    fn concatenated_compressed_and_torn() {
        let one = capture(&[b"first", b"second"]);
        let both = [one.clone(), capture(&[b"third"])].concat();
        let (frames, tally) = read(&both);
        assert_eq!(frames, [&b"first"[..], b"second", b"third"]);
        assert_eq!(tally.tears, 0);

        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&both).expect("compresses");
        let gzip = gzip.finish().expect("compresses");
        assert_eq!(read(&gzip).0.len(), 3);
        assert_eq!(read(&zstd::encode_all(&gzip[..], 1).expect("compresses")).0.len(), 3);
        let (_, cut) = read(&gzip[..gzip.len() - 9]);
        assert!(cut.tears > 0);

        let (frames, tally) = read(&one[..one.len() - 1]);
        assert_eq!((frames.len(), tally.tears, tally.torn_bytes), (1, 1, 21));
        assert_eq!(read(&[]).0.len(), 0);
        assert!(matches!(
            CaptureReader::new(&b"GET / HTTP"[..]).expect("opens").next_block(&mut Block::new()),
            Err(SourceError::NotACapture { .. })
        ));
    }

    #[test]
    fn frames_across_blocks_and_longer_than_one() {
        let long = vec![7; 3 << 20];
        let frames: Vec<&[u8]> = std::iter::repeat_n(&long[..1_000_000], 7).chain([&long[..], b"end"]).collect();
        let (seen, tally) = read(&capture(&frames));
        assert_eq!(seen, frames);
        assert_eq!((tally.tears, tally.frames), (0, 9));
    }
}

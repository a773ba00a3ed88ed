//! Frames as a capture file: pcap with nanoseconds (draft-ietf-opsawg-pcap), little-endian.

use std::io::{self, Write};

const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
const SNAP_LEN: u32 = 262_144;

/// Writes a capture file as frames come.
#[derive(Debug)]
pub struct PcapWriter<W> {
    output: W,
}

impl<W: Write> PcapWriter<W> {
    /// Writes the file header for a link type's number.
    ///
    /// # Errors
    /// What writing failed with.
    pub fn new(mut output: W, link: u32) -> io::Result<Self> {
        for word in [MAGIC_NANOSECONDS, 0x0004_0002, 0, 0, SNAP_LEN, link] {
            output.write_all(&word.to_le_bytes())?;
        }
        Ok(Self { output })
    }

    /// Writes one frame.
    ///
    /// # Errors
    /// What writing failed with.
    pub fn frame(&mut self, time_ns: u64, frame: &[u8]) -> io::Result<()> {
        let len = frame.len() as u32;
        let mut header = [0; 16];
        for (place, word) in header.chunks_exact_mut(4).zip([
            (time_ns / 1_000_000_000) as u32,
            (time_ns % 1_000_000_000) as u32,
            len.min(SNAP_LEN),
            len,
        ]) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        self.output.write_all(&header)?;
        self.output.write_all(&frame[..len.min(SNAP_LEN) as usize])
    }

    /// Flushes and gives the output back.
    ///
    /// # Errors
    /// What flushing failed with.
    pub fn finish(mut self) -> io::Result<W> {
        self.output.flush()?;
        Ok(self.output)
    }
}

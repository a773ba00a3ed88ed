//! Frames into a pcapng file that other tools open (draft-ietf-opsawg-pcapng): one section, an interface block for each
//! interface and link type when it first has a frame, times in nanoseconds. VLAN tags that the kernel took off are put back.
//!
//! In: frames. Out: bytes. What stands in the file when writing stops is a whole file.

use std::io::{self, Write};

use super::LiveFrame;
use crate::source::LinkType;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
/// Options: the name of an interface, and the resolution of its times.
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
/// Times are in units of 10^-9 seconds.
const NANOSECONDS: u8 = 9;
/// Where an Ethernet header has its tag.
const TAG_AT: usize = 12;

/// Writes frames.
#[derive(Debug)]
pub struct PcapngWriter<W> {
    output: W,
    /// Interfaces in the order of their blocks.
    interfaces: Vec<(u32, LinkType)>,
    block: Vec<u8>,
    /// Bytes written.
    written: u64,
}

impl<W: Write> PcapngWriter<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// When writing fails.
    pub fn new(output: W) -> io::Result<Self> {
        let mut writer = Self { output, interfaces: Vec::new(), block: Vec::new(), written: 0 };
        writer.begin(SECTION);
        // Byte order, version 1.0, a section of unknown length.
        writer.word(0x1a2b_3c4d);
        writer.block.extend([1_u16, 0].map(u16::to_ne_bytes).concat());
        writer.block.extend(u64::MAX.to_ne_bytes());
        writer.end()?;
        Ok(writer)
    }

    /// Appends a frame. `name` is asked for the interface's when it is new.
    ///
    /// # Errors
    /// When writing fails.
    pub fn frame(&mut self, live: &LiveFrame<'_>, name: impl FnOnce() -> String) -> io::Result<()> {
        let frame = &live.frame;
        let at = match self.interfaces.iter().position(|known| *known == (live.interface, frame.link)) {
            Some(at) => at,
            None => self.interface(live.interface, frame.link, &name())?,
        };
        let tag = live.vlan.filter(|_| frame.link == LinkType::ETHERNET && frame.data.len() >= TAG_AT);
        let added = if tag.is_some() { 4 } else { 0 };
        self.begin(ENHANCED_PACKET);
        self.word(at as u32);
        let time = frame.time_ns as u64;
        self.word((time >> 32) as u32);
        self.word(time as u32);
        self.word((frame.data.len() + added) as u32);
        self.word(frame.original_len.saturating_add(added as u32));
        match tag {
            Some(tag) => {
                self.block.extend(&frame.data[..TAG_AT]);
                self.block.extend([tag.protocol, tag.control].map(u16::to_be_bytes).concat());
                self.block.extend(&frame.data[TAG_AT..]);
            }
            None => self.block.extend(frame.data),
        }
        self.pad();
        self.end()
    }

    /// Bytes written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Hands what was written on.
    ///
    /// # Errors
    /// When that fails.
    pub fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }

    fn interface(&mut self, interface: u32, link: LinkType, name: &str) -> io::Result<usize> {
        self.begin(INTERFACE);
        // The link type, then two reserved bytes; no snap length.
        self.word(u32::from_ne_bytes([(link.0 as u16).to_ne_bytes(), [0, 0]].concat().try_into().unwrap_or_default()));
        self.word(0);
        for (code, value) in [(IF_NAME, name.as_bytes()), (IF_TSRESOL, &[NANOSECONDS]), (0, &[])] {
            self.block.extend([code, value.len() as u16].map(u16::to_ne_bytes).concat());
            self.block.extend(value);
            self.pad();
        }
        self.end()?;
        self.interfaces.push((interface, link));
        Ok(self.interfaces.len() - 1)
    }

    fn word(&mut self, word: u32) {
        self.block.extend(word.to_ne_bytes());
    }

    fn pad(&mut self) {
        self.block.resize(self.block.len().next_multiple_of(4), 0);
    }

    /// A block's type, and room for its length.
    fn begin(&mut self, kind: u32) {
        self.block.clear();
        self.word(kind);
        self.word(0);
    }

    /// The length, before and after the block's body.
    fn end(&mut self) -> io::Result<()> {
        let len = (self.block.len() + 4) as u32;
        self.word(len);
        self.block[4..8].copy_from_slice(&len.to_ne_bytes());
        self.output.write_all(&self.block)?;
        self.written += u64::from(len);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::VlanTag, *};
    use crate::source::{Block, CaptureReader, Frame, FrameSource};

    #[test]
    fn read_again_with_tags_put_back() {
        let data: Vec<u8> = (0..61).collect();
        let frame = |link, time_ns| Frame { time_ns, link, data: &data, original_len: 70 };
        let live = |link, vlan, interface| LiveFrame {
            frame: frame(link, 1_700_000_000_123_456_789),
            vlan,
            interface,
            is_loopback_copy: false,
        };
        let tag = VlanTag { protocol: 0x8100, control: 7 };
        let mut writer = PcapngWriter::new(Vec::new()).expect("writes");
        writer.frame(&live(LinkType::ETHERNET, None, 2), || "eth0".to_owned()).expect("writes");
        writer.frame(&live(LinkType::ETHERNET, Some(tag), 2), || "eth0".to_owned()).expect("writes");
        writer.frame(&live(LinkType::RAW, Some(tag), 3), || "tun0".to_owned()).expect("writes");
        assert_eq!(writer.written(), writer.output.len() as u64);
        let mut reader = CaptureReader::new(&writer.output[..]).expect("a capture");
        let mut block = Block::new();
        assert!(reader.next_block(&mut block).expect("reads"));
        let frames: Vec<Frame<'_>> = block.frames().collect();
        assert_eq!(frames.len(), 3);
        assert!(frames.iter().all(|frame| frame.time_ns == 1_700_000_000_123_456_789));
        assert_eq!((frames[0].data, frames[0].original_len), (&data[..], 70));
        assert_eq!(frames[1].data, [&data[..12], &[0x81, 0, 0, 7], &data[12..]].concat());
        assert_eq!(frames[1].original_len, 74);
        assert_eq!((frames[2].link, frames[2].data), (LinkType::RAW, &data[..]));
    }
}

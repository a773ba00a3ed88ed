//! The pcapng format: sections of blocks, several interfaces with their own link type, resolution
//! and offset; names and decryption secrets are kept aside.
//!
//! In: bytes at a position. Out: steps. No I/O.

use super::{LinkType, MAX_RECORD, Record, Step};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const NAME_RESOLUTION: u32 = 4;
const ENHANCED_PACKET: u32 = 6;
const DECRYPTION_SECRETS: u32 = 0x0a;

const OPTION_TSRESOL: u16 = 9;
const OPTION_TSOFFSET: u16 = 14;

/// Bytes of names and secrets kept aside at most.
const ASIDE_LIMIT: usize = 4 << 20;
/// Interfaces of a section at most.
const MAX_INTERFACES: usize = 65_536;

#[derive(Debug, Clone, Copy)]
struct Interface {
    link: LinkType,
    snap_len: u32,
    /// Units a second: a power of ten, or of two.
    resolution: Resolution,
    offset_seconds: i64,
}

#[derive(Debug, Clone, Copy)]
enum Resolution {
    Decimal(u8),
    Binary(u8),
}

/// State of a section.
#[derive(Debug, Default)]
pub(crate) struct Pcapng {
    big_endian: bool,
    interfaces: Vec<Interface>,
    /// Bodies of name resolution blocks.
    pub(crate) names: Vec<Vec<u8>>,
    /// Type and bytes of decryption secrets.
    pub(crate) secrets: Vec<(u32, Vec<u8>)>,
    aside: usize,
}

/// Whether a pcapng section begins here.
pub(crate) fn begins(data: &[u8]) -> bool {
    data.first_chunk().is_some_and(|bytes| u32::from_be_bytes(*bytes) == SECTION_HEADER)
}

impl Pcapng {
    fn u32(&self, data: &[u8], at: usize) -> Option<u32> {
        let bytes = *data.get(at..)?.first_chunk()?;
        Some(if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn u16(&self, data: &[u8], at: usize) -> Option<u16> {
        let bytes = *data.get(at..)?.first_chunk()?;
        Some(if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    /// What stands at this position.
    pub(crate) fn step(&mut self, data: &[u8]) -> Step {
        if data.len() < 12 {
            return Step::Need(12);
        }
        if begins(data) {
            match data[8..12] {
                [0x1a, 0x2b, 0x3c, 0x4d] => self.big_endian = true,
                [0x4d, 0x3c, 0x2b, 0x1a] => self.big_endian = false,
                _ => return Step::Damaged,
            }
            self.interfaces.clear();
        } else if super::pcap::begins(data) {
            return Step::Restart;
        }
        let (Some(kind), Some(total)) = (self.u32(data, 0), self.u32(data, 4)) else { return Step::Damaged };
        let total = total as usize;
        // Block lengths are multiples of four; some writers forget the padding of the last block.
        let size = total.next_multiple_of(4);
        if total < 12 || size > MAX_RECORD {
            return Step::Damaged;
        }
        if data.len() < size {
            return Step::Need(size);
        }
        let body = &data[8..total.max(12) - 4];
        match kind {
            INTERFACE_DESCRIPTION => self.interface(body),
            ENHANCED_PACKET => return self.enhanced_packet(body, size),
            PACKET => return self.packet(body, size),
            SIMPLE_PACKET => return self.simple_packet(body, size),
            NAME_RESOLUTION if self.keep_aside(body.len()) => self.names.push(body.to_vec()),
            DECRYPTION_SECRETS if self.keep_aside(body.len()) => {
                if let (Some(kind), Some(len)) = (self.u32(body, 0), self.u32(body, 4)) {
                    let secrets = body[8..].get(..len as usize).unwrap_or(&body[8..]);
                    self.secrets.push((kind, secrets.to_vec()));
                }
            }
            _ => {}
        }
        Step::Skip(size)
    }

    fn keep_aside(&mut self, len: usize) -> bool {
        self.aside += len;
        self.aside <= ASIDE_LIMIT
    }

    fn interface(&mut self, body: &[u8]) {
        if self.interfaces.len() >= MAX_INTERFACES {
            return;
        }
        let link = LinkType(u32::from(self.u16(body, 0).unwrap_or(0)));
        let snap_len = self.u32(body, 4).unwrap_or(0);
        let mut interface = Interface { link, snap_len, resolution: Resolution::Decimal(6), offset_seconds: 0 };
        let mut at = 8;
        while let (Some(code), Some(len)) = (self.u16(body, at), self.u16(body, at + 2)) {
            let value = body.get(at + 4..at + 4 + len as usize).unwrap_or_default();
            match (code, value) {
                (0, _) => break,
                (OPTION_TSRESOL, &[resolution, ..]) => {
                    let exponent = resolution & 0x7f;
                    interface.resolution = if resolution & 0x80 == 0 {
                        Resolution::Decimal(exponent.min(19))
                    } else {
                        Resolution::Binary(exponent.min(63))
                    };
                }
                (OPTION_TSOFFSET, value) => {
                    if let Some(bytes) = value.first_chunk() {
                        interface.offset_seconds =
                            if self.big_endian { i64::from_be_bytes(*bytes) } else { i64::from_le_bytes(*bytes) };
                    }
                }
                _ => {}
            }
            at += 4 + (len as usize).next_multiple_of(4);
        }
        self.interfaces.push(interface);
    }

    fn enhanced_packet(&self, body: &[u8], size: usize) -> Step {
        self.timed_packet(body, size, self.u32(body, 0).unwrap_or(u32::MAX) as usize)
    }

    fn packet(&self, body: &[u8], size: usize) -> Step {
        self.timed_packet(body, size, self.u16(body, 0).map_or(usize::MAX, usize::from))
    }

    /// Both kinds of packet block lie alike behind the interface number.
    fn timed_packet(&self, body: &[u8], size: usize, interface: usize) -> Step {
        let (Some(high), Some(low), Some(len), Some(original_len)) =
            (self.u32(body, 4), self.u32(body, 8), self.u32(body, 12), self.u32(body, 16))
        else {
            return Step::Damaged;
        };
        let Some(interface) = self.interfaces.get(interface) else { return Step::Skip(size) };
        let len = len as usize;
        if body.len() - 20 < len {
            return Step::Damaged;
        }
        let time_ns = interface.time_ns(u64::from(high) << 32 | u64::from(low));
        Step::Frame(Record { time_ns, link: interface.link, start: 28, len, original_len, size })
    }

    /// Without a time of its own: 0.
    fn simple_packet(&self, body: &[u8], size: usize) -> Step {
        let (Some(original_len), Some(interface)) = (self.u32(body, 0), self.interfaces.first()) else {
            return Step::Skip(size);
        };
        let snap_len = if interface.snap_len == 0 { u32::MAX } else { interface.snap_len };
        let len = (original_len.min(snap_len) as usize).min(body.len() - 4);
        Step::Frame(Record { time_ns: 0, link: interface.link, start: 12, len, original_len, size })
    }
}

impl Interface {
    fn time_ns(&self, units: u64) -> i64 {
        let nanoseconds = match self.resolution {
            Resolution::Decimal(9) => u128::from(units),
            Resolution::Decimal(exponent) => u128::from(units) * 1_000_000_000 / 10_u128.pow(u32::from(exponent)),
            Resolution::Binary(exponent) => (u128::from(units) * 1_000_000_000) >> exponent,
        };
        let offset_ns = self.offset_seconds.saturating_mul(1_000_000_000);
        i64::try_from(nanoseconds).unwrap_or(i64::MAX).saturating_add(offset_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let total = (12 + body.len().next_multiple_of(4)) as u32;
        let mut out = kind.to_le_bytes().to_vec();
        out.extend(total.to_le_bytes());
        out.extend(body);
        out.resize(total as usize - 4, 0);
        out.extend(total.to_le_bytes());
        out
    }

    fn section() -> Vec<u8> {
        block(SECTION_HEADER, &[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255])
    }

    fn interface(link: u8, options: &[u8]) -> Vec<u8> {
        block(INTERFACE_DESCRIPTION, &[&[link, 0, 0, 0, 0, 0, 1, 0], options].concat())
    }

    fn enhanced(interface: u32, units: u64, data: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        for value in [interface, (units >> 32) as u32, units as u32, data.len() as u32, 99] {
            body.extend(value.to_le_bytes());
        }
        body.extend(data);
        block(ENHANCED_PACKET, &body)
    }

    fn frame(format: &mut Pcapng, bytes: &[u8]) -> (i64, u32, Vec<u8>) {
        let Step::Frame(record) = format.step(bytes) else { panic!("a frame") };
        assert_eq!(record.size, bytes.len());
        (record.time_ns, record.link.0, bytes[record.start..record.start + record.len].to_vec())
    }

    #[test]
    fn interfaces_have_their_own_clock() {
        let mut format = Pcapng::default();
        for bytes in [
            section(),
            interface(1, &[]),
            interface(101, &[9, 0, 1, 0, 9, 0, 0, 0, 14, 0, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
            interface(113, &[9, 0, 1, 0, 0x8a, 0, 0, 0]),
        ] {
            assert_eq!(format.step(&bytes), Step::Skip(bytes.len()));
        }
        assert_eq!(frame(&mut format, &enhanced(0, 7, b"abc")), (7_000, 1, b"abc".to_vec()));
        assert_eq!(frame(&mut format, &enhanced(1, 7, b"x")), (1_000_000_007, 101, b"x".to_vec()));
        assert_eq!(frame(&mut format, &enhanced(2, 1024, b"")), (1_000_000_000, 113, Vec::new()));
        let unknown = enhanced(3, 0, b"x");
        assert_eq!(format.step(&unknown), Step::Skip(unknown.len()));
    }

    #[test]
    fn keeps_secrets_aside_and_skips_the_rest() {
        let mut format = Pcapng::default();
        format.step(&section());
        let secrets =
            block(DECRYPTION_SECRETS, &[&0x544c_534b_u32.to_le_bytes()[..], &3_u32.to_le_bytes(), b"key"].concat());
        assert_eq!(format.step(&secrets), Step::Skip(secrets.len()));
        assert_eq!(format.secrets, [(0x544c_534b, b"key".to_vec())]);
        let custom = block(0xbad, b"whatever");
        assert_eq!(format.step(&custom), Step::Skip(custom.len()));
        assert_eq!(format.step(&[6, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]), Step::Damaged);
    }
}

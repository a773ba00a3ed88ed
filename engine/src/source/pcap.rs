//! The pcap format: a file header, then records, in either byte order, with micro- or nanoseconds,
//! and the modified form with longer record headers.
//!
//! In: bytes at a position. Out: steps. No I/O.

use super::{LinkType, MAX_RECORD, Record, Step};

/// Bytes of the file header.
pub(crate) const HEADER_LEN: usize = 24;

const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
const MODIFIED: u32 = 0xa1b2_cd34;

/// What a file header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pcap {
    big_endian: bool,
    nanoseconds: bool,
    modified: bool,
    link: LinkType,
}

/// Whether these four bytes begin a pcap file: byte order and kind.
fn magic(bytes: [u8; 4]) -> Option<(bool, u32)> {
    let known = |value| matches!(value, MICROSECONDS | NANOSECONDS | MODIFIED);
    let (big, little) = (u32::from_be_bytes(bytes), u32::from_le_bytes(bytes));
    if known(big) {
        Some((true, big))
    } else if known(little) {
        Some((false, little))
    } else {
        None
    }
}

/// Whether a pcap file begins here.
pub(crate) fn begins(data: &[u8]) -> bool {
    data.first_chunk().is_some_and(|bytes| magic(*bytes).is_some())
}

impl Pcap {
    /// Reads the file header; `None` when it is not whole or not one.
    pub(crate) fn parse(data: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER_LEN] = data.first_chunk()?;
        let (big_endian, kind) = magic(*header.first_chunk()?)?;
        let link = read_u32(&header[20..], big_endian)?;
        Some(Self {
            big_endian,
            nanoseconds: kind == NANOSECONDS,
            modified: kind == MODIFIED,
            // The upper bits tell the length of a frame check sequence.
            link: LinkType(link & 0x03ff_ffff),
        })
    }

    /// What stands at this position.
    pub(crate) fn step(&self, data: &[u8]) -> Step {
        let header_len = if self.modified { 24 } else { 16 };
        if data.len() < header_len {
            return Step::Need(header_len);
        }
        let field = |at: usize| read_u32(&data[at..], self.big_endian).unwrap_or(0);
        // A second file right behind the first: its magic stands where seconds would.
        if begins(data) && is_version_2(data) {
            return Step::Restart;
        }
        let (seconds, fraction) = (field(0), field(4));
        let (len, original_len) = (field(8) as usize, field(12));
        if len > MAX_RECORD {
            return Step::Damaged;
        }
        let size = header_len + len;
        if data.len() < size {
            return Step::Need(size);
        }
        let fraction_ns = if self.nanoseconds { i64::from(fraction) } else { i64::from(fraction) * 1_000 };
        let time_ns = i64::from(seconds) * 1_000_000_000 + fraction_ns;
        Step::Frame(Record { time_ns, link: self.link, start: header_len, len, original_len, size })
    }
}

/// Whether version 2.x follows the magic, in its byte order.
fn is_version_2(data: &[u8]) -> bool {
    let Some((big_endian, _)) = data.first_chunk().and_then(|bytes| magic(*bytes)) else { return false };
    match (data.get(4..6), big_endian) {
        (Some(version), true) => version == [0, 2],
        (Some(version), false) => version == [2, 0],
        (None, _) => false,
    }
}

fn read_u32(data: &[u8], big_endian: bool) -> Option<u32> {
    let bytes = *data.first_chunk()?;
    Some(if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(magic: u32, big: bool) -> Vec<u8> {
        let put = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
        let mut out = put(magic).to_vec();
        out.extend(if big { [0, 2, 0, 4] } else { [2, 0, 4, 0] });
        for value in [0, 0, 65_535, 1] {
            out.extend(put(value));
        }
        out
    }

    #[test]
    fn both_orders_and_resolutions() {
        for big in [false, true] {
            for (magic, time_ns) in [(MICROSECONDS, 1_000_002_000), (NANOSECONDS, 1_000_000_002)] {
                let file = Pcap::parse(&header(magic, big)).expect("is a header");
                let put = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
                let mut record: Vec<u8> = [1, 2, 3, 9].into_iter().flat_map(put).collect();
                assert_eq!(file.step(&record), Step::Need(19));
                record.extend(b"abc");
                let Step::Frame(frame) = file.step(&record) else { panic!("a frame") };
                assert_eq!((frame.time_ns, frame.len, frame.original_len, frame.size), (time_ns, 3, 9, 19));
            }
        }
    }

    #[test]
    fn modified_restart_and_damage() {
        let file = Pcap::parse(&header(MODIFIED, false)).expect("is a header");
        assert_eq!(file.step(&[0; 16]), Step::Need(24));
        assert_eq!(
            file.step(&[0; 24]),
            Step::Frame(Record { time_ns: 0, link: LinkType(1), start: 24, len: 0, original_len: 0, size: 24 })
        );
        let plain = Pcap::parse(&header(MICROSECONDS, false)).expect("is a header");
        assert_eq!(plain.step(&header(NANOSECONDS, true)), Step::Restart);
        assert_eq!(plain.step(&[0xff; 16]), Step::Damaged);
    }
}

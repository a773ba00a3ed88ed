//! TCP (RFC 9293): the header; options are skipped.

use super::{Address, LinkSource, Skip, checksum, ipv4::Datagram};

/// Number of the protocol in IP headers.
pub(crate) const PROTOCOL: u8 = 6;

/// A TCP segment, its payload where it lies in the frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment<'a> {
    pub(crate) source: Address,
    pub(crate) destination: Address,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    pub(crate) control: Control,
    pub(crate) payload: &'a [u8],
    /// Payload bytes that a snap length cut off behind `payload`.
    pub(crate) cut: u32,
    /// Who sent the frame, where it is asked for.
    pub(crate) link_source: LinkSource,
}

/// The control bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Control(pub(crate) u8);

impl Control {
    pub(crate) const FIN: u8 = 0x01;
    pub(crate) const SYN: u8 = 0x02;
    pub(crate) const RST: u8 = 0x04;
    pub(crate) const ACK: u8 = 0x10;

    pub(crate) fn fin(self) -> bool {
        self.0 & Self::FIN != 0
    }

    pub(crate) fn syn(self) -> bool {
        self.0 & Self::SYN != 0
    }

    pub(crate) fn rst(self) -> bool {
        self.0 & Self::RST != 0
    }

    pub(crate) fn ack(self) -> bool {
        self.0 & Self::ACK != 0
    }
}

/// The segment in a datagram.
pub(crate) fn tcp<'a>(datagram: &Datagram<'a>, verify: bool) -> Result<Segment<'a>, Skip> {
    let data = datagram.payload;
    let header: &[u8; 20] = data.first_chunk().ok_or(Skip::Truncated)?;
    let header_len = usize::from(header[12] >> 4) * 4;
    if header_len < 20 {
        return Err(Skip::Malformed);
    }
    let payload = data.get(header_len..).ok_or(if datagram.cut > 0 { Skip::Truncated } else { Skip::Malformed })?;
    if verify && datagram.cut == 0 && checksum::transport(datagram, PROTOCOL) != 0xffff {
        return Err(Skip::BadChecksum);
    }
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    Ok(Segment {
        source: datagram.source,
        destination: datagram.destination,
        source_port: u16::from_be_bytes([header[0], header[1]]),
        destination_port: u16::from_be_bytes([header[2], header[3]]),
        sequence: word(4),
        acknowledgement: word(8),
        control: Control(header[13]),
        payload,
        cut: u32::try_from(datagram.cut).unwrap_or(0),
        link_source: LinkSource::default(),
    })
}

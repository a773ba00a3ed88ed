//! The Internet checksum (RFC 1071), verified only on request: hosts leave it to their cards.

use super::ipv4::Datagram;

/// Ones' complement sum of `data` on top of `start`.
pub(crate) fn sum(start: u32, data: &[u8]) -> u16 {
    let mut pairs = data.chunks_exact(2);
    let mut sum = u64::from(start);
    for pair in &mut pairs {
        sum += u64::from(u16::from_be_bytes([pair[0], pair[1]]));
    }
    if let [last] = pairs.remainder() {
        sum += u64::from(*last) << 8;
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The sum over pseudo-header and payload; `0xffff` when the checksum is right.
pub(crate) fn transport(datagram: &Datagram<'_>, protocol: u8) -> u16 {
    let words = |address: u128| (0..8).map(|at| (address >> (at * 16) & 0xffff) as u32).sum::<u32>();
    // A mapped IPv4 address has an extra 0xffff word, which is zero in this arithmetic.
    let len = datagram.payload.len() as u32;
    let pseudo = words(datagram.source.0) + words(datagram.destination.0) + (len >> 16) + (len & 0xffff);
    sum(pseudo + u32::from(protocol), datagram.payload)
}

//! Link types of captures rather than of wires: BSD null and loop, Linux cooked (SLL, SLL2), netfilter log, PPI.

use super::{Layer, Next, Skip, be16, decoder, from};
use crate::source::LinkType;

/// Address family in some host's byte order, four bytes.
pub(crate) fn null(data: &[u8]) -> Result<Next<'_>, Skip> {
    let family: [u8; 4] = *data.first_chunk().ok_or(Skip::Truncated)?;
    let number = u32::from_le_bytes(family).min(u32::from_be_bytes(family));
    match number {
        // AF_INET; AF_INET6 on the BSDs, macOS, Linux, Windows.
        2 | 10 | 23 | 24 | 28 | 30 => Ok(Next { layer: Layer::Ip, data: &data[4..] }),
        // Some writers put an EtherType there.
        0x0800 | 0x86dd => Ok(Next { layer: Layer::Ip, data: &data[4..] }),
        _ => Err(Skip::NotIp),
    }
}

/// Linux cooked capture: sixteen bytes, the last two the protocol.
pub(crate) fn sll(data: &[u8]) -> Result<Next<'_>, Skip> {
    cooked(be16(data, 14)?, be16(data, 2)?, from(data, 16)?)
}

/// Linux cooked capture, version 2: twenty bytes, the first two the protocol.
pub(crate) fn sll2(data: &[u8]) -> Result<Next<'_>, Skip> {
    cooked(be16(data, 0)?, be16(data, 8)?, from(data, 20)?)
}

fn cooked(protocol: u16, hardware: u16, data: &[u8]) -> Result<Next<'_>, Skip> {
    const RADIOTAP: u16 = 803;
    const IP_GRE: u16 = 778;
    match (hardware, protocol) {
        (RADIOTAP, _) => Ok(Next { layer: Layer::Radiotap, data }),
        (IP_GRE, _) => Err(Skip::NotIp),
        (_, 4) => super::ethernet::llc(data),
        (_, protocol) => Ok(Next { layer: Layer::EtherType(protocol), data }),
    }
}

/// Per-Packet Information: its length and the link type behind it, in little-endian order.
pub(crate) fn ppi(data: &[u8]) -> Result<Next<'_>, Skip> {
    let header: &[u8; 8] = data.first_chunk().ok_or(Skip::Truncated)?;
    let (len, link) = (u16::from_le_bytes([header[2], header[3]]), [header[4], header[5], header[6], header[7]]);
    let layer = decoder::first_layer(LinkType(u32::from_le_bytes(link))).ok_or(Skip::LinkType)?;
    Ok(Next { layer, data: from(data, usize::from(len).max(8))? })
}

/// Netfilter log: a family, then TLVs in the host's byte order; the payload's is number 9.
pub(crate) fn nflog(data: &[u8]) -> Result<Next<'_>, Skip> {
    const PAYLOAD: u16 = 9;
    let mut at = 4;
    while let Some(&[a, b, c, d]) = data.get(at..at + 4) {
        let little = (u16::from_le_bytes([a, b]) as usize, u16::from_le_bytes([c, d]));
        let big = (u16::from_be_bytes([a, b]) as usize, u16::from_be_bytes([c, d]));
        // Types are small numbers: the other order would make them large.
        let (len, kind) = if little.1 & 0x7fff <= 0xff { little } else { big };
        if len < 4 {
            return Err(Skip::Malformed);
        }
        if kind & 0x7fff == PAYLOAD {
            let end = (at + len).min(data.len());
            return Ok(Next { layer: Layer::Ip, data: &data[at + 4..end] });
        }
        at += len.next_multiple_of(4);
    }
    Err(Skip::Truncated)
}

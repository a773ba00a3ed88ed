//! GRE (RFC 2784, 2890; PPTP's version 1, RFC 2637) and ERSPAN inside it.

use super::{Layer, Next, Skip, be16, ethernet, from};

/// Number of the protocol in IP headers.
pub(crate) const PROTOCOL: u8 = 47;

const ERSPAN: u16 = 0x88be;
const ERSPAN_III: u16 = 0x22eb;
const PPP: u16 = 0x880b;

pub(crate) fn gre(data: &[u8]) -> Result<Next<'_>, Skip> {
    let (flags, kind) = (be16(data, 0)?, be16(data, 2)?);
    let has = |bit: u16| flags & bit != 0;
    let (checksum, routing, key, sequence) = (has(0x8000), has(0x4000), has(0x2000), has(0x1000));
    if flags & 7 == 1 {
        // Version 1: key always, acknowledgement number by its own bit.
        let len = 8 + if sequence { 4 } else { 0 } + if has(0x0080) { 4 } else { 0 };
        return if kind == PPP { Ok(Next { layer: Layer::Ppp, data: from(data, len)? }) } else { Err(Skip::NotIp) };
    }
    if routing {
        return Err(Skip::NotIp);
    }
    let len = 4 + [checksum, key, sequence].into_iter().filter(|present| *present).count() * 4;
    let inside = from(data, len)?;
    match kind {
        // Type I has no header and no sequence number, type II eight bytes.
        ERSPAN if !sequence => Ok(Next { layer: Layer::Ethernet, data: inside }),
        ERSPAN => Ok(Next { layer: Layer::Ethernet, data: from(inside, 8)? }),
        ERSPAN_III => {
            // The lowest bit of the twelve-byte header: eight bytes more for the platform.
            let optional = inside.get(11).ok_or(Skip::Truncated)? & 1 == 1;
            Ok(Next { layer: Layer::Ethernet, data: from(inside, if optional { 20 } else { 12 })? })
        }
        // Cisco's WCCP: a redirect header of four bytes may stand before the datagram.
        0x883e => Ok(Next {
            layer: Layer::Ip,
            data: if inside.first().is_some_and(|byte| byte >> 4 == 4) { inside } else { from(inside, 4)? },
        }),
        // Aruba's access points mirror 802.11 frames.
        0x8200..=0x820f => Ok(Next { layer: Layer::Ieee80211, data: inside }),
        kind => ethernet::ether_type(kind, inside),
    }
}

//! UDP (RFC 768), only as the carrier of tunnels.

use super::{Layer, Next, Skip, be16, from, gre, gtp, ipv6_tunnel, overlay};

/// Number of the protocol in IP headers.
pub(crate) const PROTOCOL: u8 = 17;

/// The tunnelled frame inside, when the datagram is one of a tunnel known here.
pub(crate) fn udp(data: &[u8]) -> Result<Next<'_>, Skip> {
    let (source, destination) = (be16(data, 0)?, be16(data, 2)?);
    let len = usize::from(be16(data, 4)?);
    let payload = from(data, 8)?;
    let payload = if len >= 8 { &payload[..payload.len().min(len - 8)] } else { payload };
    let either = |port: u16| source == port || destination == port;
    let inside = match destination {
        // 8472: Linux before the number was assigned; 4790: VXLAN-GPE.
        4789 | 8472 => overlay::vxlan(payload),
        4790 => overlay::vxlan_gpe(payload),
        6081 => overlay::geneve(payload),
        // GRE in UDP (RFC 8086).
        4754 => return gre::gre(payload),
        6635 => Some(Next { layer: Layer::Mpls, data: payload }),
        _ if either(5072) => ipv6_tunnel::ayiya(payload),
        // GTP-U and Teredo wander to other ports; their shape is checked closely.
        _ => gtp::gtp_u(payload).or_else(|| ipv6_tunnel::teredo(payload)),
    };
    inside.ok_or(Skip::NotTcp)
}

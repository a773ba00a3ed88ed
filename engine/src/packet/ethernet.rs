//! Ethernet II and 802.3 with LLC/SNAP, VLAN tags (802.1Q, QinQ), and the EtherTypes behind them; FDDI.

use super::{Layer, Next, Skip, be16, from};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const MPLS: u16 = 0x8847;
const MPLS_MULTICAST: u16 = 0x8848;
const PPPOE_SESSION: u16 = 0x8864;
/// Transparent Ethernet bridging (GRE, Geneve).
pub(crate) const BRIDGED: u16 = 0x6558;
const MACSEC: u16 = 0x88e5;

/// Behind the two addresses.
pub(crate) fn ethernet(data: &[u8]) -> Result<Next<'_>, Skip> {
    Ok(Next { layer: Layer::EtherType(be16(data, 12)?), data: from(data, 14)? })
}

/// What an EtherType announces; a length instead of a type means LLC.
pub(crate) fn ether_type(kind: u16, data: &[u8]) -> Result<Next<'_>, Skip> {
    let layer = match kind {
        IPV4 | IPV6 => Layer::Ip,
        // 802.1Q, 802.1ad and the older numbers for stacked tags.
        0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300 => {
            return Ok(Next { layer: Layer::EtherType(be16(data, 2)?), data: from(data, 4)? });
        }
        // Cisco's VN-Tag: four bytes more than the type.
        0x8926 => return Ok(Next { layer: Layer::EtherType(be16(data, 4)?), data: from(data, 6)? }),
        // The E-Tag of 802.1BR: eight bytes.
        0x893f => return Ok(Next { layer: Layer::EtherType(be16(data, 6)?), data: from(data, 8)? }),
        MPLS | MPLS_MULTICAST => Layer::Mpls,
        PPPOE_SESSION => Layer::Pppoe,
        BRIDGED => Layer::Ethernet,
        MACSEC => return Err(Skip::Encrypted),
        ..=1500 => return llc(data),
        _ => return Err(Skip::NotIp),
    };
    Ok(Next { layer, data })
}

/// Frame control and two addresses, then LLC in frames that carry it.
pub(crate) fn fddi(data: &[u8]) -> Result<Next<'_>, Skip> {
    match data.first().ok_or(Skip::Truncated)? & 0xf0 {
        0x50 => llc(from(data, 13)?),
        _ => Err(Skip::NotIp),
    }
}

/// LLC (IEEE 802.2); behind SNAP stands an EtherType.
pub(crate) fn llc(data: &[u8]) -> Result<Next<'_>, Skip> {
    match data {
        [0xaa, 0xaa, 0x03, _, _, _, high, low, rest @ ..] => {
            Ok(Next { layer: Layer::EtherType(u16::from_be_bytes([*high, *low])), data: rest })
        }
        [0x06, 0x06, 0x03, rest @ ..] => Ok(Next { layer: Layer::Ip, data: rest }),
        _ => Err(Skip::NotIp),
    }
}

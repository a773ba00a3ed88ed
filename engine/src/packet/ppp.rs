//! PPP (RFC 1661, 1662), PPPoE (RFC 2516), Cisco HDLC and Frame Relay (RFC 2427).

use super::{Layer, Next, Skip, be16, from};

/// Behind address and control (`ff 03`), which may be left out, stands the protocol in one or two bytes.
pub(crate) fn ppp(data: &[u8]) -> Result<Next<'_>, Skip> {
    let data = data.strip_prefix(&[0xff, 0x03]).unwrap_or(data);
    let (protocol, len) = match data {
        // An odd first byte: the protocol is compressed to it.
        [first, ..] if first & 1 == 1 => (u16::from(*first), 1),
        _ => (be16(data, 0)?, 2),
    };
    let data = from(data, len)?;
    match protocol {
        0x0021 | 0x0057 => Ok(Next { layer: Layer::Ip, data }),
        0x0281 | 0x0283 => Ok(Next { layer: Layer::Mpls, data }),
        0x0053 | 0x00fd => Err(Skip::Encrypted),
        _ => Err(Skip::NotIp),
    }
}

/// PPP in HDLC framing, or Cisco HDLC: the first byte tells.
pub(crate) fn ppp_hdlc(data: &[u8]) -> Result<Next<'_>, Skip> {
    match data.first() {
        Some(0x0f | 0x8f) => cisco_hdlc(data),
        _ => ppp(data),
    }
}

/// Six bytes, then PPP.
pub(crate) fn pppoe(data: &[u8]) -> Result<Next<'_>, Skip> {
    Ok(Next { layer: Layer::Ppp, data: from(data, 6)? })
}

/// Address, control, then an EtherType.
pub(crate) fn cisco_hdlc(data: &[u8]) -> Result<Next<'_>, Skip> {
    Ok(Next { layer: Layer::EtherType(be16(data, 2)?), data: from(data, 4)? })
}

/// An address whose last byte is odd; then control and a protocol number (RFC 2427), or an EtherType as Cisco has it.
pub(crate) fn frame_relay(data: &[u8]) -> Result<Next<'_>, Skip> {
    let address_len = 1 + data.iter().position(|byte| byte & 1 == 1).ok_or(Skip::Truncated)?;
    let data = from(data, address_len)?;
    match data {
        [3, 0xcc | 0x8e, data @ ..] => Ok(Next { layer: Layer::Ip, data }),
        // SNAP, with or without the byte that aligns it.
        [3, 0, 0x80, _, _, _, high, low, data @ ..] | [3, 0x80, _, _, _, high, low, data @ ..] => {
            Ok(Next { layer: Layer::EtherType(u16::from_be_bytes([*high, *low])), data })
        }
        [3, ..] => Err(Skip::NotIp),
        _ => Ok(Next { layer: Layer::EtherType(be16(data, 0)?), data: from(data, 2)? }),
    }
}

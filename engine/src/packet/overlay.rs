//! VXLAN (RFC 7348, with GPE) and Geneve (RFC 8926).

use super::{Layer, Next};

/// Eight bytes, the first with the I flag, then Ethernet.
pub(crate) fn vxlan(data: &[u8]) -> Option<Next<'_>> {
    let (header, data) = data.split_at_checked(8)?;
    (header[0] & 0x08 != 0).then_some(Next { layer: Layer::Ethernet, data })
}

/// As VXLAN, with the number of the protocol inside.
pub(crate) fn vxlan_gpe(data: &[u8]) -> Option<Next<'_>> {
    let (header, data) = data.split_at_checked(8)?;
    match (header[0] & 0x04 != 0, header[3]) {
        (false, _) | (true, 3) => Some(Next { layer: Layer::Ethernet, data }),
        (true, 1 | 2) => Some(Next { layer: Layer::Ip, data }),
        _ => None,
    }
}

/// Eight bytes and options, then what its protocol type says.
pub(crate) fn geneve(data: &[u8]) -> Option<Next<'_>> {
    let first = *data.first()?;
    let kind = u16::from_be_bytes(*data.get(2..)?.first_chunk()?);
    let data = data.get(8 + usize::from(first & 0x3f) * 4..)?;
    (first >> 6 == 0).then_some(Next { layer: Layer::EtherType(kind), data })
}

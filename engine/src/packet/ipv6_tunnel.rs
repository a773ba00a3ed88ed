//! IPv6 in UDP: Teredo (RFC 4380) and AYIYA (draft-massar-v6ops-ayiya).

use super::{Layer, Next};

/// A bare IPv6 datagram, after an optional authentication or origin header; one address must be Teredo's.
pub(crate) fn teredo(mut data: &[u8]) -> Option<Next<'_>> {
    if let [0, 1, client, authentication, ..] = *data {
        data = data.get(13 + usize::from(client) + usize::from(authentication)..)?;
    }
    if data.starts_with(&[0, 0]) {
        data = data.get(8..)?;
    }
    let header: &[u8; 40] = data.first_chunk()?;
    let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let prefix = [0x20, 0x01, 0, 0];
    let is_teredo = header[8..].starts_with(&prefix) || header[24..].starts_with(&prefix);
    (header[0] >> 4 == 6 && len + 40 == data.len() && is_teredo).then_some(Next { layer: Layer::Ipv6, data })
}

/// Identity, signature and time, then the protocol its header names.
pub(crate) fn ayiya(data: &[u8]) -> Option<Next<'_>> {
    let header: &[u8; 8] = data.first_chunk()?;
    let identity_len = 1_usize << (header[0] >> 4);
    let signature_len = usize::from(header[1] >> 4) * 4;
    let inside = data.get(8 + identity_len + signature_len..)?;
    // Operation 1 forwards; next headers: 41 is IPv6, 4 is IPv4.
    let layer = match (header[2] & 0x0f, header[3]) {
        (1, 41) => Layer::Ipv6,
        (1, 4) => Layer::Ipv4,
        _ => return None,
    };
    Some(Next { layer, data: inside })
}

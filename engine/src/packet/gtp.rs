//! GTP-U (3GPP TS 29.281): user datagrams of mobile networks.

use super::{Layer, Next};

const G_PDU: u8 = 0xff;

/// The datagram inside a G-PDU; `None` unless everything fits: the protocol is looked for on any port.
pub(crate) fn gtp_u(data: &[u8]) -> Option<Next<'_>> {
    let header: &[u8; 8] = data.first_chunk()?;
    let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    // Version 1, protocol type GTP.
    if header[0] & 0xf0 != 0x30 || header[1] != G_PDU || len + 8 != data.len() {
        return None;
    }
    let mut inside = &data[8..];
    if header[0] & 0x07 != 0 {
        // Sequence number, N-PDU number, type of the first extension header.
        let mut next = *inside.get(3)?;
        inside = &inside[4..];
        while header[0] & 0x04 != 0 && next != 0 {
            let len = usize::from(*inside.first()?) * 4;
            if len == 0 {
                return None;
            }
            next = *inside.get(len - 1)?;
            inside = inside.get(len..)?;
        }
    }
    let version = inside.first()? >> 4;
    matches!(version, 4 | 6).then_some(Next { layer: Layer::Ip, data: inside })
}

//! IPv6 (RFC 8200): fixed header, extension headers, fragments, jumbograms.

use super::{
    Address, Skip, be16, be32, from,
    ipv4::{Datagram, Fragment},
};

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
const MOBILITY: u8 = 135;
const HOST_IDENTITY: u8 = 139;
const SHIM6: u8 = 140;

pub(crate) fn ipv6(data: &[u8], wire_cut: usize) -> Result<Datagram<'_>, Skip> {
    let header: &[u8; 40] = data.first_chunk().ok_or(Skip::Truncated)?;
    if header[0] >> 4 != 6 {
        return Err(Skip::Malformed);
    }
    let source = header[8..24].first_chunk().map_or(Address::default(), |bytes| Address::v6(*bytes));
    let destination = header[24..40].first_chunk().map_or(Address::default(), |bytes| Address::v6(*bytes));
    let available = &data[40..];
    let (mut payload, cut) = match usize::from(be16(data, 4)?) {
        // A jumbogram (RFC 2675), or offload.
        0 => (available, wire_cut),
        len => {
            let present = len.min(available.len());
            (&available[..present], len - present)
        }
    };
    let mut protocol = header[6];
    let mut fragment = None;
    loop {
        let len = match protocol {
            HOP_BY_HOP | ROUTING | DESTINATION | MOBILITY | HOST_IDENTITY | SHIM6 => {
                8 + usize::from(*payload.get(1).ok_or(Skip::Truncated)?) * 8
            }
            AUTHENTICATION => 8 + usize::from(*payload.get(1).ok_or(Skip::Truncated)?) * 4,
            FRAGMENT => {
                let offset_flags = be16(payload, 2)?;
                let (offset, more) = (usize::from(offset_flags & 0xfff8), offset_flags & 1 == 1);
                // An atomic fragment (RFC 6946) is whole.
                if more || offset > 0 {
                    fragment = Some(Fragment { identification: be32(payload, 4)?, offset, more });
                }
                8
            }
            _ => break,
        };
        protocol = *payload.first().ok_or(Skip::Truncated)?;
        payload = from(payload, len)?;
        if fragment.is_some() {
            break;
        }
    }
    Ok(Datagram { source, destination, protocol, payload, cut, fragment })
}

/// Goes on behind the unfragmentable part once a datagram is whole: extension headers may follow.
pub(crate) fn extensions(mut protocol: u8, mut payload: &[u8]) -> Result<(u8, &[u8]), Skip> {
    while matches!(protocol, HOP_BY_HOP | ROUTING | DESTINATION | MOBILITY | HOST_IDENTITY | SHIM6) {
        let len = 8 + usize::from(*payload.get(1).ok_or(Skip::Truncated)?) * 8;
        protocol = *payload.first().ok_or(Skip::Truncated)?;
        payload = from(payload, len)?;
    }
    Ok((protocol, payload))
}

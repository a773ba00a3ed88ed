//! IPv4 (RFC 791): header, options, total length, fragments.

use super::{Address, Skip, be16, checksum, from};

/// An IP datagram (or fragment) with its header taken off, of either version.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Datagram<'a> {
    pub(crate) source: Address,
    pub(crate) destination: Address,
    /// Number of the protocol inside.
    pub(crate) protocol: u8,
    pub(crate) payload: &'a [u8],
    /// Bytes of the payload that a snap length cut off.
    pub(crate) cut: usize,
    pub(crate) fragment: Option<Fragment>,
}

/// Where a fragment belongs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fragment {
    pub(crate) identification: u32,
    /// In bytes.
    pub(crate) offset: usize,
    pub(crate) more: bool,
}

/// `wire_cut`: bytes that the frame is longer on the wire than captured.
pub(crate) fn ipv4(data: &[u8], wire_cut: usize, verify: bool) -> Result<Datagram<'_>, Skip> {
    let header: &[u8; 20] = data.first_chunk().ok_or(Skip::Truncated)?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    if header[0] >> 4 != 4 || header_len < 20 {
        return Err(Skip::Malformed);
    }
    let available = from(data, header_len)?;
    if verify && checksum::sum(0, &data[..header_len]) != 0xffff {
        return Err(Skip::BadChecksum);
    }
    let total_len = usize::from(be16(data, 2)?);
    let (payload, cut) = match total_len {
        // Segmentation offload leaves the length to the card.
        0 => (available, wire_cut),
        _ if total_len < header_len => return Err(Skip::Malformed),
        _ => {
            let len = total_len - header_len;
            let present = len.min(available.len());
            (&available[..present], len - present)
        }
    };
    let flags = be16(data, 6)?;
    let offset = usize::from(flags & 0x1fff) * 8;
    let more = flags & 0x2000 != 0;
    let fragment = (more || offset > 0).then(|| Fragment {
        identification: u32::from(u16::from_be_bytes([header[4], header[5]])),
        offset,
        more,
    });
    Ok(Datagram {
        source: Address::v4([header[12], header[13], header[14], header[15]]),
        destination: Address::v4([header[16], header[17], header[18], header[19]]),
        protocol: header[9],
        payload,
        cut,
        fragment,
    })
}

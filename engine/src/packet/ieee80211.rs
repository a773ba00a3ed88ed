//! IEEE 802.11 data frames, with or without a radiotap header.

use super::{Next, Skip, ethernet, from};

/// Radiotap: its length stands in little-endian order at the third byte. The frame check sequence
/// it may announce lies behind the datagram, where IP's total length leaves it out.
pub(crate) fn radiotap(data: &[u8]) -> Result<&[u8], Skip> {
    let len = data.get(2..4).ok_or(Skip::Truncated)?;
    from(data, usize::from(u16::from_le_bytes([len[0], len[1]])))
}

/// A data frame: LLC behind a header whose length its flags tell.
pub(crate) fn ieee80211(data: &[u8]) -> Result<Next<'_>, Skip> {
    let (&control, &flags) = (data.first().ok_or(Skip::Truncated)?, data.get(1).ok_or(Skip::Truncated)?);
    const DATA: u8 = 2;
    let (kind, subtype) = (control >> 2 & 3, control >> 4);
    // Subtypes with bit 2 carry no data.
    if kind != DATA || subtype & 4 != 0 {
        return Err(Skip::NotIp);
    }
    if flags & 0x40 != 0 {
        return Err(Skip::Encrypted);
    }
    let mut len = 24;
    if flags & 3 == 3 {
        len += 6;
    }
    if subtype & 8 != 0 {
        len += 2;
        if flags & 0x80 != 0 {
            len += 4;
        }
    }
    ethernet::llc(from(data, len)?)
}

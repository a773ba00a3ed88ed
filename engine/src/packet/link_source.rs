//! The link-layer address of who sent a frame: a device's own on its network, a router's behind one.
//!
//! In: a frame. Out: the address of the outermost layer, where its link type has one.

use std::fmt;

use crate::source::{Frame, LinkType};

/// A hardware address of six bytes (EUI-48), or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LinkSource(u64);

/// Set where there is an address: that of all zeros is one too.
const PRESENT: u64 = 1 << 63;

impl LinkSource {
    fn new(bytes: [u8; 6]) -> Self {
        let [a, b, c, d, e, f] = bytes;
        Self(u64::from_be_bytes([0, 0, a, b, c, d, e, f]) | PRESENT)
    }

    /// Whether there is one.
    pub(crate) fn is_known(self) -> bool {
        self.0 & PRESENT != 0
    }

    /// Who sent the frame.
    pub(crate) fn of(frame: &Frame<'_>) -> Self {
        let at = match frame.link {
            LinkType::ETHERNET => Some(6),
            // The length of the address stands before it.
            LinkType::LINUX_SLL => (frame.data.get(4..6) == Some(&[0, 6])).then_some(6),
            LinkType::LINUX_SLL2 => (frame.data.get(11) == Some(&6)).then_some(12),
            // The transmitter is the second address; behind an access point the third or fourth is the sender.
            LinkType::IEEE802_11 => sender_80211(frame.data),
            LinkType::IEEE802_11_RADIOTAP => super::ieee80211::radiotap(frame.data)
                .ok()
                .and_then(|data| sender_80211(data).map(|at| at + frame.data.len() - data.len())),
            _ => None,
        };
        at.and_then(|at| frame.data.get(at..)?.first_chunk()).map_or(Self::default(), |bytes| Self::new(*bytes))
    }
}

/// IEEE 802.11 §9.3.2.1: which of the addresses is the source's, by the flags "to" and "from" the network.
fn sender_80211(data: &[u8]) -> Option<usize> {
    Some(match data.get(1)? & 3 {
        2 => 16,
        3 => 24,
        _ => 10,
    })
}

impl fmt::Display for LinkSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [_, _, a, b, c, d, e, g] = self.0.to_be_bytes();
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(link: LinkType, data: &[u8]) -> Option<String> {
        let frame = Frame { time_ns: 0, link, data, original_len: data.len() as u32 };
        Some(LinkSource::of(&frame)).filter(|source| source.is_known()).map(|source| source.to_string())
    }

    #[test]
    fn each_link_type_with_addresses() {
        let numbered: Vec<u8> = (0..40).collect();
        assert_eq!(of(LinkType::ETHERNET, &numbered).as_deref(), Some("06:07:08:09:0a:0b"));
        assert_eq!(of(LinkType::ETHERNET, &numbered[..11]), None);
        assert_eq!(of(LinkType::RAW, &numbered), None);
        assert_eq!(
            of(LinkType::LINUX_SLL, &[0, 0, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0]).as_deref(),
            Some("01:02:03:04:05:06")
        );
        let mut cooked = [0; 20];
        cooked[11] = 6;
        cooked[17] = 9;
        assert_eq!(of(LinkType::LINUX_SLL2, &cooked).as_deref(), Some("00:00:00:00:00:09"));
        let mut wifi = numbered.clone();
        wifi[1] = 2;
        assert_eq!(of(LinkType::IEEE802_11, &wifi).as_deref(), Some("10:11:12:13:14:15"));
        let radiotap = [&[0, 0, 8, 0, 0, 0, 0, 0][..], &wifi].concat();
        assert_eq!(of(LinkType::IEEE802_11_RADIOTAP, &radiotap).as_deref(), Some("10:11:12:13:14:15"));
    }
}

//! Frame decoding: from the bytes of a frame to the TCP segment inside.
//!
//! - [`decoder`]: walks the layers, holds what fragments need, counts why frames are left out.
//! - one file a protocol: [`ethernet`] (with VLAN tags), [`cooked`] (SLL, SLL2, null, NFLOG),
//!   [`ieee80211`], [`ppp`] (PPP, PPPoE, Cisco HDLC), [`mpls`], [`ipv4`], [`ipv6`], [`tcp`], [`udp`],
//!   [`gre`] (with ERSPAN), [`overlay`] (VXLAN, Geneve), [`gtp`], [`ipv6_tunnel`] (Teredo, AYIYA).
//! - [`link_source`]: who sent a frame, by its hardware address.
//! - [`fragment`]: bounded reassembly of IP fragments. [`checksum`]: verification on request.
//!
//! In: frames. Out: segments, borrowed from the frame. No I/O, no clock, no state but fragments.

pub(crate) mod checksum;
pub(crate) mod cooked;
pub(crate) mod decoder;
pub(crate) mod ethernet;
pub(crate) mod fragment;
pub(crate) mod gre;
pub(crate) mod gtp;
pub(crate) mod ieee80211;
pub(crate) mod ipv4;
pub(crate) mod ipv6;
pub(crate) mod ipv6_tunnel;
pub(crate) mod link_source;
pub(crate) mod mpls;
pub(crate) mod overlay;
pub(crate) mod ppp;
pub(crate) mod tcp;
pub(crate) mod udp;

pub(crate) use decoder::Decoder;
pub(crate) use link_source::LinkSource;
pub(crate) use tcp::Segment;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// An IP address; IPv4 is held as the IPv6 address that maps it (RFC 4291 §2.5.5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Address(pub(crate) u128);

impl Address {
    pub(crate) fn v4(bytes: [u8; 4]) -> Self {
        Self(0xffff_0000_0000 | u128::from(u32::from_be_bytes(bytes)))
    }

    pub(crate) fn v6(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// With a port, as records hold it.
    pub(crate) fn with_port(self, port: u16) -> SocketAddr {
        let v6 = Ipv6Addr::from_bits(self.0);
        SocketAddr::new(v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4), port)
    }
}

/// What the next bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layer {
    Ethernet,
    /// By its EtherType.
    EtherType(u16),
    /// IPv4 or IPv6, as the first four bits tell.
    Ip,
    Ipv4,
    Ipv6,
    Mpls,
    Ppp,
    PppHdlc,
    Pppoe,
    CiscoHdlc,
    FrameRelay,
    Fddi,
    Ppi,
    Null,
    Sll,
    Sll2,
    Nflog,
    Ieee80211,
    Radiotap,
}

/// The next layer and its bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Next<'a> {
    pub(crate) layer: Layer,
    pub(crate) data: &'a [u8],
}

/// Why a frame yields no segment. The word is the reason in the ledger; those that begin with
/// `ignored:` are no loss: there was nothing for weir in the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skip {
    LinkType,
    NotIp,
    NotTcp,
    Encrypted,
    Malformed,
    Truncated,
    TooDeep,
    BadChecksum,
    /// Kept for reassembly; counted when the datagram is whole or given up.
    Fragment,
}

impl Skip {
    pub(crate) const COUNT: usize = 9;

    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::LinkType => "link_type_unknown",
            Self::NotIp => "ignored:not_ip",
            Self::NotTcp => "ignored:not_tcp",
            Self::Encrypted => "ignored:encrypted",
            Self::Malformed => "malformed",
            Self::Truncated => "truncated_header",
            Self::TooDeep => "nested_too_deep",
            Self::BadChecksum => "bad_checksum",
            Self::Fragment => "ignored:fragment",
        }
    }

    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::LinkType,
        Self::NotIp,
        Self::NotTcp,
        Self::Encrypted,
        Self::Malformed,
        Self::Truncated,
        Self::TooDeep,
        Self::BadChecksum,
        Self::Fragment,
    ];
}

/// Big-endian number at a place.
pub(crate) fn be16(data: &[u8], at: usize) -> Result<u16, Skip> {
    data.get(at..).and_then(|rest| rest.first_chunk()).map(|bytes| u16::from_be_bytes(*bytes)).ok_or(Skip::Truncated)
}

/// Big-endian number at a place.
pub(crate) fn be32(data: &[u8], at: usize) -> Result<u32, Skip> {
    data.get(at..).and_then(|rest| rest.first_chunk()).map(|bytes| u32::from_be_bytes(*bytes)).ok_or(Skip::Truncated)
}

/// What is left behind `at`.
pub(crate) fn from(data: &[u8], at: usize) -> Result<&[u8], Skip> {
    data.get(at..).ok_or(Skip::Truncated)
}

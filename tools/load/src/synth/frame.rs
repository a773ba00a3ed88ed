//! Segments as frames: TCP in IP in whatever is asked for, with right lengths and checksums.
//!
//! In: a [`Segment`]. Out: one frame, or several when IPv4 fragments are asked for.

use std::net::{IpAddr, Ipv4Addr};

use super::segments::Segment;

/// Link type of the capture file (<https://www.tcpdump.org/linktypes.html>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Link {
    /// Ethernet (1).
    #[default]
    Ethernet,
    /// Raw IP (101).
    Raw,
    /// BSD loopback (0).
    Null,
    /// Linux cooked (113).
    Sll,
    /// Linux cooked, version 2 (276).
    Sll2,
    /// OpenBSD loopback (108).
    Loop,
    /// PPP (9).
    Ppp,
    /// Cisco HDLC (104).
    CiscoHdlc,
    /// Linux netfilter log (239).
    Nflog,
    /// IEEE 802.11 with radiotap header (127).
    Radiotap,
}

impl Link {
    /// The number in the file header.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Null => 0,
            Self::Ethernet => 1,
            Self::Raw => 101,
            Self::Sll => 113,
            Self::Sll2 => 276,
            Self::Loop => 108,
            Self::Ppp => 9,
            Self::CiscoHdlc => 104,
            Self::Nflog => 239,
            Self::Radiotap => 127,
        }
    }
}

/// What an IP packet travels in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encapsulation {
    /// IEEE 802.1Q tag (on links with an EtherType).
    Vlan(u16),
    /// One MPLS label (RFC 3032).
    Mpls(u32),
    /// GRE (RFC 2784).
    Gre,
    /// IP in IPv4 (RFC 2003, RFC 4213).
    IpInIp,
    /// VXLAN (RFC 7348).
    Vxlan(u32),
    /// Geneve (RFC 8926).
    Geneve(u32),
    /// GTP-U (3GPP TS 29.281).
    GtpU(u32),
    /// A PPPoE session (RFC 2516), on links with an EtherType.
    Pppoe(u16),
    /// ERSPAN type II in GRE: a mirrored Ethernet frame.
    Erspan(u32),
    /// AYIYA over UDP.
    Ayiya,
}

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_MPLS: u16 = 0x8847;
const ETHERTYPE_PPPOE: u16 = 0x8864;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_FRAGMENT: u8 = 44;
const PROTOCOL_UDP: u8 = 17;
const PROTOCOL_GRE: u8 = 47;
const OUTER_SOURCE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OUTER_DESTINATION: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// Makes frames.
#[derive(Debug, Clone, Default)]
pub struct Encoder {
    /// Link type.
    pub link: Link,
    /// From the outermost to the innermost.
    pub encapsulations: Vec<Encapsulation>,
    /// Largest IP packet of the innermost layer; larger ones become fragments. `None`: never.
    pub fragment: Option<usize>,
    identification: u16,
}

impl Encoder {
    /// For a link type.
    #[must_use]
    pub fn new(link: Link, encapsulations: Vec<Encapsulation>, fragment: Option<usize>) -> Self {
        Self { link, encapsulations, fragment, identification: 0 }
    }

    /// The frames of a segment.
    pub fn encode(&mut self, segment: &Segment, mut out: impl FnMut(&[u8])) {
        let tcp = tcp(segment);
        self.identification = self.identification.wrapping_add(1);
        match (segment.source.ip(), segment.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                // Offsets of fragments count 8 bytes (RFC 791 §3.1).
                let room = self.fragment.map_or(usize::MAX, |mtu| (mtu.max(28) - 20) & !7);
                let mut offset = 0;
                while offset < tcp.len() {
                    let end = offset.saturating_add(room).min(tcp.len());
                    let more = end < tcp.len();
                    let field = (offset / 8) as u16 | if more { 0x2000 } else { 0 };
                    let ip = ipv4(source, destination, PROTOCOL_TCP, self.identification, field, &tcp[offset..end]);
                    out(&self.wrap(ETHERTYPE_IPV4, ip));
                    offset = end;
                }
            }
            (source, destination) => {
                let Some(mtu) = self.fragment.filter(|mtu| tcp.len() + 40 > *mtu) else {
                    out(&self.wrap(ETHERTYPE_IPV6, ipv6(source, destination, PROTOCOL_TCP, &tcp)));
                    return;
                };
                // The fragment header takes 8 bytes (RFC 8200 §4.5).
                let parts = tcp.chunks((mtu.max(56) - 48) & !7);
                let (mut offset, last) = (0_u16, parts.len() - 1);
                for (index, part) in parts.enumerate() {
                    let mut payload = vec![PROTOCOL_TCP, 0];
                    payload.extend_from_slice(&(offset | u16::from(index < last)).to_be_bytes());
                    payload.extend_from_slice(&u32::from(self.identification).to_be_bytes());
                    payload.extend_from_slice(part);
                    out(&self.wrap(ETHERTYPE_IPV6, ipv6(source, destination, PROTOCOL_FRAGMENT, &payload)));
                    offset += part.len() as u16;
                }
            }
        }
    }

    fn wrap(&self, mut ethertype: u16, mut packet: Vec<u8>) -> Vec<u8> {
        for encapsulation in self.encapsulations.iter().rev() {
            (ethertype, packet) = encapsulation.around(ethertype, &packet, self.identification);
        }
        let mut frame = Vec::with_capacity(packet.len() + 20);
        match self.link {
            Link::Ethernet => ethernet_header(&mut frame, ethertype),
            Link::Raw => {}
            // Written little-endian here; 24 is BSD's AF_INET6.
            Link::Null => frame.extend_from_slice(&[if ethertype == ETHERTYPE_IPV6 { 24 } else { 2 }, 0, 0, 0]),
            Link::Sll => {
                frame.extend_from_slice(&[0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0]);
                frame.extend_from_slice(&ethertype.to_be_bytes());
            }
            Link::Sll2 => {
                frame.extend_from_slice(&ethertype.to_be_bytes());
                frame.extend_from_slice(&[0, 0, 0, 0, 0, 2, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0]);
            }
            Link::Loop => frame.extend_from_slice(&[0, 0, 0, if ethertype == ETHERTYPE_IPV6 { 30 } else { 2 }]),
            Link::Ppp => frame.extend_from_slice(&[0xff, 3, 0, ppp(ethertype)]),
            Link::CiscoHdlc => {
                frame.extend_from_slice(&[0x0f, 0]);
                frame.extend_from_slice(&ethertype.to_be_bytes());
            }
            Link::Nflog => {
                frame.extend_from_slice(&[if ethertype == ETHERTYPE_IPV6 { 10 } else { 2 }, 0, 0, 0]);
                // One attribute: the packet.
                frame.extend_from_slice(&((packet.len() + 4) as u16).to_le_bytes());
                frame.extend_from_slice(&9_u16.to_le_bytes());
            }
            Link::Radiotap => {
                // A data frame with QoS, LLC and SNAP.
                frame.extend_from_slice(&[0, 0, 8, 0, 0, 0, 0, 0, 0x88, 1]);
                frame.extend_from_slice(&[0; 24]);
                frame.extend_from_slice(&[0xaa, 0xaa, 3, 0, 0, 0]);
                frame.extend_from_slice(&ethertype.to_be_bytes());
            }
        }
        frame.extend_from_slice(&packet);
        frame
    }
}

impl Encapsulation {
    fn around(self, ethertype: u16, packet: &[u8], identification: u16) -> (u16, Vec<u8>) {
        let outer = |protocol, payload: &[u8]| {
            (ETHERTYPE_IPV4, ipv4(OUTER_SOURCE, OUTER_DESTINATION, protocol, identification, 0, payload))
        };
        match self {
            Self::Vlan(id) => {
                let mut tagged = id.to_be_bytes().to_vec();
                tagged.extend_from_slice(&ethertype.to_be_bytes());
                tagged.extend_from_slice(packet);
                (ETHERTYPE_VLAN, tagged)
            }
            Self::Mpls(label) => {
                // Label, bottom of stack, TTL 64.
                let mut labelled = (label << 12 | 1 << 8 | 64).to_be_bytes().to_vec();
                labelled.extend_from_slice(packet);
                (ETHERTYPE_MPLS, labelled)
            }
            Self::Gre => {
                let mut gre = vec![0, 0];
                gre.extend_from_slice(&ethertype.to_be_bytes());
                gre.extend_from_slice(packet);
                outer(PROTOCOL_GRE, &gre)
            }
            Self::IpInIp => outer(if ethertype == ETHERTYPE_IPV6 { 41 } else { 4 }, packet),
            Self::Vxlan(network) => {
                let mut vxlan = vec![8, 0, 0, 0];
                vxlan.extend_from_slice(&(network << 8).to_be_bytes());
                ethernet_header(&mut vxlan, ethertype);
                vxlan.extend_from_slice(packet);
                outer(PROTOCOL_UDP, &udp(4789, &vxlan))
            }
            Self::Geneve(network) => {
                let mut geneve = vec![0, 0, 0x65, 0x58];
                geneve.extend_from_slice(&(network << 8).to_be_bytes());
                ethernet_header(&mut geneve, ethertype);
                geneve.extend_from_slice(packet);
                outer(PROTOCOL_UDP, &udp(6081, &geneve))
            }
            Self::GtpU(tunnel) => {
                let mut gtp = vec![0x30, 0xff];
                gtp.extend_from_slice(&(packet.len() as u16).to_be_bytes());
                gtp.extend_from_slice(&tunnel.to_be_bytes());
                gtp.extend_from_slice(packet);
                outer(PROTOCOL_UDP, &udp(2152, &gtp))
            }
            Self::Pppoe(session) => {
                let mut pppoe = vec![0x11, 0];
                pppoe.extend_from_slice(&session.to_be_bytes());
                pppoe.extend_from_slice(&((packet.len() + 2) as u16).to_be_bytes());
                pppoe.extend_from_slice(&[0, ppp(ethertype)]);
                pppoe.extend_from_slice(packet);
                (ETHERTYPE_PPPOE, pppoe)
            }
            Self::Erspan(sequence) => {
                let mut gre = vec![0x10, 0, 0x88, 0xbe];
                gre.extend_from_slice(&sequence.to_be_bytes());
                gre.extend_from_slice(&[0x10, 1, 0, 0, 0, 0, 0, 0]);
                ethernet_header(&mut gre, ethertype);
                gre.extend_from_slice(packet);
                outer(PROTOCOL_GRE, &gre)
            }
            Self::Ayiya => {
                // Identity of 16 bytes, signature of 20, forwarded.
                let mut ayiya = vec![0x42, 0x52, 0x11, if ethertype == ETHERTYPE_IPV6 { 41 } else { 4 }, 0, 0, 0, 0];
                ayiya.extend_from_slice(&[0; 36]);
                ayiya.extend_from_slice(packet);
                outer(PROTOCOL_UDP, &udp(5072, &ayiya))
            }
        }
    }
}

/// The PPP number of IPv4 and IPv6 (RFC 1332, RFC 5072).
fn ppp(ethertype: u16) -> u8 {
    if ethertype == ETHERTYPE_IPV6 { 0x57 } else { 0x21 }
}

fn ipv6(source: IpAddr, destination: IpAddr, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(40 + payload.len());
    packet.extend_from_slice(&[0x60, 0, 0, 0]);
    packet.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    packet.extend_from_slice(&[next_header, 64]);
    for address in [source, destination] {
        match address {
            IpAddr::V4(address) => packet.extend_from_slice(&address.to_ipv6_mapped().octets()),
            IpAddr::V6(address) => packet.extend_from_slice(&address.octets()),
        }
    }
    packet.extend_from_slice(payload);
    packet
}

fn ethernet_header(frame: &mut Vec<u8>, ethertype: u16) {
    frame.extend_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1]);
    frame.extend_from_slice(&ethertype.to_be_bytes());
}

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(8 + payload.len());
    datagram.extend_from_slice(&49_152_u16.to_be_bytes());
    datagram.extend_from_slice(&port.to_be_bytes());
    datagram.extend_from_slice(&((payload.len() + 8) as u16).to_be_bytes());
    // No checksum, as these tunnels send it over IPv4.
    datagram.extend_from_slice(&[0, 0]);
    datagram.extend_from_slice(payload);
    datagram
}

fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, id: u16, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(20 + payload.len());
    packet.extend_from_slice(&[0x45, 0]);
    packet.extend_from_slice(&((payload.len() + 20) as u16).to_be_bytes());
    packet.extend_from_slice(&id.to_be_bytes());
    packet.extend_from_slice(&fragment.to_be_bytes());
    packet.extend_from_slice(&[64, protocol, 0, 0]);
    packet.extend_from_slice(&source.octets());
    packet.extend_from_slice(&destination.octets());
    let sum = checksum(&[&packet]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

fn tcp(segment: &Segment) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(20 + segment.payload.len());
    bytes.extend_from_slice(&segment.source.port().to_be_bytes());
    bytes.extend_from_slice(&segment.destination.port().to_be_bytes());
    bytes.extend_from_slice(&segment.sequence.to_be_bytes());
    bytes.extend_from_slice(&segment.acknowledgement.to_be_bytes());
    bytes.extend_from_slice(&[5 << 4, segment.flags, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.extend_from_slice(&segment.payload);
    let mut pseudo = Vec::with_capacity(40);
    for address in [segment.source.ip(), segment.destination.ip()] {
        match address {
            IpAddr::V4(address) => pseudo.extend_from_slice(&address.octets()),
            IpAddr::V6(address) => pseudo.extend_from_slice(&address.octets()),
        }
    }
    pseudo.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    pseudo.extend_from_slice(&[0, 0, 0, PROTOCOL_TCP]);
    let sum = checksum(&[&pseudo, &bytes]);
    bytes[16..18].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// The Internet checksum (RFC 1071); every part but the last has an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u64 = 0;
    for part in parts {
        let (words, rest) = part.as_chunks::<2>();
        sum += words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum::<u64>();
        if let [last] = rest {
            sum += u64::from(*last) << 8;
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_of_the_rfc() {
        assert_eq!(checksum(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
        assert_eq!(checksum(&[&[0x01, 0x02], &[0x03]]), !(0x0102 + 0x0300));
    }
}

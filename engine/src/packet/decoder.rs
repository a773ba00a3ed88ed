//! Walks the layers of a frame down to the TCP segment.
//!
//! In: a frame. Out: the segment, or the reason why there is none. The common case (Ethernet, IP
//! without options, TCP) takes a path of its own.

use super::{
    Layer, Next, Segment, Skip, cooked, ethernet,
    fragment::{Fragments, Outcome},
    gre, ieee80211,
    ipv4::{Datagram, ipv4},
    ipv6::{self, ipv6},
    mpls, ppp, tcp, udp,
};
use crate::source::{Frame, LinkType};

/// Layers looked through at most.
const MAX_DEPTH: usize = 24;

/// Decodes frames; holds the fragments of datagrams under way.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    verify_checksums: bool,
    pub(crate) fragments: Fragments,
    whole: Vec<u8>,
    /// Fragments beyond the first of datagrams that became whole.
    pub(crate) merged_frames: u64,
}

/// What the walk over the layers came to.
enum Found<'a> {
    Segment(Segment<'a>),
    /// A datagram became whole; its header told these.
    Whole {
        protocol: u8,
        bytes: Vec<u8>,
        datagram: (super::Address, super::Address),
        frames: u64,
    },
}

impl Decoder {
    pub(crate) fn new(verify_checksums: bool) -> Self {
        Self { verify_checksums, ..Self::default() }
    }

    /// The segment in a frame.
    pub(crate) fn decode<'a>(&'a mut self, frame: &Frame<'a>) -> Result<Segment<'a>, Skip> {
        if let Some(segment) = fast(frame).filter(|_| !self.verify_checksums) {
            return Ok(segment);
        }
        let first = first_layer(frame.link).ok_or(Skip::LinkType)?;
        let next = Next { layer: first, data: frame.data };
        let cut = (frame.original_len as usize).saturating_sub(frame.data.len());
        match walk(&mut self.fragments, frame.time_ns, next, cut, self.verify_checksums)? {
            Found::Segment(segment) => Ok(segment),
            Found::Whole { protocol, bytes, datagram: (source, destination), frames } => {
                self.whole = bytes;
                self.merged_frames += frames - 1;
                let (protocol, payload) = ipv6::extensions(protocol, &self.whole)?;
                let datagram = Datagram { source, destination, protocol, payload, cut: 0, fragment: None };
                match inside(&datagram, self.verify_checksums)? {
                    Inside::Segment(segment) => Ok(segment),
                    Inside::Next(next) => {
                        match walk(&mut self.fragments, frame.time_ns, next, 0, self.verify_checksums)? {
                            Found::Segment(segment) => Ok(segment),
                            // Fragments inside fragments: not worth the trouble.
                            Found::Whole { .. } => Err(Skip::TooDeep),
                        }
                    }
                }
            }
        }
    }
}

/// Ethernet, IP without options or fragments, TCP, nothing cut. `None`: take the long way.
#[inline]
fn fast<'a>(frame: &Frame<'a>) -> Option<Segment<'a>> {
    let data = frame.data;
    if frame.link != LinkType::ETHERNET || data.len() < 54 {
        return None;
    }
    match data[12..15] {
        // Fragment offset and "more" are zero, the protocol is TCP.
        [0x08, 0x00, 0x45] if data[20] & 0x3f == 0 && data[21] == 0 && data[23] == tcp::PROTOCOL => {
            let end = 14 + usize::from(u16::from_be_bytes([data[16], data[17]]));
            let source = super::Address::v4([data[26], data[27], data[28], data[29]]);
            let destination = super::Address::v4([data[30], data[31], data[32], data[33]]);
            fast_tcp(data, 34, end, source, destination)
        }
        [0x86, 0xdd, 0x60..=0x6f] if data[20] == tcp::PROTOCOL => {
            let payload_len = usize::from(u16::from_be_bytes([data[18], data[19]]));
            let source = super::Address::v6(*data.get(22..)?.first_chunk()?);
            let destination = super::Address::v6(*data.get(38..)?.first_chunk()?);
            // Segmentation offload leaves the length to the card.
            if payload_len == 0 { None } else { fast_tcp(data, 54, 54 + payload_len, source, destination) }
        }
        _ => None,
    }
}

/// A TCP header at a place of a frame whose datagram ends at `end`.
#[inline]
fn fast_tcp(
    data: &[u8],
    at: usize,
    end: usize,
    source: super::Address,
    destination: super::Address,
) -> Option<Segment<'_>> {
    let header: &[u8; 20] = data.get(at..)?.first_chunk()?;
    let header_len = usize::from(header[12] >> 4) * 4;
    let payload = data.get(at + header_len..end)?;
    if header_len < 20 {
        return None;
    }
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    Some(Segment {
        source,
        destination,
        source_port: u16::from_be_bytes([header[0], header[1]]),
        destination_port: u16::from_be_bytes([header[2], header[3]]),
        sequence: word(4),
        acknowledgement: word(8),
        control: tcp::Control(header[13]),
        payload,
        cut: 0,
        link_source: super::LinkSource::default(),
    })
}

pub(super) fn first_layer(link: LinkType) -> Option<Layer> {
    Some(match link {
        LinkType::ETHERNET => Layer::Ethernet,
        LinkType::RAW | LinkType::RAW_BSD | LinkType::RAW_OPENBSD | LinkType::IPV4 | LinkType::IPV6 => Layer::Ip,
        LinkType::NULL | LinkType::LOOP => Layer::Null,
        LinkType::LINUX_SLL => Layer::Sll,
        LinkType::LINUX_SLL2 => Layer::Sll2,
        LinkType::PPP | LinkType::PPP_PPPD => Layer::Ppp,
        LinkType::PPP_HDLC => Layer::PppHdlc,
        LinkType::PPP_ETHER => Layer::Pppoe,
        LinkType::C_HDLC => Layer::CiscoHdlc,
        LinkType::IEEE802_11 => Layer::Ieee80211,
        LinkType::IEEE802_11_RADIOTAP => Layer::Radiotap,
        LinkType::NFLOG => Layer::Nflog,
        LinkType::FRAME_RELAY => Layer::FrameRelay,
        LinkType::FDDI => Layer::Fddi,
        LinkType::PPI => Layer::Ppi,
        LinkType::MPLS => Layer::Mpls,
        _ => return None,
    })
}

/// What a datagram holds.
enum Inside<'a> {
    Segment(Segment<'a>),
    Next(Next<'a>),
}

fn inside<'a>(datagram: &Datagram<'a>, verify: bool) -> Result<Inside<'a>, Skip> {
    const IPV4_IN_IP: u8 = 4;
    const IPV6_IN_IP: u8 = 41;
    const ETHERNET_IN_IP: u8 = 97;
    const MPLS_IN_IP: u8 = 137;
    const ESP: u8 = 50;
    let data = datagram.payload;
    let next = match datagram.protocol {
        tcp::PROTOCOL => return tcp::tcp(datagram, verify).map(Inside::Segment),
        udp::PROTOCOL => udp::udp(data)?,
        gre::PROTOCOL => gre::gre(data)?,
        IPV4_IN_IP | IPV6_IN_IP => Next { layer: Layer::Ip, data },
        ETHERNET_IN_IP => Next { layer: Layer::Ethernet, data: super::from(data, 2)? },
        MPLS_IN_IP => Next { layer: Layer::Mpls, data },
        ESP => return Err(Skip::Encrypted),
        _ => return Err(Skip::NotTcp),
    };
    Ok(Inside::Next(next))
}

fn walk<'a>(
    fragments: &mut Fragments,
    time_ns: i64,
    mut next: Next<'a>,
    cut: usize,
    verify: bool,
) -> Result<Found<'a>, Skip> {
    for _ in 0..MAX_DEPTH {
        let data = next.data;
        let datagram = match next.layer {
            Layer::Ip => match data.first().ok_or(Skip::Truncated)? >> 4 {
                4 => ipv4(data, cut, verify)?,
                6 => ipv6(data, cut)?,
                _ => return Err(Skip::Malformed),
            },
            Layer::Ipv4 => ipv4(data, cut, verify)?,
            Layer::Ipv6 => ipv6(data, cut)?,
            layer => {
                next = match layer {
                    Layer::EtherType(kind) => ethernet::ether_type(kind, data)?,
                    Layer::Mpls => mpls::mpls(data)?,
                    Layer::Ppp => ppp::ppp(data)?,
                    Layer::PppHdlc => ppp::ppp_hdlc(data)?,
                    Layer::Pppoe => ppp::pppoe(data)?,
                    Layer::CiscoHdlc => ppp::cisco_hdlc(data)?,
                    Layer::FrameRelay => ppp::frame_relay(data)?,
                    Layer::Fddi => ethernet::fddi(data)?,
                    Layer::Ppi => cooked::ppi(data)?,
                    Layer::Null => cooked::null(data)?,
                    Layer::Sll => cooked::sll(data)?,
                    Layer::Sll2 => cooked::sll2(data)?,
                    Layer::Nflog => cooked::nflog(data)?,
                    Layer::Ieee80211 => ieee80211::ieee80211(data)?,
                    Layer::Radiotap => Next { layer: Layer::Ieee80211, data: ieee80211::radiotap(data)? },
                    _ => ethernet::ethernet(data)?,
                };
                continue;
            }
        };
        if let Some(fragment) = datagram.fragment {
            return match fragments.add(time_ns, &datagram, fragment) {
                Outcome::Waiting => Err(Skip::Fragment),
                Outcome::Whole { protocol, bytes, frames } => {
                    Ok(Found::Whole { protocol, bytes, datagram: (datagram.source, datagram.destination), frames })
                }
            };
        }
        match inside(&datagram, verify)? {
            Inside::Segment(segment) => return Ok(Found::Segment(segment)),
            Inside::Next(inner) => next = inner,
        }
    }
    Err(Skip::TooDeep)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp_bytes(payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0, 80, 1, 0, 0, 0, 0, 9, 0, 0, 0, 7, 0x50, 0x18, 1, 0, 0, 0, 0, 0];
        out.extend(payload);
        out
    }

    fn ip4(protocol: u8, flags: u16, payload: &[u8]) -> Vec<u8> {
        let total = (20 + payload.len()) as u16;
        let mut out = vec![0x45, 0];
        out.extend(total.to_be_bytes());
        out.extend([0, 1]);
        out.extend(flags.to_be_bytes());
        out.extend([64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        out.extend(payload);
        out
    }

    fn ip6(next_header: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0x60, 0, 0, 0];
        out.extend((payload.len() as u16).to_be_bytes());
        out.extend([next_header, 64]);
        out.extend([[0x20, 1], [0, 0]].concat().iter().chain(&[7; 12]));
        out.extend([9; 16]);
        out.extend(payload);
        out
    }

    fn ether(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0; 12];
        out.extend(kind.to_be_bytes());
        out.extend(payload);
        out
    }

    fn udp_bytes(destination: u16, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0x99, 0x99];
        out.extend(destination.to_be_bytes());
        out.extend(((payload.len() + 8) as u16).to_be_bytes());
        out.extend([0, 0]);
        out.extend(payload);
        out
    }

    fn decode(decoder: &mut Decoder, link: LinkType, data: &[u8]) -> Result<Vec<u8>, Skip> {
        let frame = Frame { time_ns: 0, link, data, original_len: data.len() as u32 };
        decoder.decode(&frame).map(|segment| {
            assert_eq!((segment.source_port, segment.sequence, segment.acknowledgement), (80, 9, 7));
            segment.payload.to_vec()
        })
    }

    #[test]
    fn every_way_down_to_tcp() {
        let plain = ip4(6, 0, &tcp_bytes(b"x"));
        let six = ip6(6, &tcp_bytes(b"x"));
        let frame = ether(0x0800, &plain);
        let cases: Vec<(&str, LinkType, Vec<u8>)> = vec![
            ("padding", LinkType::ETHERNET, [&frame[..], &[0; 5]].concat()),
            ("ipv6", LinkType::ETHERNET, ether(0x86dd, &six)),
            (
                "extension",
                LinkType::RAW,
                ip6(0, &[&[60, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0][..], &tcp_bytes(b"x")].concat()),
            ),
            ("vlan", LinkType::ETHERNET, ether(0x88a8, &[&[0, 1, 0x81, 0, 0, 2, 8, 0][..], &plain].concat())),
            ("e-tag", LinkType::ETHERNET, ether(0x893f, &[&[0, 1, 0, 2, 0, 3, 8, 0][..], &plain].concat())),
            ("mpls", LinkType::ETHERNET, ether(0x8847, &[&[0, 1, 0, 9, 0, 1, 1, 9][..], &plain].concat())),
            ("pppoe", LinkType::ETHERNET, ether(0x8864, &[&[0x11, 0, 0, 1, 0, 9, 0, 0x21][..], &plain].concat())),
            ("snap", LinkType::ETHERNET, ether(60, &[&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0][..], &plain].concat())),
            ("null", LinkType::NULL, [&[2, 0, 0, 0][..], &plain].concat()),
            ("loop", LinkType::LOOP, [&[0, 0, 0, 30][..], &six].concat()),
            ("sll", LinkType::LINUX_SLL, [&[0; 14][..], &[8, 0], &plain].concat()),
            ("sll2", LinkType::LINUX_SLL2, [&[8, 0][..], &[0; 18], &plain].concat()),
            ("ppp", LinkType::PPP, [&[0xff, 3, 0, 0x21][..], &plain].concat()),
            ("relay", LinkType::FRAME_RELAY, [&[0x18, 0x61, 8, 0][..], &plain].concat()),
            ("relay, RFC 2427", LinkType::FRAME_RELAY, [&[0x18, 0x61, 3, 0xcc][..], &plain].concat()),
            (
                "relay, SNAP",
                LinkType::FRAME_RELAY,
                [&[0x18, 0x60, 0x01, 3, 0, 0x80, 0, 0, 0, 0x86, 0xdd][..], &six].concat(),
            ),
            ("fddi", LinkType::FDDI, [&[0x50][..], &[7; 12], &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &plain].concat()),
            ("ppi", LinkType::PPI, [&[0, 0, 12, 0, 1, 0, 0, 0, 9, 9, 9, 9][..], &frame].concat()),
            ("labels", LinkType::MPLS, [&[0, 1, 1, 9][..], &plain].concat()),
            ("chdlc", LinkType::C_HDLC, [&[0x0f, 0, 8, 0][..], &plain].concat()),
            ("nflog", LinkType::NFLOG, [&[2, 0, 0, 0, 8, 0, 1, 0, 0, 0, 0, 0, 45, 0, 9, 0][..], &plain].concat()),
            (
                "wifi",
                LinkType::IEEE802_11_RADIOTAP,
                [&[0, 0, 8, 0, 0, 0, 0, 0, 0x88, 1][..], &[0; 24], &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &plain].concat(),
            ),
            ("gre", LinkType::RAW, ip4(47, 0, &[&[0x20, 0, 8, 0, 0, 0, 0, 1][..], &plain].concat())),
            (
                "erspan",
                LinkType::RAW,
                ip4(47, 0, &[&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 0, 0, 0, 0, 0, 0, 0][..], &frame].concat()),
            ),
            (
                "gre in udp",
                LinkType::RAW,
                ip4(17, 0, &udp_bytes(4754, &[&[0x20, 0, 8, 0, 0, 0, 0, 1][..], &plain].concat())),
            ),
            (
                "aruba",
                LinkType::RAW,
                ip4(
                    47,
                    0,
                    &[&[0, 0, 0x82, 0, 0x88, 1][..], &[0; 24], &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &plain].concat(),
                ),
            ),
            ("ipip", LinkType::RAW, ip4(4, 0, &plain)),
            ("6in4", LinkType::RAW, ip4(41, 0, &six)),
            ("vxlan", LinkType::RAW, ip4(17, 0, &udp_bytes(4789, &[&[8, 0, 0, 0, 0, 0, 1, 0][..], &frame].concat()))),
            (
                "geneve",
                LinkType::RAW,
                ip4(17, 0, &udp_bytes(6081, &[&[1, 0, 0x65, 0x58, 0, 0, 0, 0, 1, 2, 3, 4][..], &frame].concat())),
            ),
            (
                "gtp",
                LinkType::RAW,
                ip4(
                    17,
                    0,
                    &udp_bytes(
                        2152,
                        &[&[0x32, 0xff, 0, (plain.len() + 4) as u8, 0, 0, 0, 1, 0, 1, 0, 0][..], &plain].concat(),
                    ),
                ),
            ),
            ("teredo", LinkType::RAW, ip4(17, 0, &udp_bytes(3544, &six))),
            (
                "ayiya",
                LinkType::RAW,
                ip4(17, 0, &udp_bytes(5072, &[&[0x42, 0x52, 0x11, 41, 0, 0, 0, 0][..], &[0; 36], &six].concat())),
            ),
        ];
        for (name, link, data) in cases {
            let mut decoder = Decoder::default();
            assert_eq!(decode(&mut decoder, link, &data), Ok(b"x".to_vec()), "{name}");
            for len in 0..data.len() {
                // Cut anywhere: an error or a shorter payload, never a panic.
                let frame = Frame { time_ns: 0, link, data: &data[..len], original_len: data.len() as u32 };
                if let Ok(segment) = Decoder::default().decode(&frame) {
                    assert!(segment.payload.len() + segment.cut as usize <= 1, "{name} {len}");
                }
            }
        }
    }

    #[test]
    fn fragments_and_checksums() {
        let segment = tcp_bytes(b"0123456789abcdef");
        let (first, second) = segment.split_at(24);
        let mut decoder = Decoder::default();
        assert_eq!(decode(&mut decoder, LinkType::RAW, &ip4(6, 3, second)), Err(Skip::Fragment));
        assert_eq!(decode(&mut decoder, LinkType::RAW, &ip4(6, 0x2000, first)), Ok(b"0123456789abcdef".to_vec()));
        assert_eq!(decoder.merged_frames, 1);
        let mut decoder = Decoder::new(true);
        assert_eq!(decode(&mut decoder, LinkType::RAW, &ip4(6, 0, &segment)), Err(Skip::BadChecksum));
    }
}

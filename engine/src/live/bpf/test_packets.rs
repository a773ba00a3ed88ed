//! Packets for the tests of the programs, and the programs run on them (BPF_PROG_TEST_RUN).

use std::net::{IpAddr, SocketAddr};

use aya::{
    Ebpf,
    programs::{SocketFilter, TestRun as _, TestRunOptions},
};

use super::BpfError;

pub(super) const SYN: u8 = 0x02;
pub(super) const ACK: u8 = 0x10;
pub(super) const FIN: u8 = 0x01;

/// What was loaded; `None`, with a message, where this user may not or it was not built.
pub(super) fn loaded<T>(result: Result<T, BpfError>) -> Option<T> {
    match result {
        Ok(loaded) => Some(loaded),
        Err(error @ BpfError::Refused { .. }) => panic!("{error}"),
        Err(error) => {
            eprintln!("left out: {error}");
            None
        }
    }
}

/// What the program returns for a frame.
pub(super) fn run(object: &Ebpf, name: &str, frame: &[u8]) -> u32 {
    let program: &SocketFilter = object.program(name).expect("is there").try_into().expect("is a socket filter");
    let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::new() };
    program.test_run(options).expect("runs").return_value
}

/// One end of a flow, and the other.
pub(super) type Ends = (SocketAddr, SocketAddr);

pub(super) fn ends(source: &str, destination: &str) -> Ends {
    (source.parse().expect("an address"), destination.parse().expect("an address"))
}

pub(super) fn back((source, destination): Ends) -> Ends {
    (destination, source)
}

pub(super) fn tcp((source, destination): Ends, sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(source.port().to_be_bytes());
    out.extend(destination.port().to_be_bytes());
    out.extend(sequence.to_be_bytes());
    out.extend(7_u32.to_be_bytes());
    out.extend([0x50, flags, 1, 0, 0, 0, 0, 0]);
    out.extend(payload);
    out
}

pub(super) fn udp(destination: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = 40_000_u16.to_be_bytes().to_vec();
    out.extend(destination.to_be_bytes());
    out.extend(((payload.len() + 8) as u16).to_be_bytes());
    out.extend([0, 0]);
    out.extend(payload);
    out
}

/// A datagram; `fragment`: offset in units of eight bytes, with the flag for more at 0x2000.
pub(super) fn ip_fragment((source, destination): Ends, protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            out.extend([0x45, 0]);
            out.extend(((payload.len() + 20) as u16).to_be_bytes());
            out.extend([0, 9]);
            out.extend(fragment.to_be_bytes());
            out.extend([64, protocol, 0, 0]);
            out.extend(source.octets());
            out.extend(destination.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let extension = if fragment == 0 { 0 } else { 8 };
            out.extend([0x60, 0, 0, 0]);
            out.extend(((payload.len() + extension) as u16).to_be_bytes());
            out.extend([if fragment == 0 { protocol } else { 44 }, 64]);
            out.extend(source.octets());
            out.extend(destination.octets());
            if fragment != 0 {
                let more = u16::from(fragment & 0x2000 != 0);
                out.extend([protocol, 0]);
                out.extend(((fragment & 0x1fff) << 3 | more).to_be_bytes());
                out.extend([0, 0, 0, 9]);
            }
        }
        _ => panic!("one version of IP"),
    }
    out.extend(payload);
    out
}

pub(super) fn ip(ends: Ends, protocol: u8, payload: &[u8]) -> Vec<u8> {
    ip_fragment(ends, protocol, 0, payload)
}

/// An Ethernet frame around a datagram.
pub(super) fn ethernet(datagram: &[u8]) -> Vec<u8> {
    let ether_type: u16 = if datagram[0] >> 4 == 4 { 0x0800 } else { 0x86dd };
    with_type(ether_type, datagram)
}

pub(super) fn with_type(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    out.extend(ether_type.to_be_bytes());
    out.extend(payload);
    out
}

/// A TCP segment in an Ethernet frame.
pub(super) fn segment(ends: Ends, sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    ethernet(&ip(ends, 6, &tcp(ends, sequence, flags, payload)))
}

/// The same frame in tunnels: VLAN (twice), GRE, GRE with bridging, VXLAN, Geneve, IP in IP.
pub(super) fn tunnels(outer: Ends, frame: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let datagram = &frame[14..];
    let inner_type: [u8; 2] = [frame[12], frame[13]];
    let in_ip = if datagram[0] >> 4 == 4 { 4 } else { 41 };
    let vlan = [&[0, 5][..], &inner_type, datagram].concat();
    let double = [&[0, 7, 0x81, 0][..], &vlan].concat();
    let gre = [&[0, 0][..], &inner_type, datagram].concat();
    let keyed = [&[0x20, 0, 0x65, 0x58, 0, 0, 0, 1][..], frame].concat();
    let vxlan = [&[8, 0, 0, 0, 0, 0, 1, 0][..], frame].concat();
    let geneve = [&[1, 0, 0x65, 0x58, 0, 0, 1, 0, 0, 0, 0, 0][..], frame].concat();
    vec![
        ("VLAN", with_type(0x8100, &vlan)),
        ("two VLAN tags", with_type(0x88a8, &double)),
        ("GRE", ethernet(&ip(outer, 47, &gre))),
        ("GRE with key, bridged", ethernet(&ip(outer, 47, &keyed))),
        ("VXLAN", ethernet(&ip(outer, 17, &udp(4789, &vxlan)))),
        ("Geneve", ethernet(&ip(outer, 17, &udp(6081, &geneve)))),
        ("IP in IP", ethernet(&ip(outer, in_ip, datagram))),
    ]
}

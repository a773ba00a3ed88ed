//! The TCP sockets of this host and whose they are: sock_diag(7) and `/proc`.
//!
//! In: nothing. Out: from the ends of a connection to a process. It is a photograph: what opened and closed since is not on it.

use std::{
    collections::HashMap,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_DONE: u16 = 3;
const NLMSG_ERROR: u16 = 2;
/// NLM_F_REQUEST and NLM_F_DUMP.
const DUMP: u16 = 0x301;
/// Established, listening and those between; not TIME_WAIT, which belongs to nobody.
const STATES: u32 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11;
const LISTEN: u8 = 10;
/// `struct nlmsghdr` and `struct inet_diag_msg`.
const HEADER: usize = 16;
const MESSAGE: usize = 72;
/// Sockets looked at at most.
const MAX_SOCKETS: usize = 200_000;

/// Whose sockets there were when it was read.
#[derive(Debug, Default)]
pub struct SocketTable {
    connections: HashMap<(SocketAddr, SocketAddr), u64>,
    /// By port: whoever listens there.
    listeners: HashMap<u16, u64>,
    processes: HashMap<u64, u32>,
}

impl SocketTable {
    /// Reads it. What this user may not see is not in it.
    #[must_use]
    pub fn read() -> Self {
        let mut table = Self::default();
        for family in [libc::AF_INET as u8, libc::AF_INET6 as u8] {
            // An error leaves the sockets of this family unknown.
            let _ = dump(family, &mut |message| table.add(message));
        }
        table.processes = inodes();
        table
    }

    /// The process at `local` of a connection to `remote`: whoever has it, else whoever listens at its port.
    #[must_use]
    pub fn owner(&self, local: SocketAddr, remote: SocketAddr) -> Option<u32> {
        let connected = self.connections.get(&(local, remote));
        let inode = connected.filter(|inode| self.processes.contains_key(inode));
        let inode = inode.or_else(|| self.listeners.get(&local.port()).filter(|_| connected.is_some()))?;
        self.processes.get(inode).copied()
    }

    fn add(&mut self, message: &[u8; MESSAGE]) {
        let address = |at: usize, port_at: usize| {
            let bytes: [u8; 16] = std::array::from_fn(|n| message[at + n]);
            let port = u16::from_be_bytes([message[port_at], message[port_at + 1]]);
            let v6 = Ipv6Addr::from(bytes);
            let ip = if message[0] == libc::AF_INET as u8 {
                IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]))
            } else {
                v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
            };
            SocketAddr::new(ip, port)
        };
        let (local, remote) = (address(8, 4), address(24, 6));
        let inode = u64::from(u32::from_ne_bytes([message[68], message[69], message[70], message[71]]));
        if self.connections.len() >= MAX_SOCKETS {
            return;
        }
        if message[1] == LISTEN {
            self.listeners.insert(local.port(), inode);
        } else {
            self.connections.insert((local, remote), inode);
        }
    }
}

/// Has the kernel tell all TCP sockets of a family.
fn dump(family: u8, take: &mut dyn FnMut(&[u8; MESSAGE])) -> rustix::io::Result<()> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(netlink::SOCK_DIAG))?;
    // struct nlmsghdr, struct inet_diag_req_v2
    let mut request = [0_u8; HEADER + 56];
    request[0..4].copy_from_slice(&((HEADER + 56) as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request[6..8].copy_from_slice(&DUMP.to_ne_bytes());
    request[16] = family;
    request[17] = libc::IPPROTO_TCP as u8;
    request[20..24].copy_from_slice(&STATES.to_ne_bytes());
    send(&socket, &request, SendFlags::empty())?;
    let mut buffer = vec![0_u8; 64 << 10];
    loop {
        let (len, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        let mut rest = &buffer[..len];
        while let Some(header) = rest.first_chunk::<HEADER>() {
            let len = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
            let kind = u16::from_ne_bytes([header[4], header[5]]);
            if kind == NLMSG_DONE || kind == NLMSG_ERROR || len < HEADER || len > rest.len() {
                return Ok(());
            }
            if let Some(message) = rest[HEADER..len].first_chunk::<MESSAGE>() {
                take(message);
            }
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        if len == 0 {
            return Ok(());
        }
    }
}

/// Which process has which socket, by the descriptors in `/proc`.
fn inodes() -> HashMap<u64, u32> {
    let mut found = HashMap::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        for descriptor in fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten() {
            let Ok(target) = fs::read_link(descriptor.path()) else { continue };
            let inode = target.to_str().and_then(|name| name.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            if let Some(inode) = inode {
                // Of processes that share it, the oldest.
                found.entry(inode).and_modify(|old: &mut u32| *old = pid.min(*old)).or_insert(pid);
            }
        }
        if found.len() > MAX_SOCKETS {
            break;
        }
    }
    found
}

/// The name of a process: that of its main thread.
#[must_use]
pub fn process_name(pid: u32) -> Option<String> {
    let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(String::from_utf8_lossy(&name).trim_end().to_owned()).filter(|name| !name.is_empty())
}

/// Addresses in `/proc/net/fib_trie` and `/proc/net/if_inet6`.
pub(super) fn local_addresses(v4: &str, v6: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    let mut last = None;
    for line in v4.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line.contains("host LOCAL") {
            found.extend(last.take().map(IpAddr::V4));
        }
    }
    let digits = v6.lines().filter_map(|line| line.split_ascii_whitespace().next());
    found.extend(digits.filter_map(|digits| u128::from_str_radix(digits, 16).ok()).map(|bits| IpAddr::V6(bits.into())));
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn both_ends_are_this_process() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let server = listener.local_addr().expect("bound");
            let client_end = TcpStream::connect(server).expect("connects");
            let (_server_end, client) = listener.accept().expect("accepts");
            let table = SocketTable::read();
            assert_eq!(table.owner(client, server), Some(std::process::id()));
            assert_eq!(table.owner(server, client), Some(std::process::id()));
            assert_eq!(table.owner("192.0.2.1:9".parse().expect("an address"), server), None);
            drop(client_end);
        }
        assert!(process_name(std::process::id()).is_some());
    }

    #[test]
    fn reads_the_addresses_of_interfaces() {
        let v4 = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.1.2.3\n        /32 host LOCAL\n     |-- 10.1.2.0\n        /24 link UNICAST\n";
        let v6 = "fe800000000000000000000000000001 02 40 20 80 eth0\n";
        let expected: [IpAddr; 2] = ["10.1.2.3".parse().expect("an address"), "fe80::1".parse().expect("an address")];
        assert_eq!(local_addresses(v4, v6), expected);
    }
}

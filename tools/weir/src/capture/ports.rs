//! Ports: whether one is free, who has it when it is not, and which one is.
//!
//! In: addresses. Out: bound listeners, or a sentence with the program that listens and a port to take instead.

use std::{
    fs, io,
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener},
};

use anyhow::{Result, anyhow};

/// Ports tried after one that is taken.
const NEXT: u16 = 64;

/// Checks that `address` can be listened on, so that nothing is begun in vain.
pub(crate) fn check(address: SocketAddr, flag: &str) -> Result<()> {
    bind(address, flag).map(drop)
}

/// Listens on `address`, or says who does.
pub(crate) fn bind(address: SocketAddr, flag: &str) -> Result<TcpListener> {
    TcpListener::bind(address).map_err(|error| explain(address, flag, &error))
}

/// Listens on `address`; where that is taken, on a free port of the same address.
pub(crate) fn bind_or_free(address: SocketAddr, flag: &str) -> Result<TcpListener> {
    match TcpListener::bind(address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => bind(SocketAddr::new(address.ip(), 0), flag),
        Err(error) => Err(explain(address, flag, &error)),
        Ok(listener) => Ok(listener),
    }
}

fn explain(address: SocketAddr, flag: &str, error: &io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let who = listener_of(address).map_or_else(|| "another program".to_owned(), |who| who.to_string());
            match next_free(address) {
                Some(free) => {
                    anyhow!("{address} is in use by {who}; stop it, or take the next free port: {flag} {free}")
                }
                None => {
                    anyhow!("{address} is in use by {who}; stop it, or take a free port: {flag} {}:0", address.ip())
                }
            }
        }
        io::ErrorKind::AddrNotAvailable => {
            anyhow!("{address} is not an address of this machine; give one of its own with {flag}")
        }
        io::ErrorKind::PermissionDenied => {
            anyhow!("{address} may not be listened on by this user; take a port above 1023 with {flag}")
        }
        _ => anyhow!("{address} cannot be listened on: {error}; give another address with {flag}"),
    }
}

fn next_free(address: SocketAddr) -> Option<SocketAddr> {
    (1..=NEXT)
        .filter_map(|step| address.port().checked_add(step))
        .map(|port| SocketAddr::new(address.ip(), port))
        .find(|candidate| TcpListener::bind(candidate).is_ok())
}

/// The program that listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listener {
    name: String,
    pid: u32,
}

impl std::fmt::Display for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

/// Who listens on `address`, where the system tells this user (Linux).
pub(crate) fn listener_of(address: SocketAddr) -> Option<Listener> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .find_map(|table| listening_inode(&table, address))?;
    let link = format!("socket:[{inode}]");
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        let holds =
            |file: fs::DirEntry| fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == link.as_str());
        if descriptors.flatten().any(holds) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(Listener { name: crate::output::text::one_line(name.trim()).into_owned(), pid });
        }
    }
    None
}

/// The inode of the socket in state LISTEN (0A) that `address` would collide with.
fn listening_inode(table: &str, address: SocketAddr) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let (ip, port) = local.split_once(':')?;
        let (ip, port) = (kernel_ip(ip)?, u16::from_str_radix(port, 16).ok()?);
        let collides = ip == address.ip() || ip.is_unspecified() || address.ip().is_unspecified();
        (*state == "0A" && port == address.port() && collides).then(|| inode.parse().ok())?
    })
}

/// Addresses in /proc/net are 32-bit words in the machine's byte order.
fn kernel_ip(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match hex.len() {
        8 => Some(IpAddr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (index, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(index * 8)?);
            }
            let ip = Ipv6Addr::from(bytes);
            Some(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_who_listens_and_offers_another() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let taken = listener.local_addr().expect("address");
        let error = bind(taken, "--proxy").expect_err("taken").to_string();
        assert!(error.starts_with(&format!("{taken} is in use by ")), "{error}");
        assert!(error.contains("--proxy 127.0.0.1:"), "{error}");
        if cfg!(target_os = "linux") {
            assert_eq!(listener_of(taken).expect("found").pid, std::process::id());
        }
        let free = bind_or_free(taken, "--ui").expect("another port");
        assert_ne!(free.local_addr().expect("address"), taken);
        assert!(check("192.0.2.1:1".parse().expect("address"), "--proxy").is_err());
    }

    #[test]
    fn reads_the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:15B7 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100\n\
            1: 0100007F:15B8 0100007F:1234 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100\n";
        if cfg!(target_endian = "little") {
            assert_eq!(listening_inode(table, "127.0.0.1:5559".parse().expect("address")), Some(4711));
            assert_eq!(listening_inode(table, "127.0.0.2:5559".parse().expect("address")), None);
            assert_eq!(listening_inode(table, "0.0.0.0:5559".parse().expect("address")), Some(4711));
            assert_eq!(listening_inode(table, "127.0.0.1:5560".parse().expect("address")), None);
        }
    }
}

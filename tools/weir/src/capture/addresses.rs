//! The addresses of this machine that a phone on the same network could use.

use std::net::{IpAddr, SocketAddr};

/// IPv4 and global IPv6 addresses of interfaces that are up, private networks first.
pub(crate) fn reachable(port: u16) -> Vec<SocketAddr> {
    let mut ips: Vec<IpAddr> = pnet_datalink::interfaces()
        .into_iter()
        .filter(|interface| interface.is_up() && !interface.is_loopback())
        .flat_map(|interface| interface.ips)
        .map(|network| network.ip())
        .filter(usable)
        .collect();
    ips.sort_by_key(|ip| (preference(ip), *ip));
    ips.dedup();
    ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
}

fn usable(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        // weir listens on 0.0.0.0.
        IpAddr::V6(_) => false,
    }
}

fn preference(ip: &IpAddr) -> u8 {
    match ip {
        IpAddr::V4(v4) => match v4.octets() {
            [192, 168, ..] => 0,
            [10, ..] => 1,
            // Docker and its like put their bridges here.
            [172, 16..=31, ..] => 3,
            _ => 2,
        },
        IpAddr::V6(_) => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_networks_first() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("address");
        assert!(preference(&ip("192.168.1.7")) < preference(&ip("172.17.0.1")));
        assert!(!usable(&ip("169.254.1.1")) && !usable(&ip("127.0.0.1")) && usable(&ip("10.0.0.1")));
        assert!(reachable(5559).iter().all(|address| !address.ip().is_loopback() && address.port() == 5559));
    }
}

//! The name a leaf certificate is made for (RFC 6125, RFC 5280 §4.2.1.6): a DNS name or an IP address.
//!
//! In: a host as it stood in CONNECT, SNI or Host. Out: the checked, normalised name.

use std::net::IpAddr;

use rustls_pki_types::{DnsName, ServerName};

use super::CaError;

/// A host in the one form under which its certificate is made and cached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostName {
    /// Lower case, without a trailing dot, at most 253 bytes.
    Dns(DnsName<'static>),
    /// An address; IPv6 without brackets and zone.
    Ip(IpAddr),
}

impl HostName {
    /// Checks and normalises a host: case, a trailing dot, brackets and zone of an IPv6 address.
    ///
    /// # Errors
    /// [`CaError::BadHost`] when it is neither an address nor a name in ASCII form.
    pub fn parse(host: &str) -> Result<Self, CaError> {
        let bad = |reason| CaError::BadHost { host: host.chars().take(260).collect(), reason };
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let without_zone = bare.split_once('%').map_or(bare, |(address, _)| address);
        if let Ok(address) = without_zone.parse::<IpAddr>() {
            return Ok(Self::Ip(address));
        }
        let name = bare.strip_suffix('.').unwrap_or(bare);
        if name.is_empty() {
            return Err(bad("it is empty"));
        }
        if !name.is_ascii() {
            return Err(bad("it is not ASCII"));
        }
        let name = DnsName::try_from(name.to_ascii_lowercase()).map_err(|_| bad("it is not a host name"))?;
        Ok(Self::Dns(name))
    }

    /// The name as rustls takes it; an address makes a connection without SNI (RFC 6066 §3).
    #[must_use]
    pub fn to_server_name(&self) -> ServerName<'static> {
        match self {
            Self::Dns(name) => ServerName::DnsName(name.clone()),
            Self::Ip(address) => ServerName::IpAddress((*address).into()),
        }
    }
}

impl std::fmt::Display for HostName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name.as_ref()),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::HostName;

    #[test]
    fn one_form_for_every_spelling() {
        let long = format!("{}.{}.example.com", "a".repeat(63), "b".repeat(63));
        for (written, name) in [
            ("Example.COM", "example.com"),
            ("example.com.", "example.com"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("foo_bar.example", "foo_bar.example"),
            ("localhost", "localhost"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]", "::1"),
            ("2001:DB8::1", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
            (&long, &long),
        ] {
            assert_eq!(HostName::parse(written).expect(written).to_string(), name);
        }
        for bad in ["", ".", "a b", "b\u{fc}cher.example", "a..b", "*.example.com", &"a.".repeat(200), "a/b", "[::1"] {
            assert!(HostName::parse(bad).is_err(), "{bad:?}");
        }
    }
}

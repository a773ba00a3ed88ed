//! Hosts that are let through untouched because a list says so.
//!
//! In: rules as users write them (`host`, `*.suffix`, `*`, an address, `address/bits`, each with an optional
//! `:port`). Out: whether a host and port are on the list. Exact and suffix rules cost a look-up each
//! label, address ranges a walk over the ranges.

use std::net::IpAddr;

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use weir_engine::record::url::split_host_port;

use super::TlsSetupError;
use crate::ca::HostName;

/// The ports a rule is for; none: every port.
type Ports = Vec<Option<u16>>;

/// The list.
#[derive(Debug, Default, Clone)]
pub struct Passthrough {
    exact: HashMap<String, Ports, FxBuildHasher>,
    suffixes: HashMap<String, Ports, FxBuildHasher>,
    ranges: Vec<(IpAddr, u8, Option<u16>)>,
    everything: Ports,
}

impl Passthrough {
    /// Reads the rules.
    ///
    /// # Errors
    /// [`TlsSetupError::BadPassthrough`] with the first rule that is none.
    pub fn parse<S: AsRef<str>>(rules: impl IntoIterator<Item = S>) -> Result<Self, TlsSetupError> {
        let mut list = Self::default();
        for rule in rules {
            let rule = rule.as_ref().trim();
            list.add(rule).ok_or_else(|| TlsSetupError::BadPassthrough { rule: rule.to_owned() })?;
        }
        Ok(list)
    }

    fn add(&mut self, rule: &str) -> Option<()> {
        if let Some((address, bits)) = rule.rsplit_once('/') {
            let (bits, port) = match bits.split_once(':') {
                Some((bits, port)) => (bits, Some(port.parse().ok()?)),
                None => (bits, None),
            };
            let address: IpAddr = address.trim_matches(['[', ']']).parse().ok()?;
            let bits: u8 = bits.parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            return (bits <= most).then(|| self.ranges.push((address, bits, port)));
        }
        let (host, port) = split_host_port(rule)?;
        if host == "*" {
            self.everything.push(port);
        } else if let Some(suffix) = host.strip_prefix("*.") {
            let HostName::Dns(suffix) = HostName::parse(suffix).ok()? else { return None };
            self.suffixes.entry(suffix.as_ref().to_owned()).or_default().push(port);
        } else {
            self.exact.entry(HostName::parse(host).ok()?.to_string()).or_default().push(port);
        }
        Some(())
    }

    /// Whether a host and port are on the list. `*.example.com` is for names below `example.com`, not for itself.
    #[must_use]
    pub fn contains(&self, host: &HostName, port: u16) -> bool {
        let allows = |ports: &Ports| ports.iter().any(|only| only.is_none_or(|only| only == port));
        if allows(&self.everything) {
            return true;
        }
        if self.exact.is_empty() && self.suffixes.is_empty() && self.ranges.is_empty() {
            return false;
        }
        let name = host.to_string();
        if self.exact.get(&name).is_some_and(allows) {
            return true;
        }
        match host {
            HostName::Ip(address) => self
                .ranges
                .iter()
                .any(|(range, bits, only)| only.is_none_or(|only| only == port) && in_range(*address, *range, *bits)),
            HostName::Dns(_) => {
                let mut rest = name.as_str();
                while let Some((_, parent)) = rest.split_once('.') {
                    if self.suffixes.get(parent).is_some_and(allows) {
                        return true;
                    }
                    rest = parent;
                }
                false
            }
        }
    }
}

/// Whether the first `bits` of two addresses are the same; IPv4 mapped into IPv6 counts as IPv4.
fn in_range(address: IpAddr, range: IpAddr, bits: u8) -> bool {
    let shift = |width: u32| width.saturating_sub(u32::from(bits));
    match (address.to_canonical(), range) {
        (IpAddr::V4(address), IpAddr::V4(range)) => {
            (address.to_bits() ^ range.to_bits()).checked_shr(shift(32)).unwrap_or(0) == 0
        }
        (IpAddr::V6(address), IpAddr::V6(range)) => {
            (address.to_bits() ^ range.to_bits()).checked_shr(shift(128)).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_match_what_they_say() {
        let list = Passthrough::parse([
            "pinned.example.com",
            "*.bank.example",
            "dev.example:8443",
            "10.0.0.0/8",
            "192.168.1.7",
            "[2001:db8::]/32:443",
            "*:5228",
        ]);
        let list = list.expect("parses");
        for (host, port, expected) in [
            ("Pinned.Example.com.", 443, true),
            ("a.pinned.example.com", 443, false),
            ("a.b.bank.example", 1, true),
            ("bank.example", 443, false),
            ("notbank.example", 443, false),
            ("dev.example", 8443, true),
            ("dev.example", 443, false),
            ("10.200.3.4", 443, true),
            ("11.0.0.1", 443, false),
            ("::ffff:10.1.1.1", 443, true),
            ("192.168.1.7", 443, true),
            ("192.168.1.8", 443, false),
            ("2001:db8:1::1", 443, true),
            ("2001:db8:1::1", 444, false),
            ("anything.example", 5228, true),
        ] {
            assert_eq!(list.contains(&HostName::parse(host).expect(host), port), expected, "{host}:{port}");
        }
        let everything = Passthrough::parse(["0.0.0.0/0", "::/0"]).expect("parses");
        assert!(everything.contains(&HostName::Ip([1, 2, 3, 4].into()), 1));
        for bad in ["", "a b", "10.0.0.0/33", "a.example:99999", "*.1.2.3.4", "a/8", "*.*.a"] {
            assert!(Passthrough::parse([bad]).is_err(), "{bad}");
        }
    }
}

//! Hosts a client will not let us intercept: learnt from its refusals, let through untouched from then on.
//!
//! In: what became of intercepted connections, with the time. Out: whether the next connection of that client to
//! that host is to be let through. Pure.
//!
//! What is learnt is for one client and one host: an app that pins its certificates on one phone hides nothing of
//! the other devices, and nothing of what that phone sends elsewhere. It is forgotten after an hour, so that a
//! client that has come to trust the CA is recorded again. One alert about the certificate suffices; a
//! connection closed without a word counts less, since clients give up connections for other reasons too; and
//! once a client has sent a request through an interception of a host, silence is no longer taken for a refusal.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::{ca::HostName, generations::Generations};

/// Clients and hosts that are remembered.
const ENTRIES: usize = 4_096;
/// How long anything is remembered.
const TTL: Duration = Duration::from_secs(3_600);
/// Points at which a host counts as pinned.
const ENOUGH: u8 = 6;

/// What became of an intercepted connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The client sent an alert about our certificate.
    Refused,
    /// It closed in the middle of the handshake, after our certificate.
    ClosedInHandshake,
    /// It closed after the handshake without a request, as apps that check pins afterwards do.
    ClosedUnused,
    /// It sent a request.
    Served,
}

#[derive(Debug)]
struct Entry {
    points: u8,
    served: bool,
    updated: Instant,
}

/// The memory of refusals; bounded.
#[derive(Debug)]
pub struct Pinned {
    entries: Generations<(IpAddr, HostName), Entry>,
}

impl Default for Pinned {
    fn default() -> Self {
        Self { entries: Generations::new(ENTRIES) }
    }
}

impl Pinned {
    /// Takes in what became of a connection.
    pub fn note(&mut self, client: IpAddr, host: &HostName, outcome: Outcome, now: Instant) {
        let key = (client, host.clone());
        let known = self.entries.get(&key);
        let known = known.filter(|entry| now.saturating_duration_since(entry.updated) < TTL);
        let (points, served) = known.as_ref().map_or((0, false), |entry| (entry.points, entry.served));
        let points = match outcome {
            Outcome::Refused => ENOUGH,
            Outcome::Served => 0,
            _ if served => points,
            Outcome::ClosedInHandshake => points.saturating_add(ENOUGH / 2),
            Outcome::ClosedUnused => points.saturating_add(ENOUGH / 3),
        };
        let served = outcome == Outcome::Served || served && outcome != Outcome::Refused;
        self.entries.insert(key, Entry { points, served, updated: now });
    }

    /// Whether this client's connections to this host are to be let through.
    pub fn contains(&mut self, client: IpAddr, host: &HostName, now: Instant) -> bool {
        let entry = self.entries.get(&(client, host.clone()));
        entry.is_some_and(|entry| entry.points >= ENOUGH && now.saturating_duration_since(entry.updated) < TTL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 5));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 6));

    fn after(outcomes: &[Outcome]) -> bool {
        let mut pinned = Pinned::default();
        let host = HostName::parse("a.example").expect("parses");
        let now = Instant::now();
        for outcome in outcomes {
            pinned.note(PHONE, &host, *outcome, now);
        }
        pinned.contains(PHONE, &host, now)
    }

    #[test]
    fn an_alert_suffices_and_silence_has_to_repeat() {
        use Outcome::{ClosedInHandshake, ClosedUnused, Refused, Served};
        assert!(after(&[Refused]));
        assert!(!after(&[ClosedInHandshake]));
        assert!(after(&[ClosedInHandshake, ClosedInHandshake]));
        assert!(!after(&[ClosedUnused, ClosedUnused]));
        assert!(after(&[ClosedUnused, ClosedUnused, ClosedUnused]));
        assert!(!after(&[Served, ClosedUnused, ClosedUnused, ClosedUnused, ClosedInHandshake, ClosedInHandshake]));
        assert!(!after(&[ClosedInHandshake, Served, ClosedInHandshake]));
        assert!(after(&[Served, Refused]));
        assert!(!after(&[Refused, Served]));
    }

    #[test]
    fn it_is_for_one_client_and_host_and_for_a_time() {
        let mut pinned = Pinned::default();
        let (host, sibling) =
            (HostName::parse("a.example").expect("parses"), HostName::parse("b.example").expect("parses"));
        let now = Instant::now();
        pinned.note(PHONE, &host, Outcome::Refused, now);
        assert!(pinned.contains(PHONE, &host, now + TTL / 2));
        assert!(!pinned.contains(OTHER, &host, now));
        assert!(!pinned.contains(PHONE, &sibling, now));
        assert!(!pinned.contains(PHONE, &host, now + TTL));
        for n in 0..100_000_u32 {
            pinned.note(IpAddr::V4(n.into()), &host, Outcome::Refused, now);
        }
        assert!(pinned.entries.len() <= ENTRIES);
    }
}

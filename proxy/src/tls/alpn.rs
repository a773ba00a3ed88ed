//! Which HTTP version an intercepted connection speaks (ALPN, RFC 7301), so that HTTP/2 stays HTTP/2.
//!
//! In: what the client offers and what is known of the origin. Out: what to answer, or that the origin has to be
//! asked first. Pure; the memory of origins takes the time as an argument.

use std::time::{Duration, Instant};

use crate::generations::Generations;

/// An ALPN protocol that weir speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Alpn {
    /// HTTP/2.
    H2,
    /// HTTP/1.1.
    Http11,
    /// HTTP/1.0, where a client offers nothing newer.
    Http10,
}

impl Alpn {
    /// The identifier in IANA's registry.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::H2 => "h2",
            Self::Http11 => "http/1.1",
            Self::Http10 => "http/1.0",
        }
    }

    /// From the identifier on the wire.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes {
            b"h2" => Some(Self::H2),
            b"http/1.1" => Some(Self::Http11),
            b"http/1.0" => Some(Self::Http10),
            _ => None,
        }
    }
}

/// What to ask a server for when the client would take HTTP/2.
pub const BOTH: &[Alpn] = &[Alpn::H2, Alpn::Http11];
/// What to ask a server for when it is to be HTTP/1.1.
pub const HTTP_11: &[Alpn] = &[Alpn::Http11];

/// What a client offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offer {
    /// `h2`.
    pub h2: bool,
    /// `http/1.1`.
    pub http11: bool,
    /// `http/1.0`.
    pub http10: bool,
    /// Something that is not HTTP, or no HTTP that we know.
    pub other: bool,
}

/// What an offer comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// Answer with this, or without ALPN.
    Answer(Option<Alpn>),
    /// Whether the origin speaks HTTP/2 decides: ask it for [`BOTH`].
    AskOrigin,
    /// Only protocols that are not HTTP are offered.
    NotHttp,
}

impl Offer {
    /// From the identifiers in a ClientHello; none at all where the extension is missing.
    #[must_use]
    pub fn new<'a>(protocols: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut offer = Self::default();
        for protocol in protocols {
            match Alpn::from_bytes(protocol) {
                Some(Alpn::H2) => offer.h2 = true,
                Some(Alpn::Http11) => offer.http11 = true,
                Some(Alpn::Http10) => offer.http10 = true,
                None => offer.other = true,
            }
        }
        offer
    }

    /// What to answer, given what is known of the origin.
    #[must_use]
    pub fn settle(self, origin: Option<Alpn>) -> Settlement {
        match (self.h2, origin) {
            (true, None) if self.http11 => Settlement::AskOrigin,
            (true, Some(origin)) => Settlement::Answer(self.answer(Some(origin))),
            // A client of HTTP/2 only gets it in any case; what the origin speaks is translated.
            (true, None) => Settlement::Answer(Some(Alpn::H2)),
            (false, _) if !self.http11 && !self.http10 && self.other => Settlement::NotHttp,
            (false, _) => Settlement::Answer(self.fallback()),
        }
    }

    /// What to answer once the server has chosen (`None`: it did without ALPN, which means HTTP/1.1).
    #[must_use]
    pub fn answer(self, origin: Option<Alpn>) -> Option<Alpn> {
        if self.h2 && origin == Some(Alpn::H2) { Some(Alpn::H2) } else { self.fallback() }
    }

    /// What to answer when the server cannot be asked: HTTP/1.1 unless the client takes HTTP/2 only.
    #[must_use]
    pub fn fallback(self) -> Option<Alpn> {
        match self {
            Self { http11: true, .. } => Some(Alpn::Http11),
            Self { h2: true, .. } => Some(Alpn::H2),
            Self { http10: true, .. } => Some(Alpn::Http10),
            _ => None,
        }
    }
}

/// Origins whose choice is remembered.
const ORIGINS: usize = 4_096;
/// How long a choice is believed: long enough for a page, short enough for a reconfigured server.
const ORIGIN_TTL: Duration = Duration::from_secs(600);

/// What origins chose when they were last asked for [`BOTH`]; bounded.
#[derive(Debug)]
pub struct Origins {
    chosen: Generations<(Box<str>, u16), (Alpn, Instant)>,
}

impl Default for Origins {
    fn default() -> Self {
        Self { chosen: Generations::new(ORIGINS) }
    }
}

impl Origins {
    /// Remembers what an origin chose (no ALPN at all means HTTP/1.1).
    pub fn learn(&mut self, host: &str, port: u16, chosen: Option<Alpn>, now: Instant) {
        self.chosen.insert((host.into(), port), (chosen.unwrap_or(Alpn::Http11), now));
    }

    /// What an origin chose, when that is not too long ago.
    pub fn get(&mut self, host: &str, port: u16, now: Instant) -> Option<Alpn> {
        let (chosen, learnt) = *self.chosen.get(&(Box::from(host), port))?;
        (now.saturating_duration_since(learnt) < ORIGIN_TTL).then_some(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(protocols: &[&str]) -> Offer {
        Offer::new(protocols.iter().map(|protocol| protocol.as_bytes()))
    }

    #[test]
    fn http2_stays_http2_and_the_origin_is_asked_only_when_it_matters() {
        use Settlement::{Answer, AskOrigin, NotHttp};
        let browser = offer(&["h2", "http/1.1"]);
        assert_eq!(browser.settle(None), AskOrigin);
        assert_eq!(browser.settle(Some(Alpn::H2)), Answer(Some(Alpn::H2)));
        assert_eq!(browser.settle(Some(Alpn::Http11)), Answer(Some(Alpn::Http11)));
        assert_eq!(browser.answer(None), Some(Alpn::Http11));
        assert_eq!(browser.fallback(), Some(Alpn::Http11));
        for known in [None, Some(Alpn::H2), Some(Alpn::Http11)] {
            assert_eq!(offer(&["h2"]).settle(known), Answer(Some(Alpn::H2)));
            assert_eq!(offer(&["http/1.1"]).settle(known), Answer(Some(Alpn::Http11)));
            assert_eq!(offer(&["http/1.0", "x"]).settle(known), Answer(Some(Alpn::Http10)));
            assert_eq!(offer(&[]).settle(known), Answer(None));
            assert_eq!(offer(&["mqtt"]).settle(known), NotHttp);
        }
    }

    #[test]
    fn origins_are_forgotten_after_a_while() {
        let mut origins = Origins::default();
        let start = Instant::now();
        origins.learn("a", 443, None, start);
        origins.learn("a", 444, Some(Alpn::H2), start);
        assert_eq!(origins.get("a", 443, start), Some(Alpn::Http11));
        assert_eq!(origins.get("a", 444, start), Some(Alpn::H2));
        assert_eq!(origins.get("b", 443, start), None);
        assert_eq!(origins.get("a", 444, start + ORIGIN_TTL), None);
    }
}

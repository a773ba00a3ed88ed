//! Who may talk to the control API: the right Host, no foreign Origin, and the token.
//!
//! A page on the internet can make a browser send requests to 127.0.0.1, directly or by pointing its own
//! name there (DNS rebinding). So the Host must be one of ours, the Origin ours or absent, and the
//! token known; nothing is readable across origins, as no CORS header is ever sent.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, Uri, header};

use super::token::Token;

/// Why a request is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The Host field is not one of ours.
    Host,
    /// The Origin is another site's.
    Origin,
    /// No token, or a wrong one.
    Token,
}

impl Refusal {
    /// Stable code and sentence.
    pub(crate) const fn describe(self) -> (&'static str, &'static str) {
        match self {
            Self::Host => ("host_refused", "the Host is not this machine's; use the link that weir printed"),
            Self::Origin => ("origin_refused", "requests of other sites are refused; use the link that weir printed"),
            Self::Token => (
                "token_needed",
                "the token is missing or wrong; use the link that weir printed, or Authorization: Bearer",
            ),
        }
    }
}

/// How the token was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// In `Authorization` or in the cookie.
    Header,
    /// In the URL: to be replaced by the cookie.
    Query,
}

/// Checks requests.
#[derive(Debug)]
pub(crate) struct Guard {
    listen: SocketAddr,
    token: Token,
    cookie: String,
}

impl Guard {
    /// For an API that listens at `listen`.
    pub(crate) fn new(listen: SocketAddr, token: Token) -> Self {
        // Cookies do not know ports: captures that run side by side must not share a name.
        Self { listen, token, cookie: format!("weir_{}", listen.port()) }
    }

    /// The cookie to set once the token was shown in the URL.
    pub(crate) fn set_cookie(&self) -> String {
        format!("{}={}; Path=/; HttpOnly; SameSite=Strict", self.cookie, self.token.as_str())
    }

    /// Lets a request through, or says why not.
    pub(crate) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<Shown, Refusal> {
        let text = |name: header::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let host = uri.authority().map(axum::http::uri::Authority::as_str).or_else(|| text(header::HOST));
        if headers.get_all(header::HOST).iter().count() > 1 || !host.is_some_and(|host| self.is_ours(host)) {
            return Err(Refusal::Host);
        }
        if let Some(origin) = text(header::ORIGIN)
            && !origin.strip_prefix("http://").is_some_and(|authority| self.is_ours(authority))
        {
            return Err(Refusal::Origin);
        }
        let bearer = text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        let cookie = headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(name, _)| *name == self.cookie)
            .map(|(_, value)| value);
        let query = || {
            uri.query()?
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find(|(name, _)| *name == "token")
                .map(|(_, v)| v)
        };
        if bearer.or(cookie).is_some_and(|given| self.token.is(given)) {
            Ok(Shown::Header)
        } else if query().is_some_and(|given| self.token.is(given)) {
            Ok(Shown::Query)
        } else {
            Err(Refusal::Token)
        }
    }

    /// Whether an authority means this listener. A name that is not `localhost` never does: whose it is
    /// tomorrow nobody knows. On a listener for all addresses any address literal does.
    fn is_ours(&self, authority: &str) -> bool {
        let Some((host, port)) = weir_engine::record::url::split_host_port(authority) else { return false };
        if port.unwrap_or(80) != self.listen.port() {
            return false;
        }
        if host.eq_ignore_ascii_case("localhost") {
            return self.listen.ip().is_loopback() || self.listen.ip().is_unspecified();
        }
        match host.parse::<IpAddr>() {
            Ok(ip) => self.listen.ip().is_unspecified() || ip == self.listen.ip(),
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(&str, &str)], uri: &str) -> Result<Shown, Refusal> {
        let listen = "127.0.0.1:5560".parse().expect("address");
        let token = Token::generate().expect("random");
        let guard = Guard::new(listen, token.clone());
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: header::HeaderName = name.parse().expect("name");
            map.append(name, value.replace("TOKEN", token.as_str()).parse().expect("value"));
        }
        guard.check(&uri.replace("TOKEN", token.as_str()).parse().expect("target"), &map)
    }

    #[test]
    fn the_token_in_any_of_three_places() {
        let host = ("host", "127.0.0.1:5560");
        assert_eq!(check(&[host, ("authorization", "Bearer TOKEN")], "/"), Ok(Shown::Header));
        assert_eq!(check(&[host, ("cookie", "a=b; weir_5560=TOKEN")], "/"), Ok(Shown::Header));
        assert_eq!(check(&[("host", "localhost:5560")], "/?token=TOKEN"), Ok(Shown::Query));
        for (headers, uri) in [
            (vec![host], "/"),
            (vec![host, ("authorization", "Bearer x")], "/"),
            (vec![host, ("cookie", "weir_1=TOKEN")], "/"),
            (vec![host], "/?token="),
        ] {
            assert_eq!(check(&headers, uri), Err(Refusal::Token), "{headers:?}");
        }
    }

    #[test]
    fn rebinding_and_other_sites_are_refused() {
        for host in ["evil.example:5560", "127.0.0.1:80", "127.0.0.1", "127.0.0.1.evil.example:5560", "", "[::1]:5560"]
        {
            assert_eq!(check(&[("host", host)], "/?token=TOKEN"), Err(Refusal::Host), "{host}");
        }
        assert_eq!(check(&[], "/?token=TOKEN"), Err(Refusal::Host));
        let two = [("host", "127.0.0.1:5560"), ("host", "evil.example")];
        assert_eq!(check(&two, "/?token=TOKEN"), Err(Refusal::Host));
        for origin in ["http://evil.example", "null", "https://127.0.0.1:5560", "http://127.0.0.1:1"] {
            let headers = [("host", "127.0.0.1:5560"), ("origin", origin)];
            assert_eq!(check(&headers, "/?token=TOKEN"), Err(Refusal::Origin), "{origin}");
        }
        let ours = [("host", "127.0.0.1:5560"), ("origin", "http://localhost:5560")];
        assert_eq!(check(&ours, "/?token=TOKEN"), Ok(Shown::Query));
    }
}

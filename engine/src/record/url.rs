//! The complete URL of a request and its parts (RFC 3986 §3), as ranges into one text.
//!
//! In: what stood in a request line, or the parts a connection knows (scheme, authority, target).
//! Out: the columns `url`, `scheme`, `domain`, `port`, `path`, `query`.

use std::{borrow::Cow, ops::Range};

use bytestring::ByteString;

use super::host::canonical;

/// A URL as requested, with its parts found once.
#[derive(Debug, Clone, Default)]
pub struct Url {
    text: ByteString,
    scheme: &'static str,
    /// Host, lower case, without port, IPv6 without brackets.
    domain: Domain,
    port: u16,
    path: Range<u32>,
    query: Option<Range<u32>>,
}

/// A domain, mostly as it stands in the URL: no share of the buffer of its own, whose count other threads change too.
#[derive(Debug, Clone)]
enum Domain {
    Within(Range<u32>),
    Lowered(Box<str>),
}

impl Default for Domain {
    fn default() -> Self {
        Self::Within(0..0)
    }
}

impl Url {
    /// From an absolute-form request target (RFC 9112 §3.2.2). User information is kept in
    /// [`as_str`](Self::as_str) and left out of the domain.
    ///
    /// `None` when it has no known scheme, no host, or a port that is none.
    #[must_use]
    pub fn parse(text: ByteString) -> Option<Self> {
        let after_scheme = scheme_end(text.as_bytes())?;
        let scheme = known_scheme(&text[..after_scheme])?;
        let authority_start = after_scheme + 3;
        let rest = &text.as_bytes()[authority_start..];
        let authority_len = memchr::memchr3(b'/', b'?', b'#', rest).unwrap_or(rest.len());
        let authority_end = authority_start + authority_len;
        let authority = &text[authority_start..authority_end];
        let host_port = authority.rsplit_once('@').map_or(authority, |(_, after)| after);
        let (host, port) = split_host_port(host_port)?;
        if host.is_empty() {
            return None;
        }
        let domain = lower(host, host.as_ptr().addr() - text.as_ptr().addr());
        let port = port.unwrap_or(default_port(scheme));
        Some(Self::with_parts(text, scheme, domain, port, authority_end))
    }

    /// From the parts a connection knows: the scheme, the authority (`host` or `host:port`, from the
    /// Host field, `:authority` or CONNECT), and an origin-form or asterisk-form request target.
    ///
    /// `None` when the authority is empty or its port is none.
    #[must_use]
    pub fn from_parts(scheme: &str, authority: &str, target: &str) -> Option<Self> {
        let scheme = known_scheme(scheme)?;
        let authority = authority.rsplit_once('@').map_or(authority, |(_, after)| after);
        let (host, port) = split_host_port(authority)?;
        if host.is_empty() {
            return None;
        }
        let port = port.unwrap_or(default_port(scheme));
        let target_path = if target == "*" { "" } else { target };
        let slash = if target_path.is_empty() || target_path.starts_with(['/', '?']) { "" } else { "/" };
        let mut text = String::with_capacity(scheme.len() + 3 + authority.len() + slash.len() + target_path.len());
        text.push_str(scheme);
        text.push_str("://");
        // The default port says nothing: `https://a:443/` and `https://a/` are one URL (RFC 9110 §4.2.3).
        if port == default_port(scheme) {
            let said = if port == 443 { ":443" } else { ":80" };
            text.push_str(authority.strip_suffix(said).unwrap_or(authority));
        } else {
            text.push_str(authority);
        }
        let authority_end = text.len();
        text.push_str(slash);
        text.push_str(target_path);
        // `host` begins the authority, behind a bracket perhaps.
        let host_start = scheme.len() + 3 + (host.as_ptr().addr() - authority.as_ptr().addr());
        let domain = lower(host, host_start);
        Some(Self::with_parts(text.into(), scheme, domain, port, authority_end))
    }

    fn with_parts(text: ByteString, scheme: &'static str, domain: Domain, port: u16, path_start: usize) -> Self {
        let bytes = text.as_bytes();
        let end = memchr::memchr(b'#', &bytes[path_start..]).map_or(bytes.len(), |at| path_start + at);
        let question = memchr::memchr(b'?', &bytes[path_start..end]).map(|at| path_start + at);
        let narrow = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let path = narrow(path_start)..narrow(question.unwrap_or(end));
        let query = question.map(|at| narrow(at + 1)..narrow(end));
        Self { text, scheme, domain, port, path, query }
    }

    /// The complete URL, as requested.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// `http`, `https`, `ws` or `wss`; empty when unknown.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// Host, lower case, without port; IPv6 addresses without brackets.
    #[must_use]
    pub fn domain(&self) -> &str {
        match &self.domain {
            Domain::Within(range) => self.text.get(range.start as usize..range.end as usize).unwrap_or_default(),
            Domain::Lowered(domain) => domain,
        }
    }

    /// Port, the scheme's default where none was given.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Path as requested; `/` where the URL has none.
    #[must_use]
    pub fn path(&self) -> &str {
        match self.text.get(self.path.start as usize..self.path.end as usize) {
            None | Some("") => "/",
            Some(path) => path,
        }
    }

    /// Query without its `?`; empty where the URL has none.
    #[must_use]
    pub fn query(&self) -> &str {
        self.query
            .as_ref()
            .and_then(|range| self.text.get(range.start as usize..range.end as usize))
            .unwrap_or_default()
    }
}

/// Where the scheme of an absolute URL ends: before the first `://`, which no scheme has a colon before
/// (RFC 3986 §3.1).
#[must_use]
pub fn scheme_end(url: &[u8]) -> Option<usize> {
    memchr::memchr(b':', url).filter(|&colon| url[colon..].starts_with(b"://"))
}

fn known_scheme(scheme: &str) -> Option<&'static str> {
    ["http", "https", "ws", "wss"].into_iter().find(|known| known.eq_ignore_ascii_case(scheme))
}

/// The port a scheme means when none is given.
#[must_use]
pub fn default_port(scheme: &str) -> u16 {
    if matches!(scheme, "https" | "wss") { 443 } else { 80 }
}

/// Splits `host`, `host:port`, `[v6]`, `[v6]:port`; the host without brackets. An empty port (`host:`)
/// is no port (RFC 3986 §3.2.3). `None` when the port is not a number up to 65535 or a bracket is open.
#[must_use]
pub fn split_host_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let parse_port = |digits: &str| match digits {
        "" => Some(None),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok().map(Some),
        _ => None,
    };
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        return match after.strip_prefix(':') {
            None if after.is_empty() => Some((host, None)),
            None => None,
            Some(digits) => Some((host, parse_port(digits)?)),
        };
    }
    match authority.split_once(':') {
        None => Some((authority, None)),
        // More than one colon and no brackets: an IPv6 address written bare.
        Some((_, after)) if after.contains(':') => Some((authority, None)),
        Some((host, digits)) => Some((host, parse_port(digits)?)),
    }
}

/// The domain that is `host`, which stands at `start` in the text.
fn lower(host: &str, start: usize) -> Domain {
    if let Cow::Owned(changed) = canonical(host) {
        return Domain::Lowered(changed.into());
    }
    let narrow = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    Domain::Within(narrow(start)..narrow(start + host.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(url: &Url) -> (&str, &str, u16, &str, &str) {
        (url.scheme(), url.domain(), url.port(), url.path(), url.query())
    }

    #[test]
    fn absolute_form() {
        let parse = |text: &str| Url::parse(text.into());
        let url = parse("http://Example.COM:8080/a/b?c=d&e").expect("parses");
        assert_eq!(parts(&url), ("http", "example.com", 8080, "/a/b", "c=d&e"));
        assert_eq!(url.as_str(), "http://Example.COM:8080/a/b?c=d&e");
        assert_eq!(parts(&parse("https://a").expect("parses")), ("https", "a", 443, "/", ""));
        assert_eq!(parts(&parse("http://a?x#y").expect("parses")), ("http", "a", 80, "/", "x"));
        assert_eq!(parse("http://B\u{fc}CHER.example/").expect("parses").domain(), "xn--bcher-kva.example");
        assert_eq!(parts(&parse("http://u:p@[::1]:81/").expect("parses")), ("http", "::1", 81, "/", ""));
        for bad in ["a/b", "ftp://a/", "http:///x", "http://a:99999/", "http://a:b/", "http://[::1/"] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn from_parts() {
        let url = Url::from_parts("https", "A.example:443", "/x?y").expect("builds");
        assert_eq!(url.as_str(), "https://A.example/x?y");
        assert_eq!(parts(&url), ("https", "a.example", 443, "/x", "y"));
        let url = Url::from_parts("http", "a:81", "*").expect("builds");
        assert_eq!((url.as_str(), url.path()), ("http://a:81", "/"));
        assert_eq!(Url::from_parts("https", "[::1]", "/").expect("builds").as_str(), "https://[::1]/");
        assert!(Url::from_parts("http", "", "/").is_none());
    }
}

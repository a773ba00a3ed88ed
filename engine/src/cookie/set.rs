//! Set-Cookie (RFC 6265bis §5.6 and §5.7): parsed, and what a browser would refuse about it.

use std::borrow::Cow;

use super::{date, default_path, domain_matches, is_public_suffix};
use crate::{content::display_text, record::host::canonical};

/// Bytes of name and value together at most.
const MOST_PAIR: usize = 4096;
/// Bytes of an attribute's value at most; longer ones are ignored.
const MOST_ATTRIBUTE: usize = 1024;
/// Cookies live 400 days at most.
const LONGEST_US: i64 = 400 * 86_400 * 1_000_000;

/// With which requests of other sites a cookie is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// With none.
    Strict,
    /// With navigations.
    Lax,
    /// With all.
    None,
}

impl SameSite {
    /// The word in the column.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Lax => "Lax",
            Self::None => "None",
        }
    }
}

/// Why a browser would not keep a cookie: a stable code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Control characters.
    ControlCharacter,
    /// Name and value are too long.
    TooLong,
    /// Its domain is a public suffix.
    PublicSuffix,
    /// Its domain is not the host's, nor above it.
    OtherDomain,
    /// Secure, from a URL that is not.
    NotSecure,
    /// `SameSite=None` without `Secure`.
    SameSiteNone,
    /// A name that begins with `__Secure-` or `__Host-` without what these promise.
    Prefix,
}

impl Refusal {
    /// The word in the column.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ControlCharacter => "control_character",
            Self::TooLong => "too_long",
            Self::PublicSuffix => "public_suffix",
            Self::OtherDomain => "other_domain",
            Self::NotSecure => "not_secure",
            Self::SameSiteNone => "same_site_none",
            Self::Prefix => "prefix",
        }
    }
}

/// The response that sets a cookie.
#[derive(Debug, Clone, Copy)]
pub struct SetFrom<'a> {
    /// Host of the URL, lower case.
    pub host: &'a str,
    /// Path of the URL.
    pub path: &'a str,
    /// Whether the URL is https (or wss).
    pub secure: bool,
    /// When, microseconds since the Unix epoch.
    pub at_us: i64,
}

/// A cookie as it was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetCookie {
    /// Its name; may be empty.
    pub name: String,
    /// Its value.
    pub value: String,
    /// The host or domain it is for.
    pub domain: String,
    /// Whether it is for that host alone.
    pub host_only: bool,
    /// The path it is for.
    pub path: String,
    /// When it ends, microseconds since the Unix epoch; `None`: with the browser's session.
    pub expires_us: Option<i64>,
    /// `Max-Age` as sent.
    pub max_age_s: Option<i64>,
    /// Only over TLS.
    pub secure: bool,
    /// Not for scripts.
    pub http_only: bool,
    /// `SameSite`, where it is one that is known.
    pub same_site: Option<SameSite>,
    /// Why a browser would not keep it.
    pub refusal: Option<Refusal>,
}

/// Reads a Set-Cookie field value; `None` where there is neither name nor value.
#[must_use]
pub fn parse_set_cookie(field: &[u8], from: SetFrom<'_>) -> Option<SetCookie> {
    let text = display_text(field);
    let (pair, attributes) = text.split_once(';').unwrap_or((&text, ""));
    let (name, value) = pair.split_once('=').unwrap_or(("", pair));
    let (name, value) = (trim(name), trim(value));
    if name.is_empty() && value.is_empty() {
        return None;
    }
    let mut cookie = SetCookie {
        name: clip(name),
        value: clip(value),
        domain: from.host.to_owned(),
        host_only: true,
        path: default_path(from.path).to_owned(),
        expires_us: None,
        max_age_s: None,
        secure: false,
        http_only: false,
        same_site: None,
        refusal: None,
    };
    let mut refusal = None;
    if text.chars().any(|c| c != '\t' && c.is_ascii_control()) {
        refusal = Some(Refusal::ControlCharacter);
    } else if name.len() + value.len() > MOST_PAIR {
        refusal = Some(Refusal::TooLong);
    }
    let domain = cookie.read_attributes(attributes, from);
    let refused_domain = cookie.take_domain(&domain, from.host);
    cookie.refusal = refusal.or(refused_domain).or_else(|| cookie.refuse(from));
    Some(cookie)
}

impl SetCookie {
    /// Reads the attributes; the last of each counts. Returns that of the domain.
    fn read_attributes<'a>(&mut self, attributes: &'a str, from: SetFrom<'_>) -> Cow<'a, str> {
        let mut domain = Cow::Borrowed("");
        let mut expires_us = None;
        for attribute in attributes.split(';') {
            let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            let (name, value) = (trim(name), trim(value));
            if value.len() > MOST_ATTRIBUTE {
                continue;
            }
            match name.to_ascii_lowercase().as_str() {
                "expires" => expires_us = date::parse(value).or(expires_us),
                "max-age" => self.max_age_s = max_age(value).or(self.max_age_s),
                "domain" => domain = canonical(value.strip_prefix('.').unwrap_or(value)),
                "path" if value.starts_with('/') => value.clone_into(&mut self.path),
                "path" => default_path(from.path).clone_into(&mut self.path),
                "secure" => self.secure = true,
                "httponly" => self.http_only = true,
                "samesite" => self.same_site = same_site(value),
                _ => {}
            }
        }
        let most = from.at_us.saturating_add(LONGEST_US);
        self.expires_us = match self.max_age_s {
            // Zero and less: at once.
            Some(seconds) if seconds <= 0 => Some(0),
            Some(seconds) => Some(from.at_us.saturating_add(seconds.saturating_mul(1_000_000)).min(most)),
            None => expires_us.map(|expires_us| expires_us.min(most)),
        };
        domain
    }

    fn take_domain(&mut self, domain: &str, host: &str) -> Option<Refusal> {
        if domain.is_empty() {
            return None;
        }
        if is_public_suffix(domain) {
            // A host that is a public suffix itself may set cookies for itself alone.
            return (domain != host).then_some(Refusal::PublicSuffix);
        }
        if !domain_matches(host, domain) {
            return Some(Refusal::OtherDomain);
        }
        self.host_only = false;
        domain.clone_into(&mut self.domain);
        None
    }

    fn refuse(&self, from: SetFrom<'_>) -> Option<Refusal> {
        let begins =
            |text: &str, prefix: &str| text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        // A cookie without a name must not pass for one with a prefix.
        let named = if self.name.is_empty() { &self.value } else { &self.name };
        let (is_secure, is_host) = (begins(named, "__secure-"), begins(named, "__host-"));
        if self.secure && !from.secure {
            Some(Refusal::NotSecure)
        } else if self.same_site == Some(SameSite::None) && !self.secure {
            Some(Refusal::SameSiteNone)
        } else if (is_secure || is_host) && (self.name.is_empty() || !self.secure)
            || is_host && (!self.host_only || self.path != "/")
        {
            Some(Refusal::Prefix)
        } else {
            None
        }
    }
}

/// Without the white space around it.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// What is kept of a text that no browser would keep whole.
fn clip(text: &str) -> String {
    text[..text.floor_char_boundary(2 * MOST_PAIR)].to_owned()
}

fn max_age(value: &str) -> Option<i64> {
    let digits = value.strip_prefix('-').unwrap_or(value);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // More digits than fit mean "for ever", either way.
    Some(value.parse().unwrap_or(if value.starts_with('-') { i64::MIN } else { i64::MAX }))
}

fn same_site(value: &str) -> Option<SameSite> {
    [SameSite::Strict, SameSite::Lax, SameSite::None]
        .into_iter()
        .find(|known| known.as_str().eq_ignore_ascii_case(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FROM: SetFrom<'static> =
        SetFrom { host: "www.example.com", path: "/a/b", secure: true, at_us: 1_700_000_000_000_000 };

    fn parse(text: &str) -> SetCookie {
        parse_set_cookie(text.as_bytes(), FROM).expect("a cookie")
    }

    #[test]
    fn all_attributes() {
        let cookie = parse(
            "id = a=b ; Domain=.Example.COM; path=/x; MAX-AGE=60; Expires=Sun, 06 Nov 1994 08:49:37 GMT; secure; HttpOnly; SameSite=lax",
        );
        let expected = SetCookie {
            name: "id".into(),
            value: "a=b".into(),
            domain: "example.com".into(),
            host_only: false,
            path: "/x".into(),
            expires_us: Some(FROM.at_us + 60_000_000),
            max_age_s: Some(60),
            secure: true,
            http_only: true,
            same_site: Some(SameSite::Lax),
            refusal: None,
        };
        assert_eq!(cookie, expected);
    }

    #[test]
    fn what_is_left_out_is_the_hosts() {
        let cookie = parse("a=1");
        assert_eq!((cookie.domain.as_str(), cookie.host_only, cookie.path.as_str()), ("www.example.com", true, "/a"));
        assert_eq!(parse("nameless").value, "nameless");
        assert_eq!(parse("a=1; Path=x").path, "/a");
        assert_eq!(parse("a=1; Max-Age=0").expires_us, Some(0));
        assert_eq!(parse("a=1; Max-Age=99999999999999999999").expires_us, Some(FROM.at_us + LONGEST_US));
        assert_eq!(parse("a=1; Max-Age=x; Expires=nonsense").expires_us, None);
        assert!(parse_set_cookie(b" = ; Secure", FROM).is_none());
    }

    #[test]
    fn refusals() {
        let refusal = |text: &str| parse(text).refusal.map(Refusal::as_str);
        assert_eq!(refusal("a=1; Domain=com"), Some("public_suffix"));
        assert_eq!(refusal("a=1; Domain=other.example"), Some("other_domain"));
        assert_eq!(refusal("a=1; Domain=a.www.example.com"), Some("other_domain"));
        assert_eq!(refusal("a=1; SameSite=None"), Some("same_site_none"));
        assert_eq!(refusal("__Host-a=1; Secure; Path=/; Domain=example.com"), Some("prefix"));
        assert_eq!(refusal("__Host-a=1; Secure; Path=/"), None);
        assert_eq!(refusal("__secure-a=1"), Some("prefix"));
        assert_eq!(refusal("=__Host-a"), Some("prefix"));
        assert_eq!(refusal("a=\x011"), Some("control_character"));
        assert_eq!(refusal(&format!("a={}", "x".repeat(4096))), Some("too_long"));
        let plain = parse_set_cookie(b"a=1; Secure", SetFrom { secure: false, ..FROM }).expect("a cookie");
        assert_eq!(plain.refusal, Some(Refusal::NotSecure));
        let suffix =
            parse_set_cookie(b"a=1; Domain=github.io", SetFrom { host: "github.io", ..FROM }).expect("a cookie");
        assert_eq!((suffix.refusal, suffix.host_only), (None, true));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(cookie) = parse_set_cookie(&bytes, FROM) {
                prop_assert!(cookie.path.starts_with('/'));
                prop_assert!(domain_matches(FROM.host, &cookie.domain));
            }
        }
    }
}

//! Cookies in header lines, with the attributes that documents show (RFC 6265 §5.2).

use weir_engine::cookie::date;

use crate::time::Timestamp;

/// A cookie that a server set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SetCookie {
    /// Its name.
    pub(crate) name: String,
    /// Its value.
    pub(crate) value: String,
    /// Domain attribute, without its leading dot.
    pub(crate) domain: Option<String>,
    /// Path attribute.
    pub(crate) path: Option<String>,
    /// Expires attribute.
    pub(crate) expires: Option<Timestamp>,
    /// Max-Age attribute, seconds.
    pub(crate) max_age_s: Option<i64>,
    /// Secure attribute.
    pub(crate) secure: bool,
    /// HttpOnly attribute.
    pub(crate) http_only: bool,
    /// SameSite attribute as sent.
    pub(crate) same_site: Option<String>,
}

/// The value of a Set-Cookie line.
pub(crate) fn set_cookie(value: &str) -> Option<SetCookie> {
    let mut parts = value.split(';');
    let (name, value) = parts.next()?.split_once('=')?;
    let mut cookie = SetCookie { name: name.trim().to_owned(), value: value.trim().to_owned(), ..SetCookie::default() };
    for attribute in parts {
        let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        match &*name {
            "domain" if !value.is_empty() => cookie.domain = Some(value.trim_start_matches('.').to_ascii_lowercase()),
            "path" if value.starts_with('/') => cookie.path = Some(value.to_owned()),
            "expires" => cookie.expires = date::parse(value).map(Timestamp),
            "max-age" => cookie.max_age_s = value.parse().ok(),
            "secure" => cookie.secure = true,
            "httponly" => cookie.http_only = true,
            "samesite" if !value.is_empty() => cookie.same_site = Some(value.to_owned()),
            _ => {}
        }
    }
    Some(cookie)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_and_dates() {
        let cookie = set_cookie("a=b=c; Path=/x; Domain=.Example.com; Expires=Wed, 21-Oct-26 07:28:00 GMT; Max-Age=60; secure; HttpOnly; SameSite=Lax").expect("a cookie");
        assert_eq!((&*cookie.name, &*cookie.value, cookie.domain.as_deref()), ("a", "b=c", Some("example.com")));
        assert_eq!(cookie.expires.map(|at| at.to_string()).as_deref(), Some("2026-10-21T07:28:00.000000Z"));
        assert!(cookie.secure && cookie.http_only && cookie.max_age_s == Some(60));
        let expires = |text: &str| set_cookie(&format!("a=b; Expires={text}")).and_then(|cookie| cookie.expires);
        assert_eq!(expires("Thu, 01 Jan 1970 00:00:00 GMT"), Some(Timestamp(0)));
        for odd in ["", "tomorrow", "Wed, 99 Foo 2026 07:28:00 GMT", "Wed, 31 Feb 2026 07:28:00 GMT"] {
            assert_eq!(expires(odd), None, "{odd}");
        }
        assert_eq!(set_cookie("no pair"), None);
    }
}

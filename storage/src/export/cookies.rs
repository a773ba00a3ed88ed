//! Cookies in header lines, with the attributes that documents show (RFC 6265 §5.2).

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
            "expires" => cookie.expires = date(value),
            "max-age" => cookie.max_age_s = value.parse().ok(),
            "secure" => cookie.secure = true,
            "httponly" => cookie.http_only = true,
            "samesite" if !value.is_empty() => cookie.same_site = Some(value.to_owned()),
            _ => {}
        }
    }
    Some(cookie)
}

/// A cookie date: RFC 1123, and with dashes as Netscape wrote it.
fn date(value: &str) -> Option<Timestamp> {
    let (_, rest) = value.split_once(',').unwrap_or(("", value));
    let words: Vec<&str> = rest.split([' ', '-']).filter(|word| !word.is_empty()).collect();
    let [day, month, year, time, ..] = words.as_slice() else { return None };
    let year = match year.parse::<u16>().ok()? {
        year @ 0..70 => year + 2000,
        year @ 70..100 => year + 1900,
        year => year,
    };
    let months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let month = months.iter().position(|name| month.to_ascii_lowercase().starts_with(name))? + 1;
    let day: u8 = day.parse().ok()?;
    format!("{year:04}-{month:02}-{day:02}T{time}Z").parse().ok()
}

/// The pairs of a Cookie line.
pub(crate) fn sent(value: &str) -> impl Iterator<Item = (&str, &str)> {
    value.split(';').filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or(("", pair));
        let (name, value) = (name.trim(), value.trim());
        (!name.is_empty() || !value.is_empty()).then_some((name, value))
    })
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
        assert_eq!(date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(Timestamp(0)));
        for odd in ["", "tomorrow", "Wed, 99 Foo 2026 07:28:00 GMT", "Wed, 31 Feb 2026 07:28:00 GMT"] {
            assert_eq!(date(odd), None, "{odd}");
        }
        assert_eq!(set_cookie("no pair"), None);
        assert_eq!(sent("a=1; b; =2;").collect::<Vec<_>>(), [("a", "1"), ("", "b"), ("", "2")]);
    }
}

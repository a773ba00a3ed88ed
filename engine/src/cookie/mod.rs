//! Cookies as RFC 6265bis reads them.
//!
//! In: the values of Set-Cookie and Cookie, the URL they came with, the time. Out: cookies with all
//! that decides where they are sent again, or the reason a browser would not keep one. No clock, no store.
//!
//! - [`date`]: the dates of `Expires`.
//! - [`matching`]: which hosts and paths a cookie is for; public suffixes.
//! - [`set`]: the field Set-Cookie, parsed.

pub mod date;
pub mod matching;
pub mod set;

pub use matching::{default_path, domain_matches, is_public_suffix, path_matches, site};
pub use set::{Refusal, SameSite, SetCookie, SetFrom, parse_set_cookie};

/// Name and value of each cookie in a Cookie field value (RFC 6265bis §4.2.1 as servers read it).
pub fn pairs(value: &str) -> impl Iterator<Item = (&str, &str)> {
    value.split(';').filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or(("", pair));
        let (name, value) = (name.trim(), value.trim());
        (!name.is_empty() || !value.is_empty()).then_some((name, value))
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn pairs_of_a_cookie_field() {
        let found: Vec<_> = super::pairs("a=1; b = x=y ;; nameless; =v").collect();
        assert_eq!(found, [("a", "1"), ("b", "x=y"), ("", "nameless"), ("", "v")]);
    }
}

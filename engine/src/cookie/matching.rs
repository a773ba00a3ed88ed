//! Which hosts and paths a cookie is for (RFC 6265bis §5.1.3, §5.1.4), and public suffixes.

use std::net::IpAddr;

/// Whether a cookie for `domain` and what is under it is sent to `host`; both lower case.
#[must_use]
pub fn domain_matches(host: &str, domain: &str) -> bool {
    host == domain
        || (host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
            && !domain.is_empty()
            && !is_address(host))
}

/// Whether a cookie for `cookie_path` is sent with a request for `path`.
#[must_use]
pub fn path_matches(path: &str, cookie_path: &str) -> bool {
    path == cookie_path
        || path.strip_prefix(cookie_path).is_some_and(|rest| cookie_path.ends_with('/') || rest.starts_with('/'))
}

/// The path of a cookie that names none: the request's up to its last slash.
#[must_use]
pub fn default_path(path: &str) -> &str {
    match path.rfind('/') {
        Some(last) if last > 0 && path.starts_with('/') => &path[..last],
        _ => "/",
    }
}

/// Whether everybody can register names under this one (`com`, `co.uk`, `github.io`).
#[must_use]
pub fn is_public_suffix(domain: &str) -> bool {
    !is_address(domain) && psl::suffix_str(domain).is_some_and(|suffix| suffix == domain)
}

/// The site a host belongs to: the name that somebody registered; addresses and bare names stand for themselves.
#[must_use]
pub fn site(host: &str) -> &str {
    if is_address(host) { host } else { psl::domain_str(host).unwrap_or(host) }
}

fn is_address(host: &str) -> bool {
    host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains() {
        assert!(domain_matches("a.example.com", "example.com") && domain_matches("example.com", "example.com"));
        assert!(!domain_matches("notexample.com", "example.com") && !domain_matches("example.com", "a.example.com"));
        assert!(!domain_matches("10.0.0.1", "0.0.1") && domain_matches("10.0.0.1", "10.0.0.1"));
        assert!(is_public_suffix("co.uk") && is_public_suffix("com") && is_public_suffix("github.io"));
        assert!(!is_public_suffix("example.co.uk") && !is_public_suffix("127.0.0.1"));
        assert_eq!(site("a.b.example.co.uk"), "example.co.uk");
        assert_eq!([site("localhost"), site("127.0.0.1"), site("::1")], ["localhost", "127.0.0.1", "::1"]);
    }

    #[test]
    fn paths() {
        assert!(path_matches("/a/b", "/a") && path_matches("/a/b", "/a/") && path_matches("/a", "/a"));
        assert!(!path_matches("/ab", "/a") && !path_matches("/", "/a"));
        for (path, expected) in [("/", "/"), ("/a", "/"), ("/a/", "/a"), ("/a/b", "/a"), ("", "/"), ("*", "/")] {
            assert_eq!(default_path(path), expected, "{path}");
        }
    }
}

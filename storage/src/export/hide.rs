//! Credentials hidden: Authorization, cookies, and known token names in header lines, queries, forms and JSON.
//!
//! In: a row and its bodies as recorded. Out: the same with values replaced by [`HIDDEN`], names and
//! everything else as they were. What is found is decided by names alone; docs/export.md says what is not
//! looked into (paths, HTML, XML, other text).

use std::borrow::Cow;

use weir_engine::record::{endpoint, media};

use super::{json_text, multipart, pairs};
use crate::query::{ExchangeRow, HeaderLine};

/// What stands in place of a credential: fit for a header line, a URL, a form and JSON.
pub(crate) const HIDDEN: &str = "HIDDEN";

/// Longer names are none that anybody gave a credential.
const MAX_NAME: usize = 100;
/// Names that are credentials, lower case, letters and digits only.
const NAMES: &[&str] = &[
    "auth",
    "authorization",
    "proxyauthorization",
    "bearer",
    "jwt",
    "token",
    "apikey",
    "appkey",
    "secret",
    "pass",
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "passcode",
    "pin",
    "otp",
    "totp",
    "mfa",
    "credential",
    "credentials",
    "session",
    "sessionid",
    "sessid",
    "phpsessid",
    "jsessionid",
    "aspsessionid",
    "sid",
    "sig",
    "signature",
    "assertion",
    "clientassertion",
    "samlresponse",
    "codeverifier",
    "cookie",
    "setcookie",
];
/// Ends of such names.
const ENDS: &[&str] = &[
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "apikey",
    "accesskey",
    "accesskeyid",
    "privatekey",
    "secretkey",
    "authkey",
    "sessionid",
    "sessionkey",
    "signature",
    "credential",
    "credentials",
    "subscriptionkey",
    "jwt",
    "functionskey",
];
/// Ends of names that end like one and are none: places in a list.
const HARMLESS: &[&str] = &["pagetoken", "continuationtoken", "nexttoken", "synctoken", "cancellationtoken"];
/// Header fields whose value is a URL.
const URL_FIELDS: &[&str] =
    &["referer", "location", "content-location", "x-original-url", "x-forwarded-uri", "x-rewrite-url"];

/// Whether a name of a header, parameter or property means a credential.
pub(crate) fn is_secret_name(name: &str) -> bool {
    if name.len() > MAX_NAME {
        return false;
    }
    let mut letters = [0; MAX_NAME];
    let mut length = 0;
    for byte in name.bytes().filter(u8::is_ascii_alphanumeric) {
        letters[length] = byte.to_ascii_lowercase();
        length += 1;
    }
    let bare = &letters[..length];
    let is = |name: &[u8]| NAMES.iter().any(|one| one.len() == name.len() && one.as_bytes() == name);
    // Most names are told apart by their last letter.
    let ends =
        |ends: &[&str]| ends.iter().any(|end| end.as_bytes().last() == bare.last() && bare.ends_with(end.as_bytes()));
    is(bare) || bare.strip_prefix(b"x").is_some_and(is) || (ends(ENDS) && !ends(HARMLESS))
}

/// In queries and forms a bare `key` is an API key (Google's, and many others').
fn is_secret_parameter(name: &str) -> bool {
    let name = pairs::percent_decode(name, true);
    let name = String::from_utf8_lossy(&name);
    name.eq_ignore_ascii_case("key") || is_secret_name(&name)
}

/// Hides credentials in the columns of a row. Returns how many.
pub(crate) fn hide_row(row: &mut ExchangeRow) -> u64 {
    let mut hidden = hide_headers(&mut row.request_headers) + hide_headers(&mut row.response_headers);
    for cookie in &mut row.cookies {
        HIDDEN.clone_into(&mut cookie.value);
    }
    if let (Cow::Owned(url), count) = hide_url(&row.url) {
        row.url = url;
        hidden += count;
    }
    if let (Cow::Owned(query), _) = hide_pairs(&row.query) {
        row.query = query;
    }
    if let (Cow::Owned(path), _) = hide_path(&row.path) {
        row.endpoint = endpoint::template(&path).into_owned();
        row.path = path;
    }
    hidden
}

fn hide_headers(lines: &mut [HeaderLine]) -> u64 {
    let mut hidden = 0;
    for line in lines {
        let is = |name: &&str| line.name.eq_ignore_ascii_case(name);
        let value = if ["authorization", "proxy-authorization"].iter().any(is) {
            Some(keep_scheme(&line.value))
        } else if is(&"cookie") {
            Some(hide_cookie(&line.value))
        } else if is(&"set-cookie") {
            Some(hide_set_cookie(&line.value))
        } else if URL_FIELDS.iter().any(is) {
            match hide_url(&line.value) {
                (Cow::Owned(url), _) => Some(url),
                _ => None,
            }
        } else {
            is_secret_name(&line.name).then(|| HIDDEN.to_owned())
        };
        if let Some(value) = value {
            hidden += 1;
            line.value = value;
        }
    }
    hidden
}

/// `Bearer abc` → `Bearer HIDDEN` (RFC 9110 §11.4).
fn keep_scheme(value: &str) -> String {
    match value.trim().split_once(' ') {
        Some((scheme, _))
            if scheme.len() <= 20 && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') =>
        {
            format!("{scheme} {HIDDEN}")
        }
        _ => HIDDEN.to_owned(),
    }
}

fn hide_cookie(value: &str) -> String {
    let hide = |pair: &str| {
        pair.split_once('=').map_or_else(|| HIDDEN.to_owned(), |(name, _)| format!("{}={HIDDEN}", name.trim()))
    };
    value.split(';').map(hide).collect::<Vec<_>>().join("; ")
}

fn hide_set_cookie(value: &str) -> String {
    let (pair, attributes) = value.split_at(value.find(';').unwrap_or(value.len()));
    let name = pair.split_once('=').map_or("", |(name, _)| name.trim());
    format!("{name}={HIDDEN}{attributes}")
}

/// A URL without user information, and with the values of secret parameters hidden in query, fragment and path.
fn hide_url(url: &str) -> (Cow<'_, str>, u64) {
    let (rest, fragment) = url.split_once('#').map_or((url, None), |(rest, fragment)| (rest, Some(fragment)));
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    let (user, user_count) = hide_user(rest);
    let (path, path_count) = hide_path(&user);
    let (query, query_count) = query.map_or((None, 0), |query| {
        let (query, count) = hide_pairs(query);
        (Some(query), count)
    });
    let (fragment, fragment_count) = fragment.map_or((None, 0), |fragment| {
        let (fragment, count) = hide_pairs(fragment);
        (Some(fragment), count)
    });
    let count = user_count + path_count + query_count + fragment_count;
    if count == 0 {
        return (Cow::Borrowed(url), 0);
    }
    let mut text = path.into_owned();
    for (mark, part) in [('?', query), ('#', fragment)] {
        if let Some(part) = part {
            text.push(mark);
            text.push_str(&part);
        }
    }
    (Cow::Owned(text), count)
}

fn hide_user(url: &str) -> (Cow<'_, str>, u64) {
    let Some(start) = url.find("://").map(|at| at + 3) else { return (Cow::Borrowed(url), 0) };
    let end = url[start..].find('/').map_or(url.len(), |at| start + at);
    match url[start..end].rfind('@') {
        Some(at) => (Cow::Owned(format!("{}{HIDDEN}{}", &url[..start], &url[start + at..])), 1),
        None => (Cow::Borrowed(url), 0),
    }
}

/// Parameters of path segments: `/a;jsessionid=1`.
fn hide_path(path: &str) -> (Cow<'_, str>, u64) {
    if !path.contains(';') {
        return (Cow::Borrowed(path), 0);
    }
    let mut count = 0;
    let mut hide = |parameter: &str| match parameter.split_once('=') {
        Some((name, _)) if is_secret_parameter(name) => {
            count += 1;
            format!("{name}={HIDDEN}")
        }
        _ => parameter.to_owned(),
    };
    let mut segment = |segment: &str| segment.split(';').map(&mut hide).collect::<Vec<_>>().join(";");
    let text = path.split('/').map(&mut segment).collect::<Vec<_>>().join("/");
    if count == 0 { (Cow::Borrowed(path), 0) } else { (Cow::Owned(text), count) }
}

/// The pairs of a query or form, secret values hidden.
pub(crate) fn hide_pairs(text: &str) -> (Cow<'_, str>, u64) {
    let is_secret =
        |(name, value): (&str, Option<&str>)| value.is_some_and(|value| !value.is_empty()) && is_secret_parameter(name);
    let count = pairs::pairs(text).filter(|pair| is_secret(*pair)).count() as u64;
    if count == 0 {
        return (Cow::Borrowed(text), 0);
    }
    let hide = |pair: &str| match pair.split_once('=') {
        Some((name, value)) if is_secret((name, Some(value))) => format!("{name}={HIDDEN}"),
        _ => pair.to_owned(),
    };
    (Cow::Owned(text.split('&').map(hide).collect::<Vec<_>>().join("&")), count)
}

/// A decoded body with its credentials hidden, and how many; `None` when there are none.
pub(crate) fn hide_body(bytes: &[u8], content_type: &str) -> Option<(Vec<u8>, u64)> {
    let essence = media::essence(content_type.as_bytes());
    let looks_like_json = matches!(bytes.trim_ascii_start().first(), Some(b'{' | b'['));
    if essence == "application/x-www-form-urlencoded" {
        if let Ok(text) = std::str::from_utf8(bytes) {
            let (text, count) = hide_pairs(text);
            return (count > 0).then(|| (text.into_owned().into_bytes(), count));
        }
        return None;
    }
    if essence == "multipart/form-data" {
        return multipart::hide(bytes, content_type, is_secret_name, HIDDEN.as_bytes());
    }
    let is_json =
        looks_like_json || media::Category::of(&essence) == media::Category::Json || essence == "text/event-stream";
    if !is_json {
        return None;
    }
    let in_url = |url: &str| match hide_url(url) {
        (Cow::Owned(url), count) => Some((url, count)),
        _ => None,
    };
    json_text::hide(bytes, is_secret_name, in_url, HIDDEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in [
            "Authorization",
            "X-Api-Key",
            "access_token",
            "refreshToken",
            "client_secret",
            "PHPSESSID",
            "x-csrf-token",
            "X-Amz-Signature",
            "password",
            "newPassword",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "accept",
            "nextPageToken",
            "max_tokens",
            "author",
            "key",
            "passenger",
            "design",
            "x-request-id",
            "etag",
            "basket",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn header_lines() {
        let line = |name: &str, value: &str| HeaderLine { name: name.into(), value: value.into() };
        let mut lines = vec![
            line("Authorization", "Bearer abc.def"),
            line("cookie", "a=1; b=2=3;c"),
            line("Set-Cookie", "sid=abc; Path=/; HttpOnly"),
            line("Referer", "https://a/?x=1&access_token=abc#top"),
            line("X-Api-Key", "k"),
            line("Accept", "*/*"),
        ];
        assert_eq!(hide_headers(&mut lines), 5);
        let values: Vec<_> = lines.iter().map(|line| &*line.value).collect();
        assert_eq!(
            values,
            [
                "Bearer HIDDEN",
                "a=HIDDEN; b=HIDDEN; HIDDEN",
                "sid=HIDDEN; Path=/; HttpOnly",
                "https://a/?x=1&access_token=HIDDEN#top",
                "HIDDEN",
                "*/*"
            ]
        );
    }

    #[test]
    fn urls_and_bodies() {
        let url = |text: &'static str| hide_url(text).0;
        assert_eq!(
            url("http://u:p@a:80/x;jsessionid=7/y?q=1&Key=abc&token"),
            "http://HIDDEN@a:80/x;jsessionid=HIDDEN/y?q=1&Key=HIDDEN&token"
        );
        assert_eq!(url("https://a/cb#access%5Ftoken=abc&x=1"), "https://a/cb#access%5Ftoken=HIDDEN&x=1");
        assert!(matches!(hide_url("https://a/b?c=d"), (Cow::Borrowed(_), 0)));
        let body = |text: &str, kind: &str| {
            hide_body(text.as_bytes(), kind).map(|(bytes, _)| String::from_utf8(bytes).expect("text"))
        };
        assert_eq!(
            body("a=1&password=p%26q", "application/x-www-form-urlencoded").as_deref(),
            Some("a=1&password=HIDDEN")
        );
        assert_eq!(body(r#"{"password":"x"}"#, "text/plain").as_deref(), Some(r#"{"password":"HIDDEN"}"#));
        assert_eq!(
            body(r#"["https://a/?access_token=x&b=1"]"#, "application/json").as_deref(),
            Some(r#"["https://a/?access_token=HIDDEN&b=1"]"#)
        );
        assert_eq!(body("password", "text/plain"), None);
    }
}

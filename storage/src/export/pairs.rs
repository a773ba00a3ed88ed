//! `name=value` pairs of queries and forms (WHATWG URL, application/x-www-form-urlencoded), and percent-encoding.

use std::borrow::Cow;

/// Undoes percent-encoding; bytes that are no escape stay. `plus` reads `+` as a space, as forms do.
pub(crate) fn percent_decode(text: &str, plus: bool) -> Cow<'_, [u8]> {
    if !text.bytes().any(|byte| byte == b'%' || (plus && byte == b'+')) {
        return Cow::Borrowed(text.as_bytes());
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = |offset: usize| bytes.get(at + offset).and_then(|digit| char::from(*digit).to_digit(16));
        match (byte, hex(1), hex(2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) if plus => decoded.push(b' '),
            _ => decoded.push(byte),
        }
        at += 1;
    }
    Cow::Owned(decoded)
}

/// The same as text; `None` when it is not UTF-8.
pub(crate) fn percent_decode_text(text: &str, plus: bool) -> Option<String> {
    String::from_utf8(percent_decode(text, plus).into_owned()).ok()
}

/// The pairs of a query or form as they stand; the value is `None` where there is no `=`.
pub(crate) fn pairs(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    text.split('&').map(|pair| match pair.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (pair, None),
    })
}

/// A URL that can stand in a line: white space and control characters percent-encoded.
pub(crate) fn sendable_url(url: &str) -> Cow<'_, str> {
    if !url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Cow::Borrowed(url);
    }
    let mut text = String::with_capacity(url.len() + 16);
    for c in url.chars() {
        if c.is_control() || c.is_whitespace() {
            let mut buffer = [0; 4];
            for byte in c.encode_utf8(&mut buffer).bytes() {
                text.push_str(&format!("%{byte:02X}"));
            }
        } else {
            text.push(c);
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_what_is_encoded_and_nothing_else() {
        assert_eq!(&*percent_decode("a%20b+c%zz%4", false), b"a b+c%zz%4");
        assert_eq!(&*percent_decode("a%20b+c", true), b"a b c");
        assert_eq!(percent_decode_text("%ff", false), None);
        let all: Vec<_> = pairs("a=1&b&=c&&a=").collect();
        assert_eq!(all, [("a", Some("1")), ("b", None), ("", Some("c")), ("", None), ("a", Some(""))]);
        assert_eq!(sendable_url("http://a/b c\nd?é"), "http://a/b%20c%0Ad?é");
    }
}

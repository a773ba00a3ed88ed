//! Basic credentials (RFC 7617): encoding them, and comparing what a client sent in constant time.
//!
//! In: user name and password. Out: the field value; whether a field value is it.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// The value of Authorization or Proxy-Authorization.
#[must_use]
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// Whether a field value carries these credentials; takes the same time wherever they differ.
#[must_use]
pub fn is_basic(value: &[u8], expected: &str) -> bool {
    let value = value.trim_ascii();
    // The scheme's name has no case, the rest has; all of it is public but the token.
    let (Some(scheme), Some(token)) = (value.get(..5), value.get(5..)) else { return false };
    let expected = expected.as_bytes().get(6..).unwrap_or_default();
    let token = token.trim_ascii();
    let mut difference = token.len() ^ expected.len();
    for (index, byte) in token.iter().enumerate() {
        difference |= usize::from(byte ^ expected.get(index).copied().unwrap_or(0));
    }
    scheme.eq_ignore_ascii_case(b"Basic") && difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_and_compares() {
        assert_eq!(basic("Aladdin", "open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        let expected = basic("a", "b");
        assert!(is_basic(b"basic YTpi", &expected));
        for wrong in [&b"Basic YTpj"[..], b"Basic", b"", b"Basic YTp", b"Basic YTpiYTpi", b"Digest YTpi", b"BasicYTpj"]
        {
            assert!(!is_basic(wrong, &expected));
        }
    }
}

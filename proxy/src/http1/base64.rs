//! Basic credentials (RFC 7617): encoding them, and comparing what a client sent in constant time.
//!
//! In: user name and password. Out: the field value; whether a field value is it.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The value of Authorization or Proxy-Authorization.
#[must_use]
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", encode(format!("{user}:{password}").as_bytes()))
}

fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = group.iter().fold(0_u32, |word, &byte| word << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        for position in 0..4 {
            if position <= group.len() {
                text.push(char::from(ALPHABET[(word >> (18 - 6 * position)) as usize & 63]));
            } else {
                text.push('=');
            }
        }
    }
    text
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
        assert_eq!(encode(b"a"), "YQ==");
        assert_eq!(encode(b"ab"), "YWI=");
        let expected = basic("a", "b");
        assert!(is_basic(b"basic YTpi", &expected));
        for wrong in [&b"Basic YTpj"[..], b"Basic", b"", b"Basic YTp", b"Basic YTpiYTpi", b"Digest YTpi"] {
            assert!(!is_basic(wrong, &expected));
        }
    }
}

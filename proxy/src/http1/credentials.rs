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

/// Characters of a user name that names a device, at most.
const MOST_NAME: usize = 200;

/// The user name in a field value, where it can be the name of a device.
#[must_use]
pub fn user_of(value: &[u8]) -> Option<String> {
    let decoded = decode(value)?;
    let (user, _) = decoded.split_once(':')?;
    let fits = !user.trim().is_empty() && user.chars().count() <= MOST_NAME && !user.chars().any(char::is_control);
    fits.then(|| user.to_owned())
}

/// Whether a field value carries this password, with any user name.
#[must_use]
pub fn has_password(value: &[u8], password: &str) -> bool {
    // The same comparison as of both: the user name is public.
    let user = decode(value).and_then(|decoded| decoded.split_once(':').map(|(user, _)| user.to_owned()));
    user.is_some_and(|user| is_basic(value, &basic(&user, password)))
}

fn decode(value: &[u8]) -> Option<String> {
    let value = value.trim_ascii();
    let token = value.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case(b"Basic")).and(value.get(5..))?;
    String::from_utf8(STANDARD.decode(token.trim_ascii()).ok()?).ok()
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

    #[test]
    fn a_user_name_may_name_a_device() {
        let value = basic("Pixel 8", "x:y");
        assert_eq!(user_of(value.as_bytes()).as_deref(), Some("Pixel 8"));
        assert!(has_password(value.as_bytes(), "x:y") && !has_password(value.as_bytes(), "x"));
        for wrong in
            [basic("", "x"), basic("a\nb", "x"), "Basic".to_owned(), "Digest YTpi".to_owned(), "Basic YTp".to_owned()]
        {
            assert_eq!(user_of(wrong.as_bytes()), None, "{wrong}");
        }
    }
}

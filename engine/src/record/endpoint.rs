//! The endpoint of a request: its path with ids replaced (column `endpoint`), so that
//! `/users/17` and `/users/4711` count as one.
//!
//! Decided segment by segment and without state, so that the same path has the same endpoint in
//! every session: a segment is an id when it is a number, a UUID, a ULID, a hexadecimal digest, or
//! a long token that mixes letters and digits as no word does.

use std::borrow::Cow;

/// What stands for an id.
const PLACEHOLDER: &str = "{id}";

/// The path with every segment that looks like an id replaced by `{id}`; borrowed when none does.
#[must_use]
pub fn template(path: &str) -> Cow<'_, str> {
    if !path.bytes().any(|byte| byte.is_ascii_digit()) && !path.split('/').any(|segment| segment.len() >= 16) {
        return Cow::Borrowed(path);
    }
    if !path.split('/').any(is_id) {
        return Cow::Borrowed(path);
    }
    let mut endpoint = String::with_capacity(path.len());
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 {
            endpoint.push('/');
        }
        endpoint.push_str(if is_id(segment) { PLACEHOLDER } else { segment });
    }
    Cow::Owned(endpoint)
}

fn is_id(segment: &str) -> bool {
    let bytes = segment.as_bytes();
    if bytes.is_empty() {
        return false;
    }
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    if digits == bytes.len() {
        return true;
    }
    let hex = bytes.iter().filter(|byte| byte.is_ascii_hexdigit()).count();
    let dashes = bytes.iter().filter(|&&byte| byte == b'-').count();
    // UUID (RFC 9562): 8-4-4-4-12.
    if bytes.len() == 36 && hex == 32 && dashes == 4 {
        return true;
    }
    // Digests, object ids (24), short commit ids: hexadecimal with at least one digit.
    if hex == bytes.len() && bytes.len() >= 8 && digits > 0 {
        return true;
    }
    // Opaque tokens: long, only the base64url alphabet, letters and digits mixed.
    let token = bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~' | b'='));
    let upper = bytes.iter().any(u8::is_ascii_uppercase);
    let lower = bytes.iter().any(u8::is_ascii_lowercase);
    token && bytes.len() >= 16 && digits >= 2 && (upper || digits * 4 >= bytes.len()) && (upper || lower)
}

#[cfg(test)]
mod tests {
    use super::template;

    #[test]
    fn ids_are_replaced() {
        for (path, endpoint) in [
            ("/users/17", "/users/{id}"),
            ("/users/17/orders/4711", "/users/{id}/orders/{id}"),
            ("/o/550e8400-e29b-41d4-a716-446655440000", "/o/{id}"),
            ("/o/507f1f77bcf86cd799439011/x", "/o/{id}/x"),
            ("/t/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/t/{id}"),
            ("/c/9fceb02d", "/c/{id}"),
        ] {
            assert_eq!(template(path), endpoint, "{path}");
        }
    }

    #[test]
    fn words_and_versions_stay() {
        for path in ["/", "", "/api/v2/users", "/static/app.3f2a.js", "/internationalization", "/oauth2/token", "*"] {
            assert_eq!(template(path), path, "{path}");
        }
    }
}

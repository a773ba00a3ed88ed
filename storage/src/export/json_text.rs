//! JSON as text: the values of named properties replaced, every other byte left as it is.
//!
//! It reads what JSON parsers would refuse too (cut bodies, several documents, event streams): a scanner
//! over strings and brackets, not a parser. It never grows the nesting it holds: a counter is enough.

use std::borrow::Cow;

/// Replaces strings and numbers (and whole objects and arrays) that are values of properties whose name
/// `is_secret`, and what `hide_url` finds in strings that are URLs. `None` when there is nothing to replace.
pub(crate) fn hide(
    bytes: &[u8],
    is_secret: impl Fn(&str) -> bool,
    hide_url: impl Fn(&str) -> Option<(String, u64)>,
    replacement: &str,
) -> Option<(Vec<u8>, u64)> {
    let mut output = Vec::new();
    let mut copied = 0;
    let mut count = 0;
    let mut at = 0;
    while let Some(start) = memchr::memchr(b'"', &bytes[at..]).map(|found| at + found) {
        let end = string_end(bytes, start);
        at = end;
        let value = skip_space(bytes, end);
        if bytes.get(value) != Some(&b':') {
            let inside = &bytes[start + 1..end.saturating_sub(1).max(start + 1)];
            if inside.starts_with(b"http")
                && let Some((url, found)) = std::str::from_utf8(inside).ok().and_then(&hide_url)
            {
                output.extend_from_slice(&bytes[copied..=start]);
                output.extend_from_slice(url.as_bytes());
                copied = start + 1 + inside.len();
                count += found;
            }
            continue;
        }
        let Some(name) = string_text(&bytes[start..end]) else { continue };
        if !is_secret(&name) {
            continue;
        }
        let value = skip_space(bytes, value + 1);
        let value_end = value_end(bytes, value);
        // true, false, null and nothing tell no secret.
        let is_plain = matches!(&bytes[value..value_end], b"true" | b"false" | b"null" | b"" | b"\"\"" | b"{}" | b"[]");
        if is_plain {
            at = value_end;
            continue;
        }
        output.extend_from_slice(&bytes[copied..value]);
        output.push(b'"');
        output.extend_from_slice(replacement.as_bytes());
        output.push(b'"');
        count += 1;
        copied = value_end;
        at = value_end;
    }
    if count == 0 {
        return None;
    }
    output.extend_from_slice(&bytes[copied..]);
    Some((output, count))
}

/// The end of the string that begins at `start`; the end of the bytes when it is open.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        if bytes[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    bytes.len()
}

fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
        at += 1;
    }
    at
}

fn string_text(quoted: &[u8]) -> Option<Cow<'_, str>> {
    // Longer ones are no names of properties that anybody looks for.
    if quoted.len() > 200 {
        return None;
    }
    match quoted {
        [b'"', inside @ .., b'"'] if inside.iter().all(|byte| matches!(byte, b' '..=b'~') && *byte != b'\\') => {
            std::str::from_utf8(inside).ok().map(Cow::Borrowed)
        }
        _ => serde_json::from_slice(quoted).ok().map(Cow::Owned),
    }
}

/// The end of the value that begins at `start`: a string, an object or array with all in it, or a word.
fn value_end(bytes: &[u8], start: usize) -> usize {
    match bytes.get(start) {
        Some(b'"') => string_end(bytes, start),
        Some(b'{' | b'[') => {
            let mut depth = 0_usize;
            let mut at = start;
            while let Some(byte) = bytes.get(at) {
                match byte {
                    b'"' => {
                        at = string_end(bytes, at);
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return at;
                }
            }
            bytes.len()
        }
        _ => {
            let word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
            start + bytes.get(start..).unwrap_or_default().iter().take_while(|byte| word(byte)).count()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hidden(text: &str) -> Option<String> {
        let hide_url = |url: &str| url.contains("key=1").then(|| (url.replace("key=1", "key=X"), 1));
        hide(text.as_bytes(), |name| name == "token", hide_url, "X")
            .map(|(bytes, _)| String::from_utf8(bytes).expect("text"))
    }

    #[test]
    fn values_of_names_are_replaced_and_nothing_else() {
        for (text, expected) in [
            (
                r#"{ "a": 1, "token" : "s\"e", "b":[{"token":12.5e3}]}"#,
                Some(r#"{ "a": 1, "token" : "X", "b":[{"token":"X"}]}"#),
            ),
            (r#"{"t\u006fken":{"a":["]}\""]},"c":1}"#, Some(r#"{"t\u006fken":"X","c":1}"#)),
            (r#"{"token":null,"x":{"token":""}}"#, None),
            (r#"["token","x"]"#, None),
            (
                r#"{"next":"https:\/\/a\/?key=1&b","x":"key=1"}"#,
                Some(r#"{"next":"https:\/\/a\/?key=X&b","x":"key=1"}"#),
            ),
            (r#"{"token":"cut off he"#, Some(r#"{"token":"X""#)),
            (r#"{"token":"#, None),
            (
                "data: {\"token\":\"a\"}\n\ndata: {\"token\":\"b\"}\n\n",
                Some("data: {\"token\":\"X\"}\n\ndata: {\"token\":\"X\"}\n\n"),
            ),
            (r#"{"token":"a\"#, Some(r#"{"token":"X""#)),
        ] {
            assert_eq!(hidden(text).as_deref(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in r#"[\[\]{}",:\\ \n0-9a-f]|"token"|\PC{0,60}"#, more in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = hidden(&text);
            let _ = hide(&[b"\"token\":".as_slice(), &more].concat(), |_| true, |_| None, "X");
        }
    }
}

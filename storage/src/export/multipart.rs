//! `multipart/form-data` taken apart (RFC 7578): names, file names, types and contents as ranges.

use std::ops::Range;

/// Parts of one body at most.
const MAX_PARTS: usize = 1000;

/// One part of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// Its name.
    pub(crate) name: String,
    /// The file's name as the client gave it: not a path to write to.
    pub(crate) file_name: Option<String>,
    /// Its media type, when given.
    pub(crate) content_type: Option<String>,
    /// Where its content lies in the body.
    pub(crate) content: Range<usize>,
}

/// The boundary of a Content-Type value (RFC 2046 §5.1.1).
fn boundary(content_type: &str) -> Option<String> {
    parameter(content_type, "boundary").filter(|boundary| !boundary.is_empty() && boundary.len() <= 200)
}

/// The value of a parameter: a token or a quoted string.
fn parameter(value: &str, name: &str) -> Option<String> {
    let mut rest = value.split_once(';')?.1;
    loop {
        let (key, after) = rest.split_once('=')?;
        let (text, next) = if let Some(quoted) = after.strip_prefix('"') {
            let mut text = String::new();
            let mut chars = quoted.char_indices();
            let end = loop {
                match chars.next()? {
                    (at, '"') => break at + 1,
                    // Browsers escape only the quote (as %22); others with a backslash.
                    (_, '\\') if chars.as_str().starts_with(['"', '\\']) => text.push(chars.next()?.1),
                    (_, c) => text.push(c),
                }
            };
            (text, &quoted[end..])
        } else {
            let end = after.find(';').unwrap_or(after.len());
            (after[..end].trim().to_owned(), &after[end..])
        };
        if key.trim().trim_start_matches(';').trim().eq_ignore_ascii_case(name) {
            return Some(text);
        }
        rest = next.trim_start().strip_prefix(';').unwrap_or(next);
        if rest.is_empty() {
            return None;
        }
    }
}

/// The parts of a body; `None` when it is not a well-formed form.
pub(crate) fn parts(body: &[u8], content_type: &str) -> Option<Vec<Part>> {
    let delimiter = format!("--{}", boundary(content_type)?);
    let finder = memchr::memmem::Finder::new(delimiter.as_bytes());
    let mut parts = Vec::new();
    let mut at = finder.find(body)? + delimiter.len();
    while parts.len() < MAX_PARTS {
        let head = match body.get(at..)? {
            [b'-', b'-', ..] => return Some(parts),
            [b'\r', b'\n', ..] => at + 2,
            _ => return None,
        };
        let content = head + memchr::memmem::find(&body[head..], b"\r\n\r\n")? + 4;
        // The delimiter begins a line; the line break before it belongs to it (RFC 2046 §5.1.1).
        let mut search = content;
        let end = loop {
            let found = search + finder.find(body.get(search..)?)?;
            let line_begins = body[..found].ends_with(b"\r\n") && (found >= content + 2 || found == content);
            // A longer text that only begins like the delimiter is none.
            if line_begins && matches!(body.get(found + delimiter.len()..)?, [b'\r', b'\n', ..] | [b'-', b'-', ..]) {
                break found;
            }
            search = found + 1;
        };
        let text = std::str::from_utf8(&body[head..content - 4]).ok()?;
        parts.push(part(text, content..end.saturating_sub(2).max(content))?);
        at = end + delimiter.len();
    }
    None
}

fn part(head: &str, content: Range<usize>) -> Option<Part> {
    let field = |name: &str| {
        head.split("\r\n")
            .find_map(|line| line.split_once(':').filter(|(key, _)| key.trim().eq_ignore_ascii_case(name)))
    };
    let (_, disposition) = field("content-disposition")?;
    Some(Part {
        name: parameter(disposition, "name")?,
        file_name: parameter(disposition, "filename"),
        content_type: field("content-type").map(|(_, value)| value.trim().to_owned()),
        content,
    })
}

/// The body with the contents of secret parts replaced, and how many; `None` when there are none.
pub(crate) fn hide(
    body: &[u8],
    content_type: &str,
    is_secret: impl Fn(&str) -> bool,
    replacement: &[u8],
) -> Option<(Vec<u8>, u64)> {
    let parts = parts(body, content_type)?;
    let secret: Vec<&Part> = parts
        .iter()
        .filter(|part| part.file_name.is_none() && !part.content.is_empty() && is_secret(&part.name))
        .collect();
    if secret.is_empty() {
        return None;
    }
    let mut output = Vec::with_capacity(body.len());
    let mut copied = 0;
    for part in &secret {
        output.extend_from_slice(&body[copied..part.content.start]);
        output.extend_from_slice(replacement);
        copied = part.content.end;
    }
    output.extend_from_slice(&body[copied..]);
    Some((output, secret.len() as u64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TYPE: &str = "multipart/form-data; charset=utf-8; boundary=\"x y\"";
    const BODY: &[u8] = b"preamble\r\n--x y\r\nContent-Disposition: form-data; name=\"a\\\"b\"\r\n\r\none\r\n--x yz\r\n--x y\r\n\
        content-disposition: form-data; name=token; filename=\"../../etc/passwd\"\r\nContent-Type: image/png\r\n\r\n\x00\xff\r\n--x y\r\n\
        Content-Disposition: form-data; name=\"token\"\r\n\r\n\r\n--x y\r\n\
        Content-Disposition: form-data; name=\"token\"\r\n\r\nsecret\r\n--x y--\r\n";

    #[test]
    fn parts_are_found() {
        let parts = parts(BODY, TYPE).expect("a form");
        let seen: Vec<_> = parts
            .iter()
            .map(|part| {
                (&*part.name, part.file_name.as_deref(), part.content_type.as_deref(), &BODY[part.content.clone()])
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("a\"b", None, None, b"one\r\n--x yz".as_slice()),
                ("token", Some("../../etc/passwd"), Some("image/png"), b"\x00\xff"),
                ("token", None, None, b""),
                ("token", None, None, b"secret"),
            ]
        );
        let (hidden, count) = hide(BODY, TYPE, |name| name == "token", b"X").expect("one");
        assert_eq!(count, 1);
        assert!(memchr::memmem::find(&hidden, b"secret").is_none() && hidden.ends_with(b"\r\n\r\nX\r\n--x y--\r\n"));
    }

    proptest! {
        #[test]
        fn never_panics(body in proptest::collection::vec(prop_oneof![Just(b'-'), Just(b'\r'), Just(b'\n'), Just(b'b'), any::<u8>()], 0..200), kind in "multipart/form-data; ?boundary=\"?\\PC{0,20}") {
            let _ = parts(&body, &kind);
            let _ = parts(&body, "multipart/form-data; boundary=b");
        }
    }
}

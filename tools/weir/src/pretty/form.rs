//! Forms: `application/x-www-form-urlencoded` and `multipart/…` (RFC 7578, RFC 2046 §5.1).

use memchr::memmem;
use weir_engine::content::display_text;

use super::Pretty;
use crate::output::units;

/// Parts shown at most.
const MOST_PARTS: usize = 200;
/// Header lines of a part at most.
const MOST_LINES: usize = 50;

/// A line for each field, decoded; `None` where it is no form.
pub(super) fn urlencoded(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    if text.chars().any(char::is_control) {
        return None;
    }
    let field = |pair: &str| match pair.split_once('=') {
        Some((name, value)) => format!("{} = {}", decoded(name), decoded(value)),
        None => decoded(pair),
    };
    Some(text.split('&').filter(|pair| !pair.is_empty()).map(field).collect::<Vec<_>>().join("\n"))
}

/// `+` is a blank, `%41` a byte; what is no such thing stays.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        let hex = |byte: u8| char::from(byte).to_digit(16);
        match (first, after) {
            (b'%', [high, low, tail @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                bytes.push((hex(*high).unwrap_or(0) * 16 + hex(*low).unwrap_or(0)) as u8);
                rest = tail;
            }
            (b'+', _) => bytes.push(b' '),
            (byte, _) => bytes.push(*byte),
        }
    }
    display_text(&bytes).into_owned()
}

/// Each part with its header lines, and its body as `show` has it; `None` where it has no parts.
pub(super) fn multipart(bytes: &[u8], content_type: &str, show: impl Fn(&[u8], &str) -> Pretty) -> Option<String> {
    let boundary = parameter(content_type, "boundary")?;
    let delimiter = format!("--{boundary}");
    let finder = memmem::Finder::new(delimiter.as_bytes());
    // The first delimiter stands at the start or after a line break.
    let starts: Vec<usize> =
        finder.find_iter(bytes).filter(|at| *at == 0 || bytes[at - 1] == b'\n').take(MOST_PARTS + 1).collect();
    let mut out = String::new();
    for (number, start) in starts.iter().enumerate() {
        let begin = start + delimiter.len();
        if bytes[begin..].starts_with(b"--") {
            break;
        }
        let end = starts.get(number + 1).copied().unwrap_or(bytes.len());
        let part = bytes.get(begin..end)?;
        let part = part.strip_prefix(b"\r\n").or_else(|| part.strip_prefix(b"\n")).unwrap_or(part);
        let part = part.strip_suffix(b"\r\n").or_else(|| part.strip_suffix(b"\n")).unwrap_or(part);
        one_part(number + 1, part, &show, &mut out);
    }
    (!out.is_empty()).then(|| out.trim_end().to_owned())
}

fn one_part(number: usize, part: &[u8], show: &impl Fn(&[u8], &str) -> Pretty, out: &mut String) {
    let (head, body) = match memmem::find(part, b"\r\n\r\n") {
        Some(at) => (&part[..at], &part[at + 4..]),
        None => match memmem::find(part, b"\n\n") {
            Some(at) => (&part[..at], &part[at + 2..]),
            None => (&part[..0], part),
        },
    };
    let head = display_text(head);
    out.push_str(&format!("part {number} ({})\n", units::bytes(body.len() as u64)));
    let mut kind = "text/plain";
    for line in head.lines().take(MOST_LINES) {
        out.push_str(line);
        out.push('\n');
        if let Some((name, value)) = line.split_once(':')
            && name.trim().eq_ignore_ascii_case("content-type")
        {
            kind = value.trim();
        }
    }
    out.push('\n');
    match show(body, kind).text {
        Some(text) => out.push_str(&text),
        None => out.push_str("[binary]"),
    }
    out.push_str("\n\n");
}

/// A parameter of a Content-Type, without its quotes.
fn parameter(content_type: &str, wanted: &str) -> Option<String> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches('"');
        (name.trim().eq_ignore_ascii_case(wanted) && !value.is_empty()).then(|| value.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_decoded() {
        assert_eq!(
            urlencoded(b"a=1+2&b%5B%5D=%C3%A9&c&=x&%zz=%").as_deref(),
            Some("a = 1 2\nb[] = é\nc\n = x\n%zz = %")
        );
        assert_eq!(urlencoded(b"a=\x00"), None);
    }

    #[test]
    fn parts_are_shown_by_their_own_types() {
        let body = b"preamble\r\n--x y\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\none\r\n--x y\r\n\
            Content-Type: application/json\r\n\r\n{\"b\":1}\r\n--x y--\r\nepilogue";
        let shown = multipart(body, "multipart/form-data; boundary=\"x y\"", super::super::body).expect("parts");
        assert!(shown.contains("part 1 (3 B)\nContent-Disposition: form-data; name=\"a\"\n\none\n\n"), "{shown}");
        assert!(shown.ends_with("{\n  \"b\": 1\n}"), "{shown}");
        assert_eq!(multipart(b"x", "multipart/mixed", super::super::body), None);
    }
}

//! Message heads: the start line and the field lines (RFC 9112 §2 to §5), read as tolerantly as browsers
//! and servers read them; what is odd is flagged.
//!
//! In: the bytes of a whole head. Out: its parts, as ranges of the same buffer: a head is copied once, out of
//! its packets.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::MAX_FIELD_LINES;
use crate::{
    record::{HeaderLines, Headers, Protocol},
    work,
};

/// What begins a message.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) start: StartLine,
    pub(crate) headers: Headers,
    /// Something in it is not as the RFCs want it.
    pub(crate) odd: bool,
}

/// The start line.
#[derive(Debug, Clone)]
pub(crate) enum StartLine {
    Request { method: Part, target: Part, protocol: Protocol },
    Response { protocol: Protocol, status: u16, reason: Part },
}

/// A part of a start line.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    /// In the buffer of the header section: no share of it of its own.
    Within(Range<usize>),
    /// From elsewhere.
    Own(Bytes),
}

impl Part {
    /// Its bytes; `headers` are those of the same head.
    pub(crate) fn bytes<'a>(&'a self, headers: &'a Headers) -> &'a [u8] {
        match self {
            Self::Within(range) => headers.buffer().get(range.clone()).unwrap_or_default(),
            Self::Own(bytes) => bytes,
        }
    }

    /// `part` lies in `whole`.
    fn within(whole: &[u8], part: &[u8]) -> Self {
        let start = if part.is_empty() { 0 } else { part.as_ptr().addr() - whole.as_ptr().addr() };
        Self::Within(start..start + part.len())
    }
}

/// Where a head ends: behind its empty line. `from`: where an earlier search stopped. Fails with where to
/// go on once there is more.
///
/// An empty line is LF LF or LF CR LF; one with blanks or more CRs in it only where no field line and no
/// emptier line follows (servers and browsers differ).
pub(crate) fn find_end(bytes: &[u8], from: usize) -> Result<usize, usize> {
    let mut at = from;
    while let Some(found) = memchr::memchr(b'\n', &bytes[at..]) {
        let line_end = at + found;
        work::done(found + 1);
        let mut next = line_end + 1;
        let blanks = bytes[next..].iter().take(4).take_while(|byte| matches!(byte, b' ' | b'\t' | 0x0b)).count();
        next += blanks;
        let returns = bytes[next..].iter().take(3).take_while(|byte| **byte == b'\r').count();
        next += returns;
        match bytes.get(next) {
            Some(b'\n') if blanks == 0 && returns < 2 => return Ok(next + 1),
            Some(b'\n') => match bytes.get(next + 1..) {
                None | Some([]) => return Err(line_end),
                Some([b'\r' | b'\n' | b' ' | b'\t', ..]) => {}
                Some(rest) if is_field_line(rest) => {}
                Some(_) => return Ok(next + 1),
            },
            None => return Err(line_end),
            _ => {}
        }
        at = line_end + 1;
    }
    work::done(bytes.len() - at);
    Err(bytes.len())
}

/// Whether a name and a colon stand here.
fn is_field_line(bytes: &[u8]) -> bool {
    let name = bytes.iter().take(256).take_while(|byte| is_token(**byte)).count();
    name > 0 && bytes.get(name) == Some(&b':')
}

/// Reads a request head.
pub(crate) fn request(whole: Bytes) -> Option<Head> {
    let bytes = &whole[..];
    let mut lines = Lines { bytes, at: 0 };
    let line = lines.start_line()?;
    let text = &bytes[line.clone()];
    let method_len = memchr::memchr2(b' ', b'\t', text).unwrap_or(text.len());
    let rest = text[method_len..].trim_ascii_start();
    let mut odd = method_len == 0 || !text[..method_len].iter().all(|byte| is_token(*byte));
    let (target, version) = match rest.iter().rposition(|byte| matches!(byte, b' ' | b'\t')) {
        Some(space) if starts_with_http(&rest[space + 1..]) => (rest[..space].trim_ascii_end(), &rest[space + 1..]),
        _ => (rest, &b""[..]),
    };
    if target.is_empty() && version.is_empty() {
        return None;
    }
    let protocol = if version.is_empty() { Protocol::Http09 } else { version_of(version, &mut odd) };
    odd |= target.contains(&b' ');
    let (method, target) = (Part::within(bytes, &text[..method_len]), Part::within(bytes, target));
    let start = StartLine::Request { method, target, protocol };
    let found = fields(&mut lines, &mut odd);
    Some(Head { start, headers: found.over(whole), odd })
}

/// Reads a response head.
pub(crate) fn response(whole: Bytes) -> Option<Head> {
    let bytes = &whole[..];
    let mut lines = Lines { bytes, at: 0 };
    let line = lines.start_line()?;
    let text = &bytes[line.clone()];
    if !starts_with_http(text) {
        return None;
    }
    let mut odd = false;
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | 0x0b | 0x0c | 0);
    let version_len = text.iter().position(is_blank).unwrap_or(text.len());
    let protocol = version_of(&text[..version_len], &mut odd);
    let rest = &text[version_len..];
    let rest = &rest[rest.iter().take_while(|byte| is_blank(byte)).count()..];
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let status = std::str::from_utf8(&rest[..digits]).ok().and_then(|digits| digits.parse().ok());
    odd |= digits != 3 || rest.get(digits).is_some_and(|byte| *byte != b' ');
    let reason = &rest[digits..];
    let reason = &reason[reason.iter().take_while(|byte| is_blank(byte)).count()..];
    // A status line without a number still answers; 0 says that there was none.
    let start = StartLine::Response { protocol, status: status.unwrap_or(0), reason: Part::within(bytes, reason) };
    let found = fields(&mut lines, &mut odd);
    Some(Head { start, headers: found.over(whole), odd })
}

fn starts_with_http(text: &[u8]) -> bool {
    text.len() >= 5 && text[..5].eq_ignore_ascii_case(b"HTTP/")
}

fn version_of(version: &[u8], odd: &mut bool) -> Protocol {
    match version {
        b"HTTP/1.1" => Protocol::Http11,
        b"HTTP/1.0" => Protocol::Http10,
        other => {
            *odd = true;
            if other.get(5..8) == Some(b"1.0") && other.len() == 8 { Protocol::Http10 } else { Protocol::Http11 }
        }
    }
}

/// Which bytes tokens are made of (RFC 9110 §5.6.2).
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// The lines of a head.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Lines<'_> {
    /// The next line that is not empty.
    fn start_line(&mut self) -> Option<Range<usize>> {
        loop {
            let line = self.next()?;
            if !self.bytes[line.clone()].trim_ascii().is_empty() {
                return Some(line);
            }
        }
    }
}

impl Iterator for Lines<'_> {
    type Item = Range<usize>;

    /// Without its end: LF, with any CRs before it; or a bare CR when a field line follows it.
    fn next(&mut self) -> Option<Range<usize>> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let start = self.at;
        match memchr::memchr2(b'\r', b'\n', &self.bytes[start..]).map(|found| start + found) {
            Some(end) if self.bytes[end] == b'\n' => {
                self.at = end + 1;
                return Some(start..end);
            }
            Some(end) if self.bytes.get(end + 1) == Some(&b'\n') => {
                self.at = end + 2;
                return Some(start..end);
            }
            _ => {}
        }
        let mut end = memchr::memchr(b'\n', &self.bytes[start..]).map_or(self.bytes.len(), |found| start + found);
        self.at = end + 1;
        let mut looked = start;
        while let Some(found) = memchr::memchr(b'\r', &self.bytes[looked..end]) {
            let carriage_return = looked + found;
            if is_field_line(&self.bytes[carriage_return + 1..end]) {
                (end, self.at) = (carriage_return, carriage_return + 1);
                break;
            }
            looked = carriage_return + 1;
        }
        let len = self.bytes[start..end].iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1);
        Some(start..start + len)
    }
}

/// Reads field lines until an empty one.
pub(crate) fn trailers(bytes: &Bytes) -> Headers {
    fields(&mut Lines { bytes, at: 0 }, &mut false).over(bytes.clone())
}

/// What stands in a header section.
struct Fields {
    lines: HeaderLines,
    /// Values that go on in the next line, gathered apart: ranges cannot leave the line ends out.
    folded: Vec<(usize, Vec<u8>)>,
}

impl Fields {
    /// As a section over the buffer it was found in.
    fn over(self, buffer: Bytes) -> Headers {
        let Self { mut lines, folded } = self;
        if folded.is_empty() {
            return lines.over(buffer);
        }
        // What is folded comes behind all that was there.
        let mut longer = BytesMut::from(&buffer[..]);
        for (index, value) in folded {
            lines.set_value(index, longer.len()..longer.len() + value.len());
            longer.extend_from_slice(&value);
        }
        lines.over(longer.freeze())
    }
}

fn fields(lines: &mut Lines<'_>, odd: &mut bool) -> Fields {
    let bytes = lines.bytes;
    let ends = memchr::memchr_iter(b'\n', &bytes[lines.at.min(bytes.len())..]).count();
    let mut found = HeaderLines::with_capacity(ends.saturating_sub(1).min(MAX_FIELD_LINES));
    let mut folded: Vec<(usize, Vec<u8>)> = Vec::new();
    // A name whose colon comes in a line behind it.
    let mut name_alone: Option<Range<usize>> = None;
    for line in lines.by_ref() {
        let text = &bytes[line.clone()];
        // As nearly all are: a token and a colon.
        let name = text.iter().take_while(|byte| is_token(**byte)).count();
        if name > 0 && text.get(name) == Some(&b':') && found.len() < MAX_FIELD_LINES {
            let value = text[name + 1..].trim_ascii();
            let start = if value.is_empty() { line.end } else { value.as_ptr().addr() - bytes.as_ptr().addr() };
            found.push(line.start..line.start + name, start..start + value.len());
            name_alone = None;
            continue;
        }
        let begins_blank = matches!(text.first(), Some(b' ' | b'\t'));
        if begins_blank && text.trim_ascii().is_empty() {
            *odd = true;
            continue;
        }
        if let (Some(name), Some(b':')) = (&name_alone, text.trim_ascii().first()) {
            let colon = line.start + memchr::memchr(b':', text).unwrap_or(0);
            let value = bytes[colon + 1..line.end].trim_ascii();
            let start = if value.is_empty() { line.end } else { value.as_ptr() as usize - bytes.as_ptr() as usize };
            found.push(name.clone(), start..start + value.len());
            name_alone = None;
            continue;
        }
        // Before the first field line there is nothing to go on from (RFC 9112 §2.2): one of its own.
        if begins_blank && !(found.is_empty() && is_field_line(text.trim_ascii())) {
            *odd = true;
            if let Some(value) = found.last_value() {
                let index = found.len() - 1;
                if folded.last().is_none_or(|(at, _)| *at != index) {
                    folded.push((index, bytes[value].to_vec()));
                }
                if let Some((_, value)) = folded.last_mut() {
                    let more = text.trim_ascii();
                    if !value.is_empty() && !more.is_empty() {
                        value.push(b' ');
                    }
                    value.extend_from_slice(more);
                }
            }
            continue;
        }
        if text.is_empty() {
            continue;
        }
        let blank = text.len() - text.trim_ascii_start().len();
        let line = line.start + blank..line.end;
        let text = &bytes[line.clone()];
        let Some(colon) = memchr::memchr(b':', text) else {
            *odd = true;
            name_alone = Some(line);
            continue;
        };
        name_alone = None;
        if found.len() >= MAX_FIELD_LINES {
            *odd = true;
            break;
        }
        let name = text[..colon].trim_ascii_end();
        *odd |= name.len() != colon || !name.iter().all(|byte| is_token(*byte));
        let value = text[colon + 1..].trim_ascii();
        let value_start = if value.is_empty() { line.end } else { value.as_ptr() as usize - bytes.as_ptr() as usize };
        found.push(line.start..line.start + name.len(), value_start..value_start + value.len());
    }
    Fields { lines: found, folded }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str) -> Head {
        request(Bytes::from_static(text.as_bytes())).expect("is a request")
    }

    #[test]
    fn ends() {
        assert_eq!(find_end(b"a\r\n\r\nb", 0), Ok(5));
        assert_eq!(find_end(b"a\n\nb", 0), Ok(3));
        assert_eq!(find_end(b"a\r\n\r", 0), Err(2));
        assert_eq!(find_end(b"a\r\n\r\n", 2), Ok(5));
        assert_eq!(find_end(b"abc", 0), Err(3));
    }

    #[test]
    fn folds_and_oddities() {
        let head = read("\r\nGET /a b HTTP/1.1\nHost : x\nA: 1\r\n  2\n\t3\nno colon\nB:\n\n");
        assert!(head.odd);
        let fields: Vec<_> = head.headers.iter().collect();
        assert_eq!(fields, [(&b"Host"[..], &b"x"[..]), (b"A", b"1 2 3"), (b"B", b"")]);
        let StartLine::Request { target, protocol: Protocol::Http11, .. } = &head.start else { panic!("a request") };
        assert_eq!(target.bytes(&head.headers), b"/a b");
        assert!(!read("GET / HTTP/1.0\r\nA: b\r\n\r\n").odd);
        assert!(matches!(read("GET /\r\n").start, StartLine::Request { protocol: Protocol::Http09, .. }));
    }

    #[test]
    fn status_lines() {
        for (line, status, reason) in [
            ("HTTP/1.1 200 OK\r\n\r\n", 200, "OK"),
            ("HTTP/1.0 304\r\n\r\n", 304, ""),
            ("http/1.1\t404 Not Found\n\n", 404, "Not Found"),
            ("HTTP/1.1 2XX\r\n\r\n", 2, "XX"),
            ("HTTP/1.1\r\n\r\n", 0, ""),
        ] {
            let head = response(Bytes::from_static(line.as_bytes())).expect("is a response");
            let StartLine::Response { status: seen, reason: why, .. } = &head.start else { panic!("a response") };
            assert_eq!((*seen, why.bytes(&head.headers)), (status, reason.as_bytes()), "{line}");
        }
    }
}

//! Where a body ends (RFC 9112 §6.3).
//!
//! In: a head, and for responses the request's method. Out: the framing, and whether the fields contradict.

use super::head::{Head, StartLine};
use crate::record::{Headers, Protocol};

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    None,
    /// There should be none, yet the head announces one: there is when what follows is no message head.
    Unlikely { length: Option<u64>, chunked: bool },
    /// So many bytes.
    Length(u64),
    /// The chunked coding; when the first bytes are not of it, by `length` or the end of the stream.
    Chunked { length: Option<u64> },
    /// Until the stream ends.
    UntilClose,
    /// The connection becomes something else: a tunnel, WebSocket, HTTP/2.
    Tunnel,
}

/// Framing, and whether something is odd about it.
pub(crate) type Decision = (Framing, bool);

/// The framing of a request's body. CONNECT has none; what follows depends on the response.
pub(crate) fn of_request(head: &Head) -> Decision {
    let StartLine::Request { protocol, .. } = &head.start else { return (Framing::None, false) };
    if *protocol == Protocol::Http09 {
        return (Framing::None, false);
    }
    let (length, odd) = content_length(&head.headers);
    match coding(&head.headers) {
        Coding::Chunked => (Framing::Chunked { length }, odd || length.is_some()),
        Coding::Maybe => (Framing::Chunked { length: length.or(Some(0)) }, true),
        Coding::None => (length.filter(|length| *length > 0).map_or(Framing::None, Framing::Length), odd),
    }
}

/// The framing of a response's body. `method`: of its request, where known.
pub(crate) fn of_response(head: &Head, method: Option<&[u8]>, upgrade_asked: bool) -> Decision {
    let StartLine::Response { status, .. } = head.start else { return (Framing::None, false) };
    let (length, odd) = content_length(&head.headers);
    let coding = coding(&head.headers);
    let unlikely = Framing::Unlikely { length: length.filter(|length| *length > 0), chunked: coding != Coding::None };
    let announced = unlikely != Framing::Unlikely { length: None, chunked: false };
    match (status, method) {
        (_, Some(b"HEAD")) => return (Framing::None, false),
        (200..=299, Some(b"CONNECT")) => return (Framing::Tunnel, false),
        (101, _) if upgrade_asked => return (Framing::Tunnel, false),
        (101, None) if head.headers.get("upgrade").is_some() => return (Framing::Tunnel, false),
        (100..=199 | 204 | 304, _) => {
            return if announced { (unlikely, status != 304) } else { (Framing::None, false) };
        }
        _ => {}
    }
    match (coding, length) {
        (Coding::Chunked, length) => (Framing::Chunked { length }, odd || length.is_some()),
        (Coding::Maybe, length) => (Framing::Chunked { length }, true),
        // A length with junk in it, and the connection closes anyway (RFC 9112 §6.3, rule 5).
        (Coding::None, Some(_)) if odd && closes(&head.headers) && is_junk(&head.headers) => {
            (Framing::UntilClose, true)
        }
        (Coding::None, Some(length)) => (Framing::Length(length), odd),
        (Coding::None, None) => (Framing::UntilClose, odd),
    }
}

/// The first usable Content-Length; `true` when there are several values, or one is odd.
fn content_length(headers: &Headers) -> (Option<u64>, bool) {
    let (mut length, mut odd) = (None, false);
    for value in headers.get_all("content-length") {
        for part in value.split(|byte| matches!(byte, b',' | b';')) {
            let digits = part.trim_ascii();
            let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
            odd |= count == 0 || count != digits.len();
            let parsed = std::str::from_utf8(&digits[..count]).ok().and_then(|digits| digits.parse::<u64>().ok());
            odd |= length.is_some() && length != parsed;
            length = length.or(parsed);
        }
    }
    (length, odd)
}

fn closes(headers: &Headers) -> bool {
    headers.get("connection").is_some_and(|value| value.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// Whether a Content-Length is more than digits, or a list of them that contradicts itself in one line.
fn is_junk(headers: &Headers) -> bool {
    headers.get_all("content-length").any(|value| !value.trim_ascii().iter().all(u8::is_ascii_digit))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    None,
    Chunked,
    /// Written so that some take it for chunked and some do not.
    Maybe,
}

fn coding(headers: &Headers) -> Coding {
    let mut coding = Coding::None;
    for (name, value) in headers.iter() {
        // A field line that begins with a blank was taken for the end of the one before it.
        if coding == Coding::None && value.len() >= 24 && find_transfer(value) {
            let word: Vec<u8> = letters(value).take(256).collect();
            if memchr::memmem::find(&word, b"transferencodingchunked").is_some() {
                coding = Coding::Maybe;
            }
        }
        // Most names are shorter or longer and are not looked at closely.
        if !(14..=40).contains(&name.len()) {
            continue;
        }
        let exact = name.eq_ignore_ascii_case(b"transfer-encoding");
        if !exact && !letters(name).eq(b"transferencoding".iter().copied()) {
            continue;
        }
        let last = value.rsplit(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
        if exact && last.eq_ignore_ascii_case(b"chunked") {
            coding = Coding::Chunked;
        } else if coding == Coding::None {
            let word: Vec<u8> = letters(value).take(256).collect();
            if memchr::memmem::find(&word, b"chunked").is_some() {
                coding = Coding::Maybe;
            }
        }
    }
    coding
}

/// Whether `ransfer-` stands in a value.
fn find_transfer(value: &[u8]) -> bool {
    // Its hyphen is rarer than its letters.
    memchr::memchr_iter(b'-', value).any(|at| value[..at].ends_with(b"ransfer"))
}

fn letters(text: &[u8]) -> impl Iterator<Item = u8> {
    text.iter().filter(|byte| byte.is_ascii_alphabetic()).map(u8::to_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::http::head;

    fn response(text: &'static str, method: Option<&[u8]>) -> Framing {
        of_response(&head::response(Bytes::from_static(text.as_bytes())).expect("a response"), method, false).0
    }

    #[test]
    fn rules_in_their_order() {
        let get = Some(&b"GET"[..]);
        assert_eq!(response("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Some(b"HEAD")), Framing::None);
        assert_eq!(response("HTTP/1.1 200 OK\r\n\r\n", Some(b"CONNECT")), Framing::Tunnel);
        assert_eq!(response("HTTP/1.1 407 No\r\n\r\n", Some(b"CONNECT")), Framing::UntilClose);
        assert_eq!(response("HTTP/1.1 204 No\r\n\r\n", get), Framing::None);
        let odd = Framing::Unlikely { length: Some(9), chunked: false };
        assert_eq!(response("HTTP/1.1 304 No\r\nContent-Length: 9\r\n\r\n", get), odd);
        let both = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: gzip, chunked\r\n\r\n";
        assert_eq!(response(both, get), Framing::Chunked { length: Some(5) });
        assert_eq!(response("HTTP/1.1 200 OK\r\nContent-Length: 5, 7\r\n\r\n", get), Framing::Length(5));
        assert_eq!(response("HTTP/1.1 200 OK\r\n\r\n", None), Framing::UntilClose);
    }
}

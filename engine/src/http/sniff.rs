//! Does this look like HTTP? Decided on the first bytes of a segment.

/// The client connection preface of HTTP/2 (RFC 9113 §3.4).
pub(crate) const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Methods of the IANA registry that are common enough to be believed without a version behind the target.
const METHODS: [&[u8]; 16] = [
    b"GET",
    b"POST",
    b"HEAD",
    b"PUT",
    b"DELETE",
    b"OPTIONS",
    b"PATCH",
    b"CONNECT",
    b"TRACE",
    b"PROPFIND",
    b"PROPPATCH",
    b"MKCOL",
    b"COPY",
    b"MOVE",
    b"LOCK",
    b"REPORT",
];

/// Bytes of a request line that are looked at.
const LINE_LIMIT: usize = 64 << 10;

/// Whether these bytes can begin a response.
pub(crate) fn response(bytes: &[u8]) -> bool {
    bytes.len() >= 5 && bytes[..5].eq_ignore_ascii_case(b"HTTP/")
}

/// Whether a whole, well-formed status line stands here: what resynchronisation asks for.
pub(crate) fn strict_response(bytes: &[u8]) -> bool {
    let well_formed = |line: &[u8]| {
        matches!(line, [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1', b' ', a, b, c, rest @ ..]
        if (b'1'..=b'9').contains(a) && b.is_ascii_digit() && c.is_ascii_digit() && matches!(rest, [] | [b' ' | b'\r', ..]))
    };
    match memchr::memchr(b'\n', &bytes[..bytes.len().min(1_024)]) {
        Some(end) => well_formed(&bytes[..end]),
        None => false,
    }
}

/// Whether these bytes can begin a request: a known method, or any token with a version at the line's end.
pub(crate) fn request(bytes: &[u8]) -> bool {
    let bytes = &bytes[bytes.iter().take(8).take_while(|byte| matches!(byte, b'\r' | b'\n')).count()..];
    known_method(bytes) || strict_request(bytes)
}

/// A known method and what may be a target. Other protocols have methods of these names: RTSP and SIP tell
/// their versions at the end of the line, NATS's CONNECT has an object behind it.
fn known_method(bytes: &[u8]) -> bool {
    let rest = METHODS.iter().find_map(|method| bytes.strip_prefix(*method)?.strip_prefix(b" "));
    let Some(rest) = rest else { return false };
    let line = memchr::memchr(b'\n', &rest[..rest.len().min(LINE_LIMIT)]).map_or(&[][..], |end| &rest[..end]);
    !rest.starts_with(b"{") && !has_other_version(line)
}

/// Whether a line ends with the version of another protocol than HTTP.
fn has_other_version(line: &[u8]) -> bool {
    let word = line.trim_ascii_end().rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    match word {
        [name @ .., b'/', major, b'.', minor] => {
            let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_uppercase);
            is_name && name != b"HTTP" && major.is_ascii_digit() && minor.is_ascii_digit()
        }
        _ => false,
    }
}

/// Whether a request line with a version stands here (or, when the line goes on, a known method). The rest of
/// a request line does not pass for one: method, target and version must all be there.
pub(crate) fn strict_request(bytes: &[u8]) -> bool {
    let token = bytes
        .iter()
        .take(33)
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        .count();
    let begins_with_letter = bytes.first().is_some_and(u8::is_ascii_alphabetic);
    if !begins_with_letter || token > 32 || bytes.get(token) != Some(&b' ') || bytes.starts_with(b"HTTP/") {
        return false;
    }
    match memchr::memchr(b'\n', &bytes[..bytes.len().min(LINE_LIMIT)]) {
        Some(end) => {
            let line = bytes[token..end].trim_ascii_end();
            line.len() > 10
                && matches!(&line[line.len() - 9..], [b' ', b'H', b'T', b'T', b'P', b'/', _, b'.', _])
                && !line[..line.len() - 9].trim_ascii().is_empty()
        }
        None => known_method(bytes),
    }
}

/// Whether these bytes begin TLS: nothing to be read in the clear.
pub(crate) fn tls(bytes: &[u8]) -> bool {
    matches!(bytes, [0x14..=0x17, 3, 0..=4, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_http_from_other_things() {
        assert!(request(b"\r\nGET /x"));
        assert!(request(b"RPC_IN_DATA /rpc HTTP/1.1\r\n"));
        assert!(!strict_request(b"45-11-3 HTTP/1.1\r\n"), "the end of a request line, cut behind its first slash");
        assert!(!strict_request(b"rest HTTP/1.1\r\n"));
        assert!(!request(b"EHLO there\r\n"));
        assert!(!request(b"SSH-2.0-x\r\n"));
        assert!(!request(b"OPTIONS rtsp://a:554/ RTSP/1.0\r\nCSeq: 1\r\n"));
        assert!(!request(b"OPTIONS sip:a@b SIP/2.0\r\n"));
        assert!(!request(b"CONNECT {\"verbose\":false}\r\n"));
        assert!(request(b"GET /a/RTSP/1.0\r\n"));
        assert!(request(b"GET /files/of SOME/1.0 HTTP/1.1\r\n"));
        assert!(strict_response(b"HTTP/1.1 200 OK\r\n"));
        assert!(strict_response(b"HTTP/1.0 304\r\n"));
        assert!(!strict_response(b"HTTP/1.1 2000\r\n"));
        assert!(!strict_response(b"HTTP/1.1 200 OK"));
        assert!(tls(&[0x16, 3, 1, 0]));
    }
}

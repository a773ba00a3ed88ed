//! The head of a response as the generator reads it: what decides where the body ends, nothing else.

use memchr::{memchr, memmem};

use super::{parse_decimal, trim};

/// Bytes of a head that are borne.
pub(crate) const MOST_HEAD: usize = 64 << 10;

/// How the body is framed (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// This many bytes.
    Length(u64),
    /// Chunked.
    Chunked,
    /// Up to the end of the connection.
    UntilClose,
}

/// What the generator needs of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Bytes of it.
    pub(crate) length: usize,
    /// Status code.
    pub(crate) status: u16,
    /// How the body is framed.
    pub(crate) framing: Framing,
    /// The connection may carry another request.
    pub(crate) keep_alive: bool,
}

/// This is no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Reads a head that begins at the start of `bytes`; `None`: its end has not come.
pub(crate) fn parse(bytes: &[u8], to_head: bool) -> Result<Option<Head>, Malformed> {
    let known = bytes.len().min(7);
    if bytes[..known] != b"HTTP/1."[..known] {
        return Err(Malformed);
    }
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
        return if bytes.len() > MOST_HEAD { Err(Malformed) } else { Ok(None) };
    };
    if end < 12 || bytes[8] != b' ' {
        return Err(Malformed);
    }
    let status = parse_decimal(&bytes[9..12]).filter(|status| *status >= 100).ok_or(Malformed)? as u16;
    let mut keep_alive = bytes[7] != b'0';
    let (mut length, mut chunked) = (None, false);
    let fields = &bytes[..end + 2];
    let mut at = memchr(b'\n', fields).map_or(fields.len(), |at| at + 1);
    while at < fields.len() {
        let line_end = memchr(b'\n', &fields[at..]).map_or(fields.len(), |found| at + found);
        let line = &fields[at..line_end];
        // Three names matter; their first letter and the length sort out the others.
        match line.first().map(u8::to_ascii_lowercase) {
            Some(b'c') => {
                if let Some(value) = value_of(line, b"content-length") {
                    let value = parse_decimal(value).ok_or(Malformed)?;
                    if length.is_some_and(|length| length != value) {
                        return Err(Malformed);
                    }
                    length = Some(value);
                } else if let Some(value) = value_of(line, b"connection") {
                    if value.eq_ignore_ascii_case(b"close") {
                        keep_alive = false;
                    } else if value.eq_ignore_ascii_case(b"keep-alive") {
                        keep_alive = true;
                    }
                }
            }
            Some(b't') => {
                if let Some(value) = value_of(line, b"transfer-encoding") {
                    chunked = value.len() >= 7 && value[value.len() - 7..].eq_ignore_ascii_case(b"chunked");
                }
            }
            _ => {}
        }
        at = line_end + 1;
    }
    let framing = if to_head || status < 200 || status == 204 || status == 304 {
        Framing::Length(0)
    } else if chunked {
        Framing::Chunked
    } else {
        length.map_or(Framing::UntilClose, Framing::Length)
    };
    keep_alive &= framing != Framing::UntilClose;
    Ok(Some(Head { length: end + 4, status, framing, keep_alive }))
}

fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let rest = line.get(name.len()..).filter(|rest| rest.first() == Some(&b':'))?;
    line[..name.len()].eq_ignore_ascii_case(name).then(|| trim(&rest[1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Option<Head>, Malformed> {
        parse(text.as_bytes(), false)
    }

    #[test]
    fn lengths() {
        let text = "HTTP/1.1 200 OK\r\nServer: x\r\nContent-length:  600 \r\n\r\nbody";
        let expected = Head { length: text.len() - 4, status: 200, framing: Framing::Length(600), keep_alive: true };
        assert_eq!(head(text), Ok(Some(expected)));
        for cut in 0..text.len() - 4 {
            assert_eq!(head(&text[..cut]), Ok(None), "{cut}");
        }
        let framing = |text| head(text).map(|head| head.map(|head| (head.framing, head.keep_alive)));
        assert_eq!(
            framing("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, Chunked\r\ncontent-length: 3\r\n\r\n"),
            Ok(Some((Framing::Chunked, true)))
        );
        assert_eq!(framing("HTTP/1.1 204 No\r\ncontent-length: 3\r\n\r\n"), Ok(Some((Framing::Length(0), true))));
        assert_eq!(framing("HTTP/1.1 200\r\n\r\n"), Ok(Some((Framing::UntilClose, false))));
        assert_eq!(framing("HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\n"), Ok(Some((Framing::Length(3), false))));
        assert_eq!(
            framing("HTTP/1.1 200 OK\r\ncontent-length: 3\r\nConnection: Close\r\n\r\n"),
            Ok(Some((Framing::Length(3), false)))
        );
    }

    #[test]
    fn refuses_what_is_no_response() {
        for bad in [
            "SSH-2.0",
            "HTTP/2",
            "HTTP/1.1 20x\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            "HTTP/1.\r\n\r\n",
        ] {
            assert_eq!(head(bad), Err(Malformed), "{bad}");
        }
    }
}

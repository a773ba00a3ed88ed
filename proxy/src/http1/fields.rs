//! The field section of an HTTP/1.x head (RFC 9112 §5): what its lines say of framing and of this hop.
//!
//! In: field lines as `httparse` found them. Out: [`Fields`]: the lines for the record, those that end at this
//! hop (RFC 9110 §7.6.1), and those that go on, written as they came.

use std::ops::Range;

use bytes::Bytes;
use bytestring::ByteString;
use smallvec::SmallVec;
use weir_engine::record::{Fault, Headers};

use crate::failure::Failure;

/// Fields that Connection may name; each is looked for among all lines.
const CONNECTION_OPTIONS: usize = 64;

/// What both kinds of head have.
#[derive(Debug)]
pub struct Fields {
    /// The whole head.
    pub raw: Bytes,
    /// Field lines for the record.
    pub headers: Headers,
    /// Where the field lines stand, without the empty line.
    pub section: Range<usize>,
    /// Lines that end at this hop, in order.
    pub hop: SmallVec<[Range<usize>; 4]>,
    /// The `Upgrade` and `Connection` lines, among `hop`, that go on when the connection is upgraded.
    pub upgrade: bool,
    /// Transfer-Encoding lines (not among `hop`).
    pub transfer_encoding: SmallVec<[Range<usize>; 1]>,
    /// Whether `Connection: close` was said.
    pub close: bool,
    /// Whether `Connection: keep-alive` was said.
    pub keep_alive: bool,
    pub(super) content_length: Option<u64>,
    pub(super) length_line: Option<Range<usize>>,
    /// Transfer codings, of all lines.
    pub(super) codings: usize,
    pub(super) chunked: bool,
    pub(super) coded: bool,
}

impl Fields {
    pub(super) fn over(raw: Bytes, count: usize) -> Self {
        Self {
            headers: Headers::over(raw.clone(), count),
            section: raw.len()..raw.len(),
            hop: SmallVec::new(),
            upgrade: false,
            transfer_encoding: SmallVec::new(),
            close: false,
            keep_alive: false,
            content_length: None,
            length_line: None,
            codings: 0,
            chunked: false,
            coded: false,
            raw,
        }
    }

    /// Adds a line to the record; returns where the whole line and its value stand.
    pub(super) fn add(&mut self, lines: &[httparse::Header<'_>], index: usize) -> (Range<usize>, Range<usize>) {
        let name = offset(&self.raw, lines[index].name.as_bytes());
        let value = offset(&self.raw, lines[index].value);
        let end = match lines.get(index + 1) {
            Some(next) => offset(&self.raw, next.name.as_bytes()).start,
            None => self.raw.len() - if self.raw.ends_with(b"\r\n") { 2 } else { 1 },
        };
        if index == 0 {
            self.section = name.start..end;
        }
        self.section.end = end;
        self.headers.push_range(name.clone(), value.clone());
        (name.start..end, value)
    }

    /// What requests and responses have in common: framing and the fields of this hop.
    pub(super) fn read_common<'a>(
        &mut self,
        line: &httparse::Header<'a>,
        whole: Range<usize>,
        request: bool,
        named: &mut SmallVec<[&'a [u8]; 2]>,
    ) -> Result<(), Failure> {
        let name = line.name;
        match name.len() {
            14 if name.eq_ignore_ascii_case("content-length") => {
                let length =
                    length(line.value).ok_or_else(|| smuggling(request, "its Content-Length is not a number"))?;
                match self.content_length {
                    None => {
                        self.content_length = Some(length);
                        self.length_line = Some(whole);
                    }
                    // The same again: one of them goes on (RFC 9110 §8.6). Clients have no excuse.
                    Some(before) if before == length && !request => self.hop.push(whole),
                    Some(_) => return Err(smuggling(request, "it has more than one Content-Length")),
                }
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                for coding in tokens(line.value) {
                    if self.chunked {
                        return Err(smuggling(request, "chunked is not its last transfer coding"));
                    }
                    self.chunked = coding.eq_ignore_ascii_case(b"chunked");
                    self.codings += 1;
                }
                self.coded = true;
                self.transfer_encoding.push(whole);
            }
            10 if name.eq_ignore_ascii_case("connection") => {
                for option in tokens(line.value) {
                    match option.len() {
                        5 if option.eq_ignore_ascii_case(b"close") => self.close = true,
                        10 if option.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
                        7 if option.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
                        _ if named.len() >= CONNECTION_OPTIONS => {
                            let fault = if request { Fault::ClientMalformed } else { Fault::ServerMalformed };
                            let detail = format!("Connection names more than {CONNECTION_OPTIONS} fields.");
                            return Err(Failure::new(fault, detail));
                        }
                        _ => named.push(option),
                    }
                }
                self.hop.push(whole);
            }
            16 if name.eq_ignore_ascii_case("proxy-connection") => {
                self.close |= tokens(line.value).any(|option| option.eq_ignore_ascii_case(b"close"));
                self.keep_alive |= tokens(line.value).any(|option| option.eq_ignore_ascii_case(b"keep-alive"));
                self.hop.push(whole);
            }
            10 if name.eq_ignore_ascii_case("keep-alive") => self.hop.push(whole),
            7 if name.eq_ignore_ascii_case("upgrade") => self.hop.push(whole),
            _ => {}
        }
        Ok(())
    }

    /// Marks the lines that Connection names. Those that frame or route the message stay: naming them
    /// is an attempt to have them stripped.
    pub(super) fn drop_named(&mut self, lines: &[httparse::Header<'_>], named: &[&[u8]]) {
        const KEPT: [&str; 6] = ["host", "content-length", "transfer-encoding", "te", "upgrade", "trailer"];
        for option in named {
            if KEPT.iter().any(|kept| kept.as_bytes().eq_ignore_ascii_case(option)) {
                continue;
            }
            for (index, line) in lines.iter().enumerate() {
                if line.name.as_bytes().eq_ignore_ascii_case(option) {
                    let start = offset(&self.raw, line.name.as_bytes()).start;
                    let end = lines
                        .get(index + 1)
                        .map_or(self.section.end, |next| offset(&self.raw, next.name.as_bytes()).start);
                    if !self.hop.iter().any(|range| range.start == start) {
                        self.hop.push(start..end);
                    }
                }
            }
        }
        if !self.hop.is_sorted_by_key(|range| range.start) {
            self.hop.sort_unstable_by_key(|range| range.start);
        }
    }

    /// Marks the lines that frame a body: where there can be none, they lead a careless client astray (RFC 9110 §8.6).
    pub(super) fn drop_framing(&mut self) {
        self.hop.extend(self.length_line.take());
        self.hop.extend(self.transfer_encoding.drain(..));
        self.hop.sort_unstable_by_key(|range| range.start);
    }

    /// Whether chunked is the only transfer coding, in a spelling that careless servers do not know: it goes on as
    /// `Transfer-Encoding: chunked`, or what we take for a body they take for the next request.
    #[must_use]
    pub fn respells_chunked(&self) -> bool {
        let plain = |line: &Range<usize>| self.raw[line.clone()].get(17..) == Some(b": chunked\r\n");
        self.chunked && self.codings == 1 && !matches!(&self.transfer_encoding[..], [line] if plain(line))
    }

    /// Writes the field lines that go on, in order; `also_drop` are further lines to leave out.
    pub fn write(&self, out: &mut Vec<u8>, upgrading: bool, also_drop: &[Range<usize>]) {
        let mut from = self.section.start;
        let raw = &self.raw;
        let mut hop =
            self.hop.iter().filter(|line| !(upgrading && is_upgrade_line(&raw[line.start..line.end]))).peekable();
        let mut more = also_drop.iter().peekable();
        loop {
            let next = match (hop.peek(), more.peek()) {
                (Some(a), Some(b)) if a.start <= b.start => hop.next(),
                (_, Some(_)) => more.next(),
                (Some(_), None) => hop.next(),
                (None, None) => break,
            };
            let Some(line) = next else { break };
            if line.start >= from {
                out.extend_from_slice(&raw[from..line.start]);
                from = line.end;
            }
        }
        out.extend_from_slice(&raw[from..self.section.end]);
    }
}

fn is_upgrade_line(line: &[u8]) -> bool {
    let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
    name.eq_ignore_ascii_case(b"upgrade") || name.eq_ignore_ascii_case(b"connection")
}

/// Elements of a comma-separated list (RFC 9110 §5.6.1), empty ones left out.
pub fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

fn length(value: &[u8]) -> Option<u64> {
    let value = value.trim_ascii();
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')))
}

pub(super) fn offset(raw: &Bytes, part: &[u8]) -> Range<usize> {
    // Both are addresses in the same buffer; an empty part may lie at its end.
    let start = (part.as_ptr().addr()).saturating_sub(raw.as_ptr().addr()).min(raw.len());
    start..(start + part.len()).min(raw.len())
}

/// Bytes as text; what is not UTF-8 is replaced, in the record only.
#[must_use]
pub fn text(bytes: Bytes) -> ByteString {
    match std::str::from_utf8(&bytes) {
        Ok(_) => ByteString::try_from(bytes).unwrap_or_default(),
        Err(_) => String::from_utf8_lossy(&bytes).into_owned().into(),
    }
}

pub(super) fn smuggling(request: bool, why: &str) -> Failure {
    if request {
        Failure::new(
            Fault::RequestSmuggling,
            format!("The request could be read in two ways and was not forwarded: {why} (RFC 9112 section 6.3)."),
        )
    } else {
        Failure::new(
            Fault::ResponseSmuggling,
            format!("The server's response could be read in two ways and was refused: {why} (RFC 9112 section 6.3)."),
        )
    }
}

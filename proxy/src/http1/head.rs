//! Message heads of HTTP/1.x (RFC 9112 §2-§6): bytes in, checked types out, or a refusal.
//!
//! In: the bytes of one head, from its first octet to the empty line. Out: [`Request`] and
//! [`Response`], whose fields are ranges into those bytes, with the framing of the body decided
//! (RFC 9112 §6.3) and the field lines marked that end at this hop (RFC 9110 §7.6.1). What could be
//! read in two ways is refused.

use std::{borrow::Cow, mem::MaybeUninit, ops::Range};

use bytes::Bytes;
use bytestring::ByteString;
use smallvec::SmallVec;
use weir_engine::record::{Fault, Headers, Protocol};

use super::page;
use crate::{config::Limits, failure::Failure};

/// Field lines the parser has room for; [`Limits::header_count`] is bounded by it.
const FIELD_LINES: usize = 256;

/// Fields that Connection may name; each is looked for among all lines.
const CONNECTION_OPTIONS: usize = 64;

/// How a body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// Content-Length.
    Length(u64),
    /// The chunked transfer coding.
    Chunked,
    /// The end of the connection; responses only.
    Close,
}

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
    content_length: Option<u64>,
    length_line: Option<Range<usize>>,
    /// Transfer codings, of all lines.
    codings: usize,
    chunked: bool,
    coded: bool,
}

/// A request head.
#[derive(Debug)]
pub struct Request {
    /// What both kinds of head have.
    pub fields: Fields,
    /// Method, case as seen.
    pub method: ByteString,
    /// Where the request target stands.
    pub target: Range<usize>,
    /// Version.
    pub protocol: Protocol,
    /// Value of Host.
    pub host: Option<Range<usize>>,
    /// The line of Host.
    pub host_line: Option<Range<usize>>,
    /// How the body is delimited.
    pub framing: Framing,
    /// Whether the client waits for 100 (Continue).
    pub expects_continue: bool,
    /// Value of Proxy-Authorization.
    pub credentials: Option<Range<usize>>,
}

/// A response head.
#[derive(Debug)]
pub struct Response {
    /// What both kinds of head have.
    pub fields: Fields,
    /// Status code.
    pub status: u16,
    /// Reason phrase.
    pub reason: Range<usize>,
    /// Version.
    pub protocol: Protocol,
    /// How the body is delimited.
    pub framing: Framing,
    /// Whether the server keeps the connection open.
    pub persistent: bool,
    /// Lines ended in a bare LF: written anew with CRLF.
    pub bare_lf: bool,
}

/// Where a head ends (one past its empty line), looking from `from` on.
#[must_use]
pub fn find_end(bytes: &[u8], from: usize) -> Option<usize> {
    for at in memchr::memchr_iter(b'\n', bytes.get(from..)?) {
        match &bytes[from + at + 1..] {
            [b'\n', ..] => return Some(from + at + 2),
            [b'\r', b'\n', ..] => return Some(from + at + 3),
            _ => {}
        }
    }
    None
}

impl Request {
    /// Reads a request head.
    ///
    /// # Errors
    /// [`Fault::ClientMalformed`], [`Fault::RequestSmuggling`], [`Fault::RequestHeadTooLarge`].
    #[allow(clippy::needless_pass_by_value, reason = "the head is split off the connection and lives on in the result")]
    pub fn parse(raw: Bytes, limits: &Limits) -> Result<Self, Failure> {
        let malformed = |why: String| Failure::new(Fault::ClientMalformed, format!("The request is not HTTP: {why}."));
        if memchr::memchr_iter(b'\n', &raw).any(|at| at == 0 || raw[at - 1] != b'\r') {
            return Err(smuggling(true, "a line of its head ends without a carriage return"));
        }
        let mut lines = [const { MaybeUninit::uninit() }; FIELD_LINES];
        let mut parsed = httparse::Request::new(&mut []);
        let result = parsed.parse_with_uninit_headers(&raw, &mut lines[..limits.header_count.min(FIELD_LINES)]);
        match result {
            Ok(httparse::Status::Complete(len)) if len == raw.len() => {}
            Ok(_) => return Err(malformed("its head ends in the middle".to_owned())),
            Err(httparse::Error::TooManyHeaders) => return Err(Fault::RequestHeadTooLarge.into()),
            Err(error) => return Err(malformed(error.to_string())),
        }
        let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
            return Err(malformed("its request line is not complete".to_owned()));
        };
        let at = |part: &[u8]| offset(&raw, part);
        let mut request = Self {
            method: method_text(&raw, method),
            target: at(target.as_bytes()),
            protocol: if version == 0 { Protocol::Http10 } else { Protocol::Http11 },
            host: None,
            host_line: None,
            framing: Framing::None,
            expects_continue: false,
            credentials: None,
            fields: Fields::over(raw.clone(), parsed.headers.len()),
        };
        request.read_fields(parsed.headers)?;
        // Upgrades are not for HTTP/1.0 (RFC 9110 §7.8).
        request.fields.upgrade &= version == 1;
        let fields = &request.fields;
        request.framing = match (fields.coded, fields.content_length) {
            (true, Some(_)) => return Err(smuggling(true, "it has both Content-Length and Transfer-Encoding")),
            (true, None) if version == 0 => return Err(smuggling(true, "HTTP/1.0 has no Transfer-Encoding")),
            (true, None) if !fields.chunked => return Err(smuggling(true, "its last transfer coding is not chunked")),
            (true, None) => Framing::Chunked,
            (false, Some(0) | None) => Framing::None,
            (false, Some(length)) => Framing::Length(length),
        };
        Ok(request)
    }

    fn read_fields(&mut self, lines: &[httparse::Header<'_>]) -> Result<(), Failure> {
        let mut named: SmallVec<[&[u8]; 2]> = SmallVec::new();
        for (index, line) in lines.iter().enumerate() {
            let (whole, value) = self.fields.add(lines, index);
            let name = line.name;
            match name.len() {
                4 if name.eq_ignore_ascii_case("host") => {
                    if self.host.is_some() {
                        return Err(smuggling(true, "it has more than one Host"));
                    }
                    self.host = Some(value);
                    self.host_line = Some(whole);
                }
                6 if name.eq_ignore_ascii_case("expect") => {
                    self.expects_continue = line.value.trim_ascii().eq_ignore_ascii_case(b"100-continue");
                }
                2 if name.eq_ignore_ascii_case("te") => {
                    // We do pass trailer sections on; other codings end here (RFC 9110 §10.1.4).
                    if !line.value.trim_ascii().eq_ignore_ascii_case(b"trailers") {
                        self.fields.hop.push(whole);
                    }
                }
                19 if name.eq_ignore_ascii_case("proxy-authorization") => {
                    self.credentials = Some(value);
                    self.fields.hop.push(whole);
                    self.fields.headers = Headers::default();
                }
                _ => self.fields.read_common(line, whole, true, &mut named)?,
            }
        }
        // Credentials for this proxy are neither forwarded nor recorded.
        if self.credentials.is_some() {
            let raw = self.fields.raw.clone();
            let mut headers = Headers::over(raw.clone(), lines.len());
            for line in lines.iter().filter(|line| !line.name.eq_ignore_ascii_case("proxy-authorization")) {
                headers.push_range(offset(&raw, line.name.as_bytes()), offset(&raw, line.value));
            }
            self.fields.headers = headers;
        }
        self.fields.drop_named(lines, &named);
        Ok(())
    }

    /// The request target as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn target_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.fields.raw[self.target.clone()])
    }

    /// Whether the request target is a path or `*` (RFC 9112 §3.2.1, §3.2.4), with no authority in it.
    #[must_use]
    pub fn is_origin_form(&self) -> bool {
        let target = &self.fields.raw[self.target.clone()];
        target.starts_with(b"/") || target == b"*"
    }

    /// Whether the method is this one.
    #[must_use]
    pub fn is(&self, method: &str) -> bool {
        &*self.method == method
    }

    /// Whether the client keeps the connection open (RFC 9112 §9.3).
    #[must_use]
    pub fn persistent(&self) -> bool {
        !self.fields.close && (self.protocol == Protocol::Http11 || self.fields.keep_alive)
    }

    /// Whether repeating it does no harm (RFC 9110 §9.2.2).
    #[must_use]
    pub fn idempotent(&self) -> bool {
        matches!(&*self.method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
    }
}

impl Response {
    /// Reads a response head; `method` is the request's, which decides about the body.
    ///
    /// # Errors
    /// [`Fault::ServerMalformed`], [`Fault::ResponseSmuggling`], [`Fault::ResponseHeadTooLarge`].
    #[allow(clippy::needless_pass_by_value, reason = "the head is split off the connection and lives on in the result")]
    pub fn parse(raw: Bytes, method: &str, limits: &Limits) -> Result<Self, Failure> {
        let malformed =
            |why: String| Failure::new(Fault::ServerMalformed, format!("What the server sent is not HTTP: {why}."));
        let mut lines = [const { MaybeUninit::uninit() }; FIELD_LINES];
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let room = &mut lines[..limits.header_count.min(FIELD_LINES)];
        match config.parse_response_with_uninit_headers(&mut parsed, &raw, room) {
            Ok(httparse::Status::Complete(len)) if len == raw.len() => {}
            Ok(_) => return Err(malformed("its head ends in the middle".to_owned())),
            Err(httparse::Error::TooManyHeaders) => return Err(Fault::ResponseHeadTooLarge.into()),
            Err(error) => return Err(malformed(error.to_string())),
        }
        let (Some(status), Some(version)) = (parsed.code, parsed.version) else {
            return Err(malformed("its status line is not complete".to_owned()));
        };
        if !(100..=999).contains(&status) {
            return Err(malformed(format!("its status is {status}")));
        }
        let mut fields = Fields::over(raw.clone(), parsed.headers.len());
        let mut named: SmallVec<[&[u8]; 2]> = SmallVec::new();
        for (index, line) in parsed.headers.iter().enumerate() {
            let (whole, _) = fields.add(parsed.headers, index);
            fields.read_common(line, whole, false, &mut named)?;
        }
        fields.drop_named(parsed.headers, &named);
        if matches!(status, 100..200 | 204) {
            fields.drop_framing();
        }
        let bodiless = method == "HEAD" || matches!(status, 100..200 | 204 | 304);
        let framing = match (fields.coded, fields.content_length) {
            _ if bodiless => Framing::None,
            (true, Some(_)) => return Err(smuggling(false, "it has both Content-Length and Transfer-Encoding")),
            (true, None) if version == 0 => return Err(smuggling(false, "HTTP/1.0 has no Transfer-Encoding")),
            (true, None) if fields.chunked => Framing::Chunked,
            (false, Some(0)) => Framing::None,
            (false, Some(length)) => Framing::Length(length),
            (_, None) => Framing::Close,
        };
        let persistent = !fields.close && framing != Framing::Close && (version == 1 || fields.keep_alive);
        let bare_lf = memchr::memchr_iter(b'\n', &raw).any(|at| at == 0 || raw[at - 1] != b'\r');
        Ok(Self {
            status,
            reason: parsed.reason.map_or(0..0, |reason| offset(&raw, reason.as_bytes())),
            protocol: if version == 0 { Protocol::Http10 } else { Protocol::Http11 },
            framing,
            persistent,
            bare_lf,
            fields,
        })
    }

    /// The reason phrase as text, when there is one.
    #[must_use]
    pub fn reason(&self) -> Option<ByteString> {
        let reason = &self.fields.raw[self.reason.clone()];
        let usual = page::phrase(self.status);
        match reason {
            [] => None,
            reason if reason == usual.as_bytes() => Some(ByteString::from_static(usual)),
            reason => Some(text(self.fields.raw.slice_ref(reason))),
        }
    }
}

impl Fields {
    fn over(raw: Bytes, count: usize) -> Self {
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
    fn add(&mut self, lines: &[httparse::Header<'_>], index: usize) -> (Range<usize>, Range<usize>) {
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
    fn read_common<'a>(
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
    fn drop_named(&mut self, lines: &[httparse::Header<'_>], named: &[&[u8]]) {
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
    fn drop_framing(&mut self) {
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

/// The method as text; one of RFC 9110 §9.3 takes no share of the buffer.
fn method_text(raw: &Bytes, method: &str) -> ByteString {
    const KNOWN: [&str; 9] = ["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE"];
    match KNOWN.into_iter().find(|known| *known == method) {
        Some(known) => ByteString::from_static(known),
        None => ByteString::try_from(raw.slice_ref(method.as_bytes())).unwrap_or_default(),
    }
}

fn offset(raw: &Bytes, part: &[u8]) -> Range<usize> {
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

fn smuggling(request: bool, why: &str) -> Failure {
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

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;

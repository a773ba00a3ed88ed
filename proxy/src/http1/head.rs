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

use super::{
    fields::{Fields, offset, smuggling, text},
    page,
};
use crate::{config::Limits, failure::Failure};

/// Field lines the parser has room for; [`Limits::header_count`] is bounded by it.
const FIELD_LINES: usize = 256;

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

/// The method as text; one of RFC 9110 §9.3 takes no share of the buffer.
fn method_text(raw: &Bytes, method: &str) -> ByteString {
    const KNOWN: [&str; 9] = ["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE"];
    match KNOWN.into_iter().find(|known| *known == method) {
        Some(known) => ByteString::from_static(known),
        None => ByteString::try_from(raw.slice_ref(method.as_bytes())).unwrap_or_default(),
    }
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;

//! HAR 1.2 in, exchanges out: entry by entry, so that a recording of hundreds of megabytes needs the
//! memory of its largest entry.
//!
//! A HAR holds decoded bodies (its `content.text` has the content coding removed); such a body is
//! recorded as it is there, with [`Body::decoded`] set, while `response_size` keeps the wire's size
//! where the file tells it.

use std::{cell::Cell, fmt, io, net::SocketAddr};

use base64::Engine as _;
use bytes::Bytes;
use bytestring::ByteString;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::har_model::{Content, Entry, Pair, PostData, WebSocketMessage};
use crate::record::{
    Body, BodyState, Direction, Exchange, Fault, Flags, Headers, Message, MessageKind, Protocol, Source, Timings, Url,
};

/// Bytes of one entry at most (JSON text). Larger ones are no recording of HTTP.
pub const ENTRY_BYTES: u64 = 1 << 30;

/// Why a HAR file could not be read to its end. What came before has been handed out.
#[derive(Debug, thiserror::Error)]
pub enum HarError {
    /// Not JSON, cut off, or reading failed.
    #[error("the file is no whole HAR: {0}; what stood before that place was imported")]
    Json(#[from] serde_json::Error),
    /// JSON of another kind.
    #[error("the file is JSON but has no log.entries; give a HAR file (HTTP Archive 1.2)")]
    NotHar,
}

/// What was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HarSummary {
    /// Entries that became exchanges.
    pub exchanges: u64,
    /// Entries without a URL of HTTP (`data:`, `blob:`, `chrome-extension:` …), left out.
    pub not_http: u64,
    /// Entries that are not of the HAR's form, left out.
    pub malformed: u64,
}

/// One entry, taken apart.
#[derive(Debug)]
pub struct Imported {
    /// The exchange.
    pub exchange: Exchange,
    /// Its WebSocket messages; their exchange id is to be filled in.
    pub messages: Vec<Message>,
}

/// Reads a HAR and hands each entry out in the file's order.
///
/// # Errors
/// [`HarError`] when the file is not whole; entries before the tear have been handed out.
pub fn read(input: impl io::Read, mut take: impl FnMut(Imported)) -> Result<HarSummary, HarError> {
    let budget = Cell::new(ENTRY_BYTES);
    let bounded = Bounded { input: io::BufReader::with_capacity(1 << 18, SkipMark::new(input)), left: &budget };
    let mut summary = HarSummary::default();
    let mut deserializer = serde_json::Deserializer::from_reader(bounded);
    let mut found = false;
    let log = Log { summary: &mut summary, take: &mut take, budget: &budget, found: &mut found };
    deserializer.deserialize_map(log)?;
    if found { Ok(summary) } else { Err(HarError::NotHar) }
}

/// Fails when an entry is longer than [`ENTRY_BYTES`]; each entry starts afresh.
struct Bounded<'a, R> {
    input: R,
    left: &'a Cell<u64>,
}

impl<R: io::Read> io::Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        match self.left.get().checked_sub(count as u64) {
            Some(left) => self.left.set(left),
            None => return Err(io::Error::other("an entry is longer than 1 GiB")),
        }
        Ok(count)
    }
}

/// Leaves out a byte order mark, which some exporters write (RFC 8259 §8.1 lets readers ignore it).
struct SkipMark<R> {
    input: R,
    started: bool,
}

impl<R> SkipMark<R> {
    fn new(input: R) -> Self {
        Self { input, started: false }
    }
}

impl<R: io::Read> io::Read for SkipMark<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.started || buffer.len() < 3 {
            return self.input.read(buffer);
        }
        self.started = true;
        let mut count = 0;
        while count < 3 {
            match self.input.read(&mut buffer[count..3])? {
                0 => return Ok(count),
                more => count += more,
            }
        }
        if buffer.starts_with(b"\xef\xbb\xbf") { self.input.read(buffer) } else { Ok(count) }
    }
}

/// Visits `{"log": {"entries": [...]}}`: the outer object and the inner one alike.
struct Log<'a, F> {
    summary: &'a mut HarSummary,
    take: &'a mut F,
    budget: &'a Cell<u64>,
    found: &'a mut bool,
}

impl<'de, F: FnMut(Imported)> Visitor<'de> for Log<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with log.entries")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "log" => map.next_value_seed(Inner(Log {
                    summary: self.summary,
                    take: self.take,
                    budget: self.budget,
                    found: self.found,
                }))?,
                "entries" => {
                    *self.found = true;
                    map.next_value_seed(Entries { summary: self.summary, take: self.take, budget: self.budget })?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    self.budget.set(ENTRY_BYTES);
                }
            }
        }
        Ok(())
    }
}

struct Inner<'a, F>(Log<'a, F>);

impl<'de, F: FnMut(Imported)> DeserializeSeed<'de> for Inner<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self.0)
    }
}

struct Entries<'a, F> {
    summary: &'a mut HarSummary,
    take: &'a mut F,
    budget: &'a Cell<u64>,
}

impl<'de, F: FnMut(Imported)> DeserializeSeed<'de> for Entries<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, F: FnMut(Imported)> Visitor<'de> for Entries<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        // The raw text first: an entry of another form is left out and counted, and the next one is read.
        while let Some(raw) = entries.next_element::<Box<serde_json::value::RawValue>>()? {
            self.budget.set(ENTRY_BYTES);
            match serde_json::from_str::<Entry>(raw.get()) {
                Err(_) => self.summary.malformed += 1,
                Ok(entry) => match convert(entry) {
                    None => self.summary.not_http += 1,
                    Some(imported) => {
                        self.summary.exchanges += 1;
                        (self.take)(imported);
                    }
                },
            }
        }
        Ok(())
    }
}

fn convert(entry: Entry) -> Option<Imported> {
    let Entry { request, response, timings, .. } = entry;
    let url = Url::parse(request.url.into())?;
    let started_us = entry.started_date_time.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_microsecond);
    let request_headers = headers(&request.headers);
    let response_headers = with_content_type(headers(&response.headers), &response.content);
    let status = (100.0..1000.0).contains(&response.status).then_some(response.status as u16);
    let mut flags = Flags::default();
    if status == Some(101) {
        flags.set(Flags::UPGRADED);
    }
    let exchange = Exchange {
        source: Source::Import,
        server: server_address(&entry.server_ip_address, url.port()),
        connection: entry.connection.parse().unwrap_or(0),
        started_us,
        protocol: protocol(&request.http_version, &response.http_version),
        method: request.method.into(),
        url,
        status,
        reason: Some(response.status_text).filter(|text| !text.is_empty()).map(ByteString::from),
        error: own_fault(&response.error).or_else(|| status.is_none().then(|| browser_fault(&response.error))),
        request_headers,
        response_headers,
        request_body: request_body(request.post_data, request.body_size),
        response_body: response_body(response.content, response.body_size),
        timings: durations(entry.duration.unwrap_or(entry.time), &timings),
        flags,
        ..Exchange::default()
    };
    let messages = entry.web_socket_messages.into_iter().map(message).collect();
    Some(Imported { exchange, messages })
}

fn headers(pairs: &[Pair]) -> Headers {
    // Browsers list HTTP/2 pseudo-headers among the fields; the columns hold them elsewhere.
    Headers::from_pairs(pairs.iter().filter(|pair| !pair.name.starts_with(':')).map(|pair| (&pair.name, &pair.value)))
}

/// Some exporters leave header lists empty but tell the media type of the content.
fn with_content_type(headers: Headers, content: &Content) -> Headers {
    if !headers.is_empty() || content.mime_type.is_empty() || content.mime_type == "x-unknown" {
        return headers;
    }
    Headers::from_pairs([("Content-Type", &content.mime_type)])
}

fn server_address(text: &str, port: u16) -> Option<SocketAddr> {
    let address = text.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
    Some(SocketAddr::new(address, port))
}

fn protocol(request: &str, response: &str) -> Protocol {
    let of = |text: &str| match text.to_ascii_lowercase().as_str() {
        "http/0.9" => Some(Protocol::Http09),
        "http/1.0" => Some(Protocol::Http10),
        "http/1.1" => Some(Protocol::Http11),
        "h2" | "http/2" | "http/2.0" | "h2c" => Some(Protocol::Http2),
        "h3" | "http/3" | "http/3.0" => Some(Protocol::Http3),
        text if text.starts_with("h3-") => Some(Protocol::Http3),
        _ => None,
    };
    of(request).or_else(|| of(response)).unwrap_or_default()
}

/// Weir's own codes, in a HAR that it wrote.
fn own_fault(error: &str) -> Option<Fault> {
    Fault::ALL.iter().copied().find(|fault| fault.as_str() == error)
}

/// Chrome's `_error` names (`net::ERR_…`) in weir's codes.
fn browser_fault(error: &str) -> Fault {
    match error.trim_start_matches("net::") {
        "ERR_NAME_NOT_RESOLVED" => Fault::DnsFailed,
        "ERR_CONNECTION_REFUSED" => Fault::ConnectRefused,
        "ERR_CONNECTION_TIMED_OUT" => Fault::ConnectTimeout,
        "ERR_ADDRESS_UNREACHABLE" => Fault::ConnectUnreachable,
        "ERR_CERT_DATE_INVALID" => Fault::UpstreamCertificateExpired,
        "ERR_CERT_COMMON_NAME_INVALID" => Fault::UpstreamCertificateName,
        "ERR_CERT_AUTHORITY_INVALID" => Fault::UpstreamCertificateUnknownIssuer,
        "ERR_CONNECTION_RESET" => Fault::ServerReset,
        "ERR_ABORTED" => Fault::ClientAborted,
        _ => Fault::ResponseMissing,
    }
}

fn microseconds(milliseconds: f64) -> Option<u64> {
    (milliseconds >= 0.0 && milliseconds.is_finite()).then(|| (milliseconds * 1000.0).round() as u64)
}

fn durations(time: f64, timings: &super::har_model::Timings) -> Timings {
    // `ssl` lies inside `connect` (HAR 1.2); the columns keep them apart.
    let tls_us = microseconds(timings.ssl);
    let connect_us = microseconds(timings.connect).map(|connect| connect.saturating_sub(tls_us.unwrap_or(0)));
    Timings {
        duration_us: microseconds(time),
        dns_us: microseconds(timings.dns),
        connect_us,
        tls_us,
        wait_us: microseconds(timings.wait),
        receive_us: microseconds(timings.receive),
    }
}

fn size_or(size: f64, other: usize) -> u64 {
    if size >= 1.0 && size.is_finite() { size as u64 } else { other as u64 }
}

fn text_bytes(text: String, encoding: &str) -> Bytes {
    if encoding.eq_ignore_ascii_case("base64") {
        // Text that only claims to be base64 is kept as it stands rather than lost.
        match base64::engine::general_purpose::STANDARD.decode(&text) {
            Ok(bytes) => return bytes.into(),
            Err(_) => return text.into(),
        }
    }
    text.into()
}

fn request_body(post_data: Option<PostData>, body_size: f64) -> Body {
    let bytes = match post_data {
        Some(PostData { text: Some(text), encoding, .. }) => text_bytes(text, &encoding),
        Some(PostData { params, .. }) if !params.is_empty() => form(&params).into(),
        _ => Bytes::new(),
    };
    body(bytes, body_size, body_size)
}

/// Parameters as `application/x-www-form-urlencoded`, for the exporters that give no text.
fn form(params: &[Pair]) -> String {
    let mut text = String::new();
    for pair in params {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(&pair.name);
        text.push('=');
        text.push_str(&pair.value);
    }
    text
}

fn response_body(content: Content, body_size: f64) -> Body {
    let size = content.size;
    body(content.text.map_or_else(Bytes::new, |text| text_bytes(text, &content.encoding)), body_size, size)
}

/// A body of the file: `wire_size` where it tells it, else what there is; without text but with a size,
/// the recording browser did not keep it.
fn body(bytes: Bytes, wire_size: f64, content_size: f64) -> Body {
    if bytes.is_empty() {
        let size = size_or(wire_size, 0).max(size_or(content_size, 0));
        let state = if size == 0 { BodyState::None } else { BodyState::SkippedPolicy };
        return Body { state, size, decoded: true, ..Body::default() };
    }
    let size = size_or(wire_size, bytes.len());
    Body { size, decoded: true, ..Body::stored(bytes) }
}

fn message(message: WebSocketMessage) -> Message {
    let kind = match message.opcode as u8 {
        2 => MessageKind::Binary,
        8 => MessageKind::Close,
        9 => MessageKind::Ping,
        10 => MessageKind::Pong,
        _ => MessageKind::Text,
    };
    // Chrome writes binary messages in base64; so does weir all that are no text.
    let payload = text_bytes(message.data, if kind == MessageKind::Text { "" } else { "base64" });
    Message {
        at_us: (message.time * 1e6).round() as i64,
        direction: if message.direction == "send" { Direction::Sent } else { Direction::Received },
        kind,
        size: payload.len() as u64,
        state: if payload.is_empty() { BodyState::None } else { BodyState::Stored },
        payload,
        ..Message::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn import(text: &str) -> (Result<HarSummary, HarError>, Vec<Imported>) {
        let mut imported = Vec::new();
        let summary = read(text.as_bytes(), |entry| imported.push(entry));
        (summary, imported)
    }

    const ENTRY: &str = r#"{"startedDateTime":"2026-01-02T03:04:05.678+01:00","time":12.5,
        "request":{"method":"POST","url":"https://A.example/x?y=1","httpVersion":"h2","headers":[
            {"name":":method","value":"POST"},{"name":"Accept","value":"*/*"}],
            "postData":{"mimeType":"text/plain","text":"hello"},"bodySize":5,"headersSize":-1,"cookies":[],"queryString":[]},
        "response":{"status":200,"statusText":"","httpVersion":"h2","headers":[{"name":"content-type","value":"image/png"}],
            "content":{"size":3,"mimeType":"image/png","text":"AQID","encoding":"base64"},"bodySize":-1,"cookies":[],
            "redirectURL":"","headersSize":-1},
        "cache":{},"timings":{"blocked":1,"dns":-1,"connect":4,"ssl":3,"send":0.1,"wait":6,"receive":0.4},
        "serverIPAddress":"[2001:db8::1]","connection":"42"}"#;

    #[test]
    fn an_entry_becomes_an_exchange() {
        let (summary, imported) = import(&format!(r#"{{"log":{{"version":"1.2","entries":[{ENTRY}],"pages":[]}}}}"#));
        assert_eq!(summary.expect("whole").exchanges, 1);
        let exchange = &imported[0].exchange;
        assert_eq!(exchange.started_us, 1_767_319_445_678_000);
        assert_eq!((exchange.url.domain(), exchange.url.query(), exchange.status), ("a.example", "y=1", Some(200)));
        assert_eq!(exchange.protocol, Protocol::Http2);
        assert_eq!(exchange.request_headers.len(), 1);
        assert_eq!(exchange.request_body.content.to_bytes(), "hello");
        assert_eq!(exchange.response_body.content.to_bytes(), &b"\x01\x02\x03"[..]);
        assert_eq!(exchange.server, Some("[2001:db8::1]:443".parse().expect("address")));
        let timings = exchange.timings;
        assert_eq!(timings.duration_us, Some(12_500));
        assert_eq!((timings.dns_us, timings.connect_us, timings.tls_us), (None, Some(1_000), Some(3_000)));
    }

    #[test]
    fn odd_entries_are_counted_and_the_rest_is_read() {
        let odd = r#"{"request":{"url":"data:text/plain,x","method":"GET"}},{"request":7},"#;
        let failed = r#"{"request":{"method":"GET","url":"http://b/"},"response":{"status":0,"_error":"net::ERR_NAME_NOT_RESOLVED","headers":null}}"#;
        let text = format!("\u{feff}{{\"log\":{{\"entries\":[{odd}{ENTRY},{failed}]}}}}");
        let (summary, imported) = import(&text);
        assert_eq!(summary.expect("whole"), HarSummary { exchanges: 2, not_http: 1, malformed: 1 });
        assert_eq!(imported[1].exchange.error, Some(Fault::DnsFailed));
        assert_eq!(imported[1].exchange.status, None);
    }

    #[test]
    fn a_torn_file_keeps_what_came_before() {
        let (summary, imported) = import(&format!(r#"{{"log":{{"entries":[{ENTRY},{{"request""#));
        assert!(matches!(summary, Err(HarError::Json(_))));
        assert_eq!(imported.len(), 1);
    }

    #[test]
    fn other_json_is_refused() {
        assert!(matches!(import(r#"{"info":{"name":"a collection"}}"#).0, Err(HarError::NotHar)));
        assert!(matches!(import("[]").0, Err(HarError::Json(_))));
    }
}

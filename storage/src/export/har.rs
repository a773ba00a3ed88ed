//! HTTP Archive 1.2 (<http://www.softwareishard.com/blog/har-12-spec/>), written entry by entry.
//!
//! Where the text of the format leaves room, readers decide: nothing is null, absent numbers are -1 or left away,
//! there is at least one page, binary bodies are base64, WebSocket messages stand where Chrome puts them.

use std::{
    borrow::Cow,
    collections::HashMap,
    io::{self, Write},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use serde_json::{Value, json};
use weir_engine::record::media;

use super::{
    Format, cookies,
    feed::{Body, Item},
    pairs,
    report::{Reason, Report},
};
use crate::{
    query::{ExchangeRow, HeaderLine, MessageRow},
    session::SessionEntry,
};

/// Pages at most; what comes later belongs to the last of its device.
const MAX_PAGES: usize = 10_000;
/// Bytes of a page's title at most.
const MAX_TITLE: usize = 300;

/// Writes a HAR file.
#[derive(Debug)]
pub(crate) struct Har {
    pages: Vec<Page>,
    /// The page that each device is on.
    current: HashMap<String, usize>,
    is_first: bool,
    entry: Vec<u8>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    started_date_time: String,
    id: String,
    title: String,
    page_timings: Empty,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    pageref: &'a str,
    started_date_time: String,
    time: f64,
    request: Request<'a>,
    response: Response<'a>,
    cache: Empty,
    timings: Timings,
    #[serde(rename = "serverIPAddress", skip_serializing_if = "String::is_empty")]
    server_ip_address: String,
    connection: String,
    /// Where the phases take longer than the exchange: its connection was made before it.
    #[serde(rename = "_duration", skip_serializing_if = "Option::is_none")]
    duration: Option<f64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    comment: String,
    #[serde(rename = "_resourceType", skip_serializing_if = "Option::is_none")]
    resource_type: Option<&'static str>,
    #[serde(rename = "_webSocketMessages", skip_serializing_if = "Option::is_none")]
    web_socket_messages: Option<Vec<Value>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    method: &'a str,
    url: &'a str,
    http_version: &'a str,
    cookies: Vec<Pair<'a>>,
    headers: Vec<&'a HeaderLine>,
    query_string: Vec<Pair<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    post_data: Option<PostData<'a>>,
    headers_size: i64,
    body_size: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    status: u16,
    status_text: &'a str,
    http_version: &'a str,
    cookies: Vec<Value>,
    headers: Vec<&'a HeaderLine>,
    content: Content<'a>,
    #[serde(rename = "redirectURL")]
    redirect_url: &'a str,
    headers_size: i64,
    body_size: i64,
    #[serde(rename = "_error", skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// A cookie that was sent, a parameter.
#[derive(Serialize)]
struct Pair<'a> {
    name: Cow<'a, str>,
    value: Cow<'a, str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PostData<'a> {
    /// The format has no word for it; this is the one that mitmproxy's and others' readers know.
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
    mime_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<Vec<Pair<'a>>>,
    text: Cow<'a, str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Content<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    compression: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
    mime_type: &'a str,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Cow<'a, str>>,
}

/// What `cache` and the times of pages are: nothing.
#[derive(Debug, Serialize)]
struct Empty {}

#[derive(Serialize)]
struct Timings {
    blocked: f64,
    dns: f64,
    connect: f64,
    ssl: f64,
    send: f64,
    wait: f64,
    receive: f64,
}

impl Har {
    /// A file of a session.
    pub(crate) fn new(entry: &SessionEntry) -> Self {
        let first = Page {
            started_date_time: entry.started.to_string(),
            id: "page_0".to_owned(),
            title: entry.name.clone(),
            page_timings: Empty {},
        };
        Self { pages: vec![first], current: HashMap::new(), is_first: true, entry: Vec::new() }
    }

    /// The page of an exchange: a document that was navigated to begins a new one on its device.
    fn page(&mut self, item: &Item) -> usize {
        let row = &item.row;
        let device = row.device.as_deref().unwrap_or_default();
        let destination = item.request_header("sec-fetch-dest");
        let is_document = match destination {
            "" => row.method == "GET" && row.category == "html" && row.status.is_some_and(|status| status < 300),
            destination => destination == "document",
        };
        if is_document && self.pages.len() < MAX_PAGES {
            let mut title = row.url.clone();
            title.truncate(title.floor_char_boundary(MAX_TITLE));
            self.pages.push(Page {
                started_date_time: row.started.to_string(),
                id: format!("page_{}", self.pages.len()),
                title,
                page_timings: Empty {},
            });
            self.current.insert(device.to_owned(), self.pages.len() - 1);
        }
        self.current.get(device).copied().unwrap_or(0)
    }
}

/// Milliseconds; microseconds are exact.
fn milliseconds(us: u64) -> f64 {
    us as f64 / 1000.0
}

/// The phases, and their sum as the format wants it. `ssl` is a part of `connect` there.
fn timings(row: &ExchangeRow) -> (f64, Timings) {
    let tls = row.tls_us;
    let connect = match (row.connect_us, tls) {
        (None, None) => None,
        (connect, tls) => Some(connect.unwrap_or(0) + tls.unwrap_or(0)),
    };
    let (wait, receive) = (row.wait_us.unwrap_or(0), row.receive_us.unwrap_or(0));
    let known = row.dns_us.unwrap_or(0) + connect.unwrap_or(0) + wait + receive;
    // What is left of the whole was spent on sending; a connection made before the request adds to it.
    let send = row.duration_us.unwrap_or(0).saturating_sub(known);
    let phase = |us: Option<u64>| us.map_or(-1.0, milliseconds);
    let timings = Timings {
        blocked: -1.0,
        dns: phase(row.dns_us),
        connect: phase(connect),
        ssl: phase(tls),
        send: milliseconds(send),
        wait: milliseconds(wait),
        receive: milliseconds(receive),
    };
    (milliseconds(known + send), timings)
}

/// Field lines without pseudo-headers.
fn headers(lines: &[HeaderLine]) -> Vec<&HeaderLine> {
    lines.iter().filter(|line| !line.name.starts_with(':')).collect()
}

fn values<'a>(lines: &'a [HeaderLine], name: &'static str) -> impl Iterator<Item = &'a str> {
    lines.iter().filter(move |line| line.name.eq_ignore_ascii_case(name)).map(|line| &*line.value)
}

fn request_cookies(lines: &[HeaderLine]) -> Vec<Pair<'_>> {
    let pair = |(name, value)| Pair { name: Cow::Borrowed(name), value: Cow::Borrowed(value) };
    values(lines, "cookie").flat_map(weir_engine::cookie::pairs).map(pair).collect()
}

fn response_cookies(lines: &[HeaderLine]) -> Vec<Value> {
    let document = |cookie: cookies::SetCookie| {
        let mut document =
            json!({"name": cookie.name, "value": cookie.value, "httpOnly": cookie.http_only, "secure": cookie.secure});
        let optional = [
            ("path", cookie.path),
            ("domain", cookie.domain),
            ("expires", cookie.expires.map(|at| at.to_string())),
            ("sameSite", cookie.same_site),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                document[name] = value.into();
            }
        }
        document
    };
    values(lines, "set-cookie").filter_map(cookies::set_cookie).map(document).collect()
}

fn query_string(query: &str) -> Vec<Pair<'_>> {
    if query.is_empty() {
        return Vec::new();
    }
    let decoded = |text| match pairs::percent_decode(text, true) {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        Cow::Owned(bytes) => String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned),
    };
    let pair = |(name, value): (_, Option<_>)| Pair { name: decoded(name), value: decoded(value.unwrap_or_default()) };
    pairs::pairs(query).map(pair).collect()
}

fn post_data(item: &Item) -> Option<PostData<'_>> {
    let body = &item.request;
    let bytes = body.bytes.as_deref().filter(|bytes| !bytes.is_empty())?;
    let mime_type = item.request_header("content-type");
    let Some(text) = body.text() else {
        let text = Cow::Owned(STANDARD.encode(bytes));
        return Some(PostData { encoding: Some("base64"), mime_type, params: None, text });
    };
    let is_form = media::essence(mime_type.as_bytes()) == "application/x-www-form-urlencoded";
    let params = is_form.then(|| query_string(text));
    Some(PostData { encoding: None, mime_type, params, text: Cow::Borrowed(text) })
}

fn content(item: &Item) -> Content<'_> {
    let body = &item.response;
    let mime_type = match item.response_header("content-type") {
        "" => "x-unknown",
        kind => kind,
    };
    let size = body.bytes.as_ref().map_or(body.size, |bytes| bytes.len() as u64);
    // A body that another program decoded before it came here was coded on the wire as well.
    let was_coded = body.was_coded || (!item.response_header("content-encoding").is_empty() && size > body.size);
    let compression = (body.bytes.is_some() && was_coded).then(|| {
        let saved = i128::from(size) - i128::from(body.size);
        saved.clamp(i64::MIN.into(), i64::MAX.into()) as i64
    });
    let (encoding, text) = match (body.text(), body.bytes.as_deref()) {
        (Some(text), _) => (None, Some(Cow::Borrowed(text))),
        (None, Some(bytes)) => (Some("base64"), Some(Cow::Owned(STANDARD.encode(bytes)))),
        (None, None) => (None, None),
    };
    Content { compression, encoding, mime_type, size, text }
}

fn comment(item: &Item) -> String {
    let said = |half: &str, body: &Body| body.reason.map(|reason| format!("{half} body: {}", reason.as_str()));
    [said("request", &item.request), said("response", &item.response)]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("; ")
}

/// Chrome's form: seconds, opcodes, binary payloads in base64.
fn message(row: &MessageRow) -> Value {
    let opcode = match &*row.kind {
        "binary" => 2,
        "close" => 8,
        "ping" => 9,
        "pong" => 10,
        _ => 1,
    };
    let payload = row.payload.as_deref().unwrap_or_default();
    // Text that is none goes as what it is.
    let (opcode, data) = match (opcode, std::str::from_utf8(payload)) {
        (1, Ok(text)) => (1, text.to_owned()),
        (1, Err(_)) => (2, STANDARD.encode(payload)),
        (opcode, _) => (opcode, STANDARD.encode(payload)),
    };
    let direction = if row.direction == "sent" { "send" } else { "receive" };
    json!({"type": direction, "time": row.at.as_micros() as f64 / 1e6, "opcode": opcode, "data": data})
}

impl Format for Har {
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let creator = json!({"name": "weir", "version": env!("CARGO_PKG_VERSION")});
        write!(out, "{{\"log\":{{\"version\":\"1.2\",\"creator\":{creator},\"entries\":[")
    }

    fn exchange(&mut self, item: Item, out: &mut dyn Write, report: &mut Report) -> io::Result<()> {
        let row = &item.row;
        if row.method.is_empty() || row.url.is_empty() {
            report.note(Reason::NoRequest);
            return Ok(());
        }
        let page = self.page(&item);
        let (time, timings) = timings(row);
        let server = row.server.as_deref().and_then(|server| server.parse::<std::net::SocketAddr>().ok());
        let is_websocket = item.is_websocket();
        let entry = Entry {
            pageref: &self.pages[page].id,
            started_date_time: row.started.to_string(),
            time,
            request: Request {
                method: &row.method,
                url: &row.url,
                http_version: &row.protocol,
                cookies: request_cookies(&row.request_headers),
                headers: headers(&row.request_headers),
                query_string: query_string(&row.query),
                post_data: post_data(&item),
                headers_size: -1,
                body_size: row.request_size,
            },
            response: Response {
                status: row.status.unwrap_or(0),
                status_text: row.reason.as_deref().unwrap_or_default(),
                http_version: &row.protocol,
                cookies: response_cookies(&row.response_headers),
                headers: headers(&row.response_headers),
                content: content(&item),
                redirect_url: values(&row.response_headers, "location").next().unwrap_or_default(),
                headers_size: -1,
                body_size: if row.status.is_none() { -1 } else { i64::try_from(row.response_size).unwrap_or(i64::MAX) },
                error: row.error.as_deref(),
            },
            cache: Empty {},
            timings,
            server_ip_address: server.map(|server| server.ip().to_string()).unwrap_or_default(),
            connection: row.connection.to_string(),
            duration: row.duration_us.map(milliseconds).filter(|duration| *duration != time),
            comment: comment(&item),
            resource_type: is_websocket.then_some("websocket"),
            web_socket_messages: is_websocket.then(|| item.messages.iter().map(message).collect()),
        };
        if !std::mem::take(&mut self.is_first) {
            out.write_all(b",")?;
        }
        out.write_all(b"\n")?;
        // Into memory first: the writer of JSON writes a few bytes at a time.
        self.entry.clear();
        serde_json::to_writer(&mut self.entry, &entry)?;
        report.exported += 1;
        out.write_all(&self.entry)
    }

    fn finish(&mut self, out: &mut dyn Write, report: &mut Report) -> io::Result<()> {
        out.write_all(b"\n],\n\"pages\":")?;
        serde_json::to_writer(&mut *out, &self.pages)?;
        out.write_all(b",\n\"comment\":")?;
        serde_json::to_writer(&mut *out, &report.comment())?;
        out.write_all(b"}}\n")
    }
}

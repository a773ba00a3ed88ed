//! Requests of one client connection, one after the other: read, routed, refused or forwarded.
//!
//! In: a stream that speaks HTTP/1.x, and the [`Scope`] it speaks in. Out: responses; one row for each
//! request; [`End`], which tells whether the connection goes on as something else.

use std::{
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::Instant,
};

use bytes::Bytes;
use bytestring::ByteString;
use weir_engine::record::{
    Body, Fault, Flags, Protocol, Url,
    url::{default_port, split_host_port},
};

use super::{
    credentials,
    exchange::{self, Outcome, Route},
    head::{self, Framing, Request, text},
    page,
    pool::Origin,
    row::Row,
    wire::{Wire, WireError},
};
use crate::{
    client::Client, config::UpstreamProxy, dial, failure::Failure, hooks::Answer, message::RequestHead, stream::Stream,
    tunnel, websocket,
};

/// The name under which the proxy itself answers.
pub const OWN_NAME: &str = "weir.proxy";
/// Bytes of a refused request that are read and thrown away, so that the refusal arrives.
const LINGER_BYTES: u64 = 256 << 10;
/// How long that may take.
const LINGER: std::time::Duration = std::time::Duration::from_secs(2);

/// What requests on a connection are about.
#[derive(Debug)]
pub enum Scope {
    /// The proxy's own listener: absolute-form, CONNECT, or the proxy itself.
    Proxy,
    /// Inside a CONNECT: everything goes to one origin.
    Origin {
        /// The origin.
        origin: Origin,
        /// Its authority as the client wrote it in CONNECT.
        authority: ByteString,
        /// Why it cannot be reached: every request is answered with this.
        failure: Option<Failure>,
    },
}

/// How a connection's HTTP ended.
#[derive(Debug)]
pub enum End {
    /// The connection is over.
    Closed,
    /// CONNECT was answered: other bytes follow.
    Connect {
        /// The client's stream.
        stream: Stream,
        /// Host asked for, lower case, no brackets.
        host: ByteString,
        /// Port asked for.
        port: u16,
        /// Both as the client wrote them.
        authority: ByteString,
    },
}

enum Next {
    Request,
    Close,
    /// Close, but let the client read what it got first: it may still be sending.
    Linger,
    Abort,
    Connect {
        host: ByteString,
        port: u16,
        authority: ByteString,
    },
}

/// Serves requests until the connection ends, or stops being HTTP.
pub async fn serve(client: &Rc<Client>, stream: Stream, scope: &Scope) -> End {
    let near = Wire::new(stream);
    let mut first = true;
    let next = loop {
        let request = match read_request(client, &near, first).await {
            Ok(Some(request)) => request,
            Ok(None) => break Next::Close,
            Err(refused) => break Box::pin(refuse_unread(client, &near, *refused)).await,
        };
        first = false;
        let next = match request_row(client, scope, request) {
            Planned::Forward { request, route, row } => Box::pin(forward(client, &near, request, route, row)).await,
            Planned::Answer { request, row, answer } => {
                Box::pin(respond(client, &near, Some(&request), row, answer)).await
            }
            Planned::Refuse { request, row, failure } => {
                Box::pin(refuse(client, &near, Some(&request), row, &failure)).await
            }
            Planned::Connect { host, port, authority } => {
                let opened = near.write(&client.watch, b"HTTP/1.1 200 Connection established\r\n\r\n").await;
                match opened {
                    Ok(()) => Next::Connect { host, port, authority },
                    Err(_) => Next::Abort,
                }
            }
        };
        match next {
            Next::Request => {}
            other => break other,
        }
    };
    let counts = near.take_counts();
    if !matches!(next, Next::Connect { .. }) {
        // The bytes of a tunnel are those inside it, not those that asked for it.
        client.count(counts);
    }
    match next {
        Next::Connect { host, port, authority } => {
            return End::Connect { stream: near.into_stream(), host, port, authority };
        }
        Next::Abort => near.into_stream().abort(),
        Next::Linger => Box::pin(linger(client, &near)).await,
        // Requests that came behind the last one are not read any more.
        Next::Close if !near.is_drained() => Box::pin(linger(client, &near)).await,
        Next::Close | Next::Request => {
            client.watch.arm(LINGER);
            near.shutdown(&client.watch).await;
        }
    }
    End::Closed
}

/// A request with when its first byte came.
struct Read {
    request: Request,
    started: Instant,
    pipelined: bool,
}

/// A request that could not be read.
struct Refused {
    failure: Failure,
    started: Instant,
    /// Whether the client is there to be told.
    tell: bool,
}

async fn read_request(client: &Client, near: &Wire, first: bool) -> Result<Option<Read>, Box<Refused>> {
    let core = &client.core;
    let limits = &core.config().limits;
    let pipelined = !first && !near.is_drained();
    let mut started = (!near.is_drained()).then(Instant::now);
    let mut scanned = 0;
    client.watch.arm_idle(if first { limits.head_read } else { limits.client_idle });
    loop {
        let at = started.unwrap_or_else(Instant::now);
        let refused = |failure: Failure| Box::new(Refused { failure, started: at, tell: true });
        let found = near.with_ahead(|ahead| {
            // Empty lines before a request line are skipped (RFC 9112 §2.2).
            while scanned == 0 && matches!(ahead.first(), Some(b'\r' | b'\n')) {
                let _ = ahead.split_to(1);
            }
            let end = head::find_end(ahead, scanned);
            scanned = ahead.len().saturating_sub(3);
            match end {
                Some(end) if end > limits.head_bytes => Err(Fault::RequestHeadTooLarge),
                Some(end) => Ok(Some(ahead.split_to(end))),
                None if ahead.len() > limits.head_bytes => Err(Fault::RequestHeadTooLarge),
                // No method begins like this: a TLS hello, garbage.
                None if ahead.first().is_some_and(|byte| !byte.is_ascii_graphic()) => Err(Fault::ClientMalformed),
                None => Ok(None),
            }
        });
        match found {
            Err(fault) => return Err(refused(fault.into())),
            Ok(Some(raw)) => {
                let request = Request::parse(raw, limits).map_err(refused)?;
                return Ok(Some(Read { request, started: at, pipelined }));
            }
            Ok(None) => {}
        }
        let read = near.fill(&core.slabs, &client.watch, false).await;
        let silent = near.is_drained();
        match read {
            Ok(0) if silent => return Ok(None),
            Ok(0) => {
                let failure = Fault::ClientClosed.into();
                return Err(Box::new(Refused { failure, started: at, tell: false }));
            }
            Ok(_) => {
                if started.is_none() {
                    started = Some(Instant::now());
                    client.watch.arm(limits.head_read);
                }
            }
            Err(_) if silent => return Ok(None),
            Err(error) => {
                let tell = matches!(error, WireError::Interrupted(_));
                let failure = client_fault(&error, true).into();
                return Err(Box::new(Refused { failure, started: at, tell }));
            }
        }
    }
}

/// Why reading from the client ended; `within`: in the middle of a request.
#[must_use]
pub fn client_fault(error: &WireError, within: bool) -> Fault {
    match error {
        WireError::Interrupted(crate::watch::Interrupt::Stopped) => Fault::Stopped,
        WireError::Interrupted(crate::watch::Interrupt::Deadline) => Fault::ClientTimeout,
        WireError::Closed | WireError::Io(_) if within => Fault::ClientClosed,
        WireError::Closed | WireError::Io(_) | WireError::ClientGone => Fault::ClientAborted,
    }
}

/// What is to be done with a request.
enum Planned {
    Forward { request: Request, route: Route, row: Row },
    Answer { request: Request, row: Row, answer: Answer },
    Refuse { request: Request, row: Row, failure: Failure },
    Connect { host: ByteString, port: u16, authority: ByteString },
}

fn request_row(client: &Rc<Client>, scope: &Scope, read: Read) -> Planned {
    let Read { request, started, pipelined } = read;
    let config = client.core.config();
    let target = request.fields.raw.slice(request.target.clone());
    let target_text = text(target.clone());
    if let (Scope::Proxy, Some((user, password))) = (scope, &config.auth) {
        let given = request.credentials.clone().map(|range| &request.fields.raw[range]);
        if !given.is_some_and(|given| credentials::is_basic(given, &credentials::basic(user, password))) {
            let row =
                begin(client, started, pipelined, &request, url_of(scope, &request, &target_text).unwrap_or_default());
            return Planned::Refuse { request, row, failure: Fault::ProxyAuthRequired.into() };
        }
    }
    if matches!(scope, Scope::Proxy) && request.is("CONNECT") {
        return match split_host_port(&target_text) {
            Some((host, Some(port))) if !host.is_empty() && port > 0 && request.framing == Framing::None => {
                Planned::Connect { host: host.to_ascii_lowercase().into(), port, authority: target_text }
            }
            _ => {
                let row = begin(client, started, pipelined, &request, Url::default());
                let detail = "CONNECT wants host:port as its request target, and no body.";
                Planned::Refuse { request, row, failure: Failure::new(Fault::ClientMalformed, detail) }
            }
        };
    }
    let url = url_of(scope, &request, &target_text);
    let row = begin(client, started, pipelined, &request, url.clone().unwrap_or_default());
    let refuse = |request, row, detail: &'static str| Planned::Refuse {
        request,
        row,
        failure: Failure::new(Fault::ClientMalformed, detail),
    };
    let Some(url) = url else {
        return refuse(
            request,
            row,
            "The request target is not one a proxy can serve; use http://host/path or CONNECT.",
        );
    };
    // HTTP/1.1 requests have a Host (RFC 9112 §3.2).
    if request.host.is_none() && request.protocol == Protocol::Http11 {
        return refuse(request, row, "The request has no Host.");
    }
    if request.is("CONNECT") {
        // A server would take what follows for another protocol, on a connection others are to use (RFC 9110 §9.3.6).
        return refuse(request, row, "CONNECT is for the proxy itself; its request target is host:port.");
    }
    if request.host.clone().is_some_and(|range| !is_authority(&request.fields.raw[range])) {
        return refuse(request, row, "The value of Host is not a host with an optional port.");
    }
    let absolute = !target.starts_with(b"/") && &target[..] != b"*";
    if url.domain() == OWN_NAME || (matches!(scope, Scope::Proxy) && !absolute) {
        return own_page(client, request, row, url, &target_text);
    }
    if let Scope::Origin { failure: Some(failure), .. } = scope {
        return Planned::Refuse { failure: failure.clone(), request, row };
    }
    let origin = match scope {
        Scope::Proxy => {
            Origin { secure: url.scheme() == "https", host: url.domain().into(), port: url.port(), name: None }
        }
        Scope::Origin { origin, .. } => origin.clone(),
    };
    client.row(|connection| {
        if connection.domain.is_none() {
            connection.domain = Some(origin.host.clone());
            connection.port = origin.port;
        }
    });
    let mut route = Route { origin, target, host: None, extra: None };
    if absolute {
        to_origin_form(&request, &url, &target_text, &mut route);
    } else if let (None, Scope::Origin { authority, .. }) = (&request.host, scope) {
        // HTTP/1.0 may do without, but goes on as HTTP/1.1, which may not (RFC 9112 §3.2).
        let port = format!(":{}", default_port(url.scheme()));
        let authority = authority.strip_suffix(&port).unwrap_or(authority);
        route.host = Some(Bytes::copy_from_slice(authority.as_bytes()));
    }
    if let (Some(proxy), false) = (&config.upstream.proxy, route.origin.secure) {
        // The proxy would dial for us what we refuse to dial ourselves, and the request go round for ever.
        if let Ok(address) = url.domain().parse::<IpAddr>()
            && let Err(failure) = dial::refuse_own(&client.core, SocketAddr::new(address, url.port()))
        {
            return Planned::Refuse { request, row, failure };
        }
        through_proxy(proxy, &url, &mut route);
    }
    Planned::Forward { request, route, row }
}

fn begin(client: &Client, started: Instant, pipelined: bool, request: &Request, url: Url) -> Row {
    let mut row = Row::begin(client, started);
    row.request(request.protocol, request.method.clone(), url, request.fields.headers.clone());
    if pipelined {
        row.exchange.flags.set(Flags::PIPELINED);
    }
    if request.expects_continue {
        row.exchange.flags.set(Flags::INTERIM);
    }
    row
}

/// Whether a value of Host has nothing in it that others could read as more than `uri-host [":" port]` (RFC 9112 §3.2,
/// RFC 3986 §3.2).
fn is_authority(host: &[u8]) -> bool {
    !host.iter().any(|byte| byte.is_ascii_whitespace() || b"/?#@\\,<>\"{}|^`".contains(byte))
}

/// The complete URL a request is about.
fn url_of(scope: &Scope, request: &Request, target: &ByteString) -> Option<Url> {
    let origin_form = target.starts_with('/') || &**target == "*";
    match scope {
        _ if !origin_form => Url::parse(target.clone()).filter(|url| matches!(url.scheme(), "http" | "https")),
        Scope::Proxy => {
            let host = request.host.clone().map(|range| text(request.fields.raw.slice(range)));
            Url::from_parts("http", host.as_deref().filter(|host| !host.is_empty()).unwrap_or(OWN_NAME), target)
        }
        Scope::Origin { origin, authority, .. } => {
            let scheme = if origin.secure { "https" } else { "http" };
            let host = request.host.clone().map(|range| text(request.fields.raw.slice(range)));
            Url::from_parts(scheme, host.as_deref().filter(|host| !host.is_empty()).unwrap_or(authority), target)
        }
    }
}

/// Absolute-form goes on as origin-form, and its authority is the Host whatever the client's Host says
/// (RFC 9112 §3.2.2).
fn to_origin_form(request: &Request, url: &Url, target: &ByteString, route: &mut Route) {
    let after_scheme = target.find("://").map_or(0, |at| at + 3);
    let authority_len = target[after_scheme..].find(['/', '?', '#']).unwrap_or(target.len() - after_scheme);
    let authority_end = after_scheme + authority_len;
    let authority = &target[after_scheme..authority_end];
    let authority = authority.rsplit_once('@').map_or(authority, |(_, after)| after);
    let rest = &target.as_bytes()[authority_end..];
    route.target = match rest.first() {
        // `OPTIONS http://host` is about the server as a whole (RFC 9112 §3.2.4).
        None if request.is("OPTIONS") => "*".into(),
        None => "/".into(),
        Some(b'/') => route.target.slice(authority_end.min(route.target.len())..),
        Some(_) => [b"/", rest].concat().into(),
    };
    let same = request.host.clone().is_some_and(|range| {
        let host = &request.fields.raw[range];
        host.eq_ignore_ascii_case(authority.as_bytes())
            || std::str::from_utf8(host).ok().and_then(split_host_port).is_some_and(|(host, port)| {
                host.eq_ignore_ascii_case(url.domain()) && port.unwrap_or(default_port(url.scheme())) == url.port()
            })
    });
    if !same {
        route.host = Some(authority.to_owned().into());
    }
}

/// Plain HTTP through another proxy: absolute-form, with our credentials for it.
fn through_proxy(proxy: &UpstreamProxy, url: &Url, route: &mut Route) {
    route.origin = Origin { secure: false, host: proxy.host.as_str().into(), port: proxy.port, name: None };
    let path = if &route.target[..] == b"*" { &b""[..] } else { &route.target };
    let text = url.as_str().as_bytes();
    let start = memchr::memmem::find(text, b"://").map_or(0, |at| at + 3);
    let end = memchr::memchr3(b'/', b'?', b'#', &text[start..]).map_or(text.len(), |at| start + at);
    // User information is not for another hop.
    let host_start = memchr::memrchr(b'@', &text[start..end]).map_or(start, |at| start + at + 1);
    route.target = [&text[..start], &text[host_start..end], path].concat().into();
    route.extra = proxy
        .credentials
        .as_ref()
        .map(|(user, password)| format!("Proxy-Authorization: {}\r\n", credentials::basic(user, password)));
}

fn own_page(client: &Client, request: Request, row: Row, url: Url, target: &ByteString) -> Planned {
    let Some(setup) = &client.core.shared.hooks.setup else {
        let detail = "This is a proxy. Set it as the HTTP proxy of your client; requests to it name the whole URL.";
        return Planned::Refuse { request, row, failure: Failure::new(Fault::ClientMalformed, detail) };
    };
    let path_start =
        target.find("://").map_or(0, |at| target[at + 3..].find('/').map_or(target.len(), |slash| at + 3 + slash));
    let path = &target[path_start..];
    let head = RequestHead {
        method: request.method.clone(),
        authority: url.domain().into(),
        url,
        target: if path.is_empty() { "/".into() } else { path.into() },
        protocol: request.protocol,
        headers: request.fields.headers.clone(),
    };
    let answer = setup(&head, client.address);
    Planned::Answer { request, row, answer }
}

async fn forward(client: &Rc<Client>, near: &Wire, request: Request, route: Route, mut row: Row) -> Next {
    match exchange::forward(client, near, &request, &route, &mut row).await {
        Outcome::Continue => {
            row.finish(client).await;
            Next::Request
        }
        Outcome::Close => {
            let complete = row.request_complete;
            row.finish(client).await;
            if complete { Next::Close } else { Next::Linger }
        }
        Outcome::Abort => {
            // A framed body shows by itself that it was cut; a reset would take with it what had come until then.
            let headers = &row.exchange.response_headers;
            let framed = headers.get("content-length").or(headers.get("transfer-encoding")).is_some();
            let complete = row.request_complete;
            row.finish(client).await;
            match (framed, complete) {
                (true, true) => Next::Close,
                (true, false) => Next::Linger,
                (false, _) => Next::Abort,
            }
        }
        Outcome::Failed(failure) => refuse(client, near, Some(&request), row, &failure).await,
        Outcome::Upgraded { server, response } => {
            let id = row.exchange.id;
            row.finish(client).await;
            let mut tap = websocket::tap(client, id, &request.fields.headers, &response.fields.headers);
            let ended = match &mut tap {
                Some(tap) => tunnel::run(client, near, &server.wire, tap).await,
                None => tunnel::run(client, near, &server.wire, &mut tunnel::NoTap).await,
            };
            if let Some(fault) = ended {
                client.fault(fault);
            }
            Next::Close
        }
    }
}

async fn refuse_unread(client: &Client, near: &Wire, refused: Refused) -> Next {
    let Refused { failure, started, tell } = refused;
    let row = Row::begin(client, started);
    if tell {
        return refuse(client, near, None, row, &failure).await;
    }
    let mut row = row;
    row.fault(failure.fault);
    row.finish(client).await;
    Next::Abort
}

/// Answers with the page of a failure; the row carries it.
async fn refuse(client: &Client, near: &Wire, request: Option<&Request>, mut row: Row, failure: &Failure) -> Next {
    row.fault(failure.fault);
    let answer = page::of_failure(failure, request.and_then(|request| request.fields.headers.get("accept")));
    respond(client, near, request, row, answer).await
}

/// Sends a response of our own.
async fn respond(client: &Client, near: &Wire, request: Option<&Request>, mut row: Row, answer: Answer) -> Next {
    // A body that was not read would be taken for the next request.
    let unread = request.is_none_or(|request| request.framing != Framing::None);
    let close = unread || request.is_none_or(|request| !request.persistent());
    let (mut bytes, headers) = page::head(&answer, close);
    let head_only = request.is_some_and(|request| request.is("HEAD"));
    if !head_only {
        bytes.extend_from_slice(&answer.body);
    }
    row.exchange.flags.set(Flags::ANSWERED_BY_WEIR);
    row.exchange.status = Some(answer.status);
    row.exchange.reason = Some(ByteString::from_static(page::phrase(answer.status)));
    row.exchange.response_headers = headers;
    client.watch.arm(client.core.config().limits.client_body);
    let written = near.write(&client.watch, &bytes).await;
    match &written {
        Err(error) => row.fault(client_fault(error, false)),
        Ok(()) => {
            row.response_complete = true;
            if !head_only {
                row.exchange.response_body = Body::stored(answer.body);
            }
        }
    }
    row.finish(client).await;
    match written {
        Err(_) => Next::Abort,
        Ok(()) if unread => Next::Linger,
        Ok(()) if close => Next::Close,
        Ok(()) => Next::Request,
    }
}

/// Closes so that what was written arrives: closing with unread bytes would reset the connection, and the
/// client might lose the response (RFC 9112 §9.6).
async fn linger(client: &Client, near: &Wire) {
    client.watch.arm(LINGER);
    near.shutdown(&client.watch).await;
    let mut left = LINGER_BYTES;
    while left > 0 {
        let _ = near.with_ahead(std::mem::take);
        match near.fill(&client.core.slabs, &client.watch, false).await {
            Ok(0) | Err(_) => break,
            Ok(count) => left = left.saturating_sub(count as u64),
        }
    }
}

//! Requests of one client connection, one after the other: read, routed, refused or forwarded.
//!
//! In: a stream that speaks HTTP/1.x, and the [`Scope`] it speaks in. Out: responses; one row for each
//! request; [`End`], which tells whether the connection goes on as something else.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use bytestring::ByteString;
use weir_engine::record::{Body, Fault, Flags, Url, url::split_host_port};

use super::{
    credentials,
    exchange::{self, Outcome},
    fields::text,
    head::{self, Framing, Request},
    page,
    route::{self, Planned, Scope, url_of},
    row::Row,
    wire::{Wire, WireError},
};
use crate::{client::Client, failure::Failure, hooks::Answer, stream::Stream, tunnel, watch::Interrupt, websocket};

/// Bytes of a refused request that are read and thrown away, so that the refusal arrives.
const LINGER_BYTES: u64 = 256 << 10;
/// How long that may take.
const LINGER: Duration = Duration::from_secs(2);
/// How long the next request is waited for before the connection counts as idle.
const BUSY: Duration = Duration::from_secs(1);

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
    /// The connection can carry another request.
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
    let limits = &client.core.config().limits;
    let mut patience = Patience::First(limits.head_read);
    let next = loop {
        match read_request(client, &near, patience).await {
            // Boxed while requests come: what an idle connection does not need it does not hold.
            Ok(Asked::Request(read)) => match Box::pin(requests(client, &near, scope, read)).await {
                Next::Request => {}
                other => break other,
            },
            Ok(Asked::Silence | Asked::End) => break Next::Close,
            Err(refused) => break Box::pin(refuse_unread(client, &near, *refused)).await,
        }
        patience = Patience::Next(limits.client_idle);
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

/// Answers requests for as long as they follow each other; [`Next::Request`] when the client falls silent.
async fn requests(client: &Rc<Client>, near: &Wire, scope: &Scope, mut read: Read) -> Next {
    loop {
        match answer(client, near, scope, read).await {
            Next::Request => {}
            other => return other,
        }
        match read_request(client, near, Patience::Next(BUSY)).await {
            Ok(Asked::Request(next)) => read = next,
            Ok(Asked::Silence) => return Next::Request,
            Ok(Asked::End) => return Next::Close,
            Err(refused) => return refuse_unread(client, near, *refused).await,
        }
    }
}

/// A request with when its first byte came.
struct Read {
    request: Request,
    started: Instant,
    pipelined: bool,
}

/// What a client says between requests.
#[allow(clippy::large_enum_variant, reason = "it is a request nearly always, and is not kept")]
enum Asked {
    Request(Read),
    /// Nothing, for as long as was waited.
    Silence,
    /// That it is done, or that the connection failed.
    End,
}

/// How long a request is waited for.
#[derive(Clone, Copy)]
enum Patience {
    /// The first one of a connection.
    First(Duration),
    /// One of those after it.
    Next(Duration),
}

/// A request that could not be read.
struct Refused {
    failure: Failure,
    started: Instant,
    /// Whether the client is there to be told.
    tell: bool,
}

async fn read_request(client: &Client, near: &Wire, patience: Patience) -> Result<Asked, Box<Refused>> {
    let core = &client.core;
    let limits = &core.config().limits;
    let (first, wait) = match patience {
        Patience::First(wait) => (true, wait),
        Patience::Next(wait) => (false, wait),
    };
    let pipelined = !first && !near.is_drained();
    let mut started = (!near.is_drained()).then(Instant::now);
    let mut scanned = 0;
    client.watch.arm_idle(wait);
    loop {
        let refused =
            |failure: Failure| Box::new(Refused { failure, started: started.unwrap_or_else(Instant::now), tell: true });
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
                let started = started.unwrap_or_else(Instant::now);
                return Ok(Asked::Request(Read { request, started, pipelined }));
            }
            Ok(None) => {}
        }
        let read = near.fill(&core.slabs, &client.watch, false).await;
        let silent = near.is_drained();
        match read {
            Ok(0) if silent => return Ok(Asked::End),
            Ok(0) => {
                let failure = Fault::ClientClosed.into();
                let started = started.unwrap_or_else(Instant::now);
                return Err(Box::new(Refused { failure, started, tell: false }));
            }
            Ok(_) => {
                if started.is_none() {
                    started = Some(Instant::now());
                    client.watch.arm(limits.head_read);
                }
            }
            Err(WireError::Interrupted(Interrupt::Deadline)) if silent => return Ok(Asked::Silence),
            Err(_) if silent => return Ok(Asked::End),
            Err(error) => {
                let tell = matches!(error, WireError::Interrupted(_));
                let failure = client_fault(&error, true).into();
                let started = started.unwrap_or_else(Instant::now);
                return Err(Box::new(Refused { failure, started, tell }));
            }
        }
    }
}

/// Why reading from the client ended; `within`: in the middle of a request.
#[must_use]
pub fn client_fault(error: &WireError, within: bool) -> Fault {
    match error {
        WireError::Interrupted(Interrupt::Stopped) => Fault::Stopped,
        WireError::Interrupted(Interrupt::Deadline) => Fault::ClientTimeout,
        WireError::Closed | WireError::Io(_) if within => Fault::ClientClosed,
        WireError::Closed | WireError::Io(_) | WireError::ClientGone => Fault::ClientAborted,
    }
}

/// Answers one request: by forwarding it, or by ourselves.
async fn answer(client: &Rc<Client>, near: &Wire, scope: &Scope, read: Read) -> Next {
    let Read { mut request, started, pipelined } = read;
    let refused = match admit(client, scope, &request) {
        Admitted::Connect { host, port } => {
            let authority = text(request.fields.raw.slice(request.target.clone()));
            let opened = near.write(&client.watch, b"HTTP/1.1 200 Connection established\r\n\r\n").await;
            return match opened {
                Ok(()) => Next::Connect { host, port, authority },
                Err(_) => Next::Abort,
            };
        }
        Admitted::Request => None,
        Admitted::Refused(failure) => Some(failure),
    };
    let url = if request.is("CONNECT") { None } else { url_of(scope, &request) };
    let known = url.is_some();
    let mut row = begin(client, started, pipelined, &mut request, url.unwrap_or_default());
    let planned = match refused {
        Some(failure) => Planned::Refuse(failure),
        None if known => route::plan(client, scope, &request, &row),
        // A server would take what follows for another protocol, on a connection others are to use (RFC 9110 §9.3.6).
        None if request.is("CONNECT") => {
            route::refusal("CONNECT is for the proxy itself; its request target is host:port.")
        }
        None => route::refusal("The request target is not one a proxy can serve; use http://host/path or CONNECT."),
    };
    match planned {
        Planned::Forward(route) => {
            let outcome = exchange::forward(client, near, &request, &route, &mut row).await;
            settle(client, near, &request, row, outcome).await
        }
        Planned::Answer(answer) => respond(client, near, Some(&request), row, answer).await,
        Planned::Refuse(failure) => refuse(client, near, Some(&request), row, &failure).await,
    }
}

/// Whether a request may be looked at further.
enum Admitted {
    Request,
    Connect { host: ByteString, port: u16 },
    Refused(Failure),
}

fn admit(client: &Client, scope: &Scope, request: &Request) -> Admitted {
    if !matches!(scope, Scope::Proxy) {
        return Admitted::Request;
    }
    let given = request.credentials.clone().map(|range| &request.fields.raw[range]);
    let auth = client.core.config().auth.as_ref();
    if let Some((user, password)) = auth {
        let is_right = |given: &[u8]| match user.as_str() {
            "*" => credentials::has_password(given, password),
            user => credentials::is_basic(given, &credentials::basic(user, password)),
        };
        if !given.is_some_and(is_right) {
            return Admitted::Refused(Fault::ProxyAuthRequired.into());
        }
    }
    // A user name that all must give tells nobody apart.
    if let Some(given) = given
        && auth.is_none_or(|(user, _)| user == "*")
        && let Some(name) = credentials::user_of(given)
    {
        client.name_device(&name);
    }
    if !request.is("CONNECT") {
        return Admitted::Request;
    }
    let target = request.target_text();
    match split_host_port(&target) {
        Some((host, Some(port))) if !host.is_empty() && port > 0 && request.framing == Framing::None => {
            Admitted::Connect { host: host.to_ascii_lowercase().into(), port }
        }
        _ => {
            let detail = "CONNECT wants host:port as its request target, and no body.";
            Admitted::Refused(Failure::new(Fault::ClientMalformed, detail))
        }
    }
}

fn begin(client: &Client, started: Instant, pipelined: bool, request: &mut Request, url: Url) -> Row {
    let mut row = Row::begin(client, started);
    row.request(request.protocol, request.method.clone(), url, std::mem::take(&mut request.fields.headers));
    if pipelined {
        row.exchange.flags.set(Flags::PIPELINED);
    }
    if request.expects_continue {
        row.exchange.flags.set(Flags::INTERIM);
    }
    row
}

/// After a request was forwarded, or was tried to be.
async fn settle(client: &Rc<Client>, near: &Wire, request: &Request, row: Row, outcome: Outcome) -> Next {
    match outcome {
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
        Outcome::Failed(failure) => refuse(client, near, Some(request), row, &failure).await,
        Outcome::Upgraded(server) => {
            let exchange = &row.exchange;
            let mut tap = websocket::tap(client, exchange.id, &exchange.request_headers, &exchange.response_headers);
            row.finish(client).await;
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
    let answer = page::of_failure(failure, row.exchange.request_headers.get("accept"));
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

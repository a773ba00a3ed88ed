//! One request forwarded and its response passed back, both directions at once.
//!
//! In: a parsed request, where it goes, the client's connection. Out: the response on the client's
//! connection, the connection to the server back in the pool, the exchange in its [`Row`].

use std::{cell::Cell, ops::Range, rc::Rc, task::Poll, time::Instant};

use smallvec::SmallVec;
use weir_engine::record::{Direction, Fault, Flags, Protocol};

use super::{
    body::{self, Reader, RelayError, Side, Writer},
    head::{self, Framing, Request, Response},
    origin,
    pool::Server,
    route::Route,
    row::{Row, seen},
    wire::Wire,
};
use crate::{
    client::Client,
    dial::{elapsed_us, micros},
    failure::Failure,
    tee::Tee,
};

/// Interim responses passed on for one request; each resets the wait for the final one.
pub const INTERIM_RESPONSES: usize = 64;

/// How an exchange ended, for the client's connection.
#[derive(Debug)]
pub enum Outcome {
    /// The connection can carry the next request.
    Continue,
    /// It ends here, in order.
    Close,
    /// It ends here and must look so: the response is not complete.
    Abort,
    /// Nothing was sent to the client yet: it gets a page that says why.
    Failed(Failure),
    /// HTTP is over, other bytes follow in both directions on this connection to the server.
    Upgraded(Box<Server>),
}

/// Forwards a request until its response has ended.
pub async fn forward(client: &Rc<Client>, near: &Wire, request: &Request, route: &Route, row: &mut Row) -> Outcome {
    let mut fresh = false;
    loop {
        let server = match origin::acquire(client, &route.origin, fresh).await {
            Ok(server) => server,
            Err(failure) => return Outcome::Failed(failure),
        };
        let reused = server.served > 0;
        note_server(client, &server, row);
        let heard = Cell::new(false);
        let attempt = Attempt { client, near, far: &server.wire, request, heard: &heard, sent: Cell::new(None) };
        let (result, uploaded) = attempt.run(route, row).await;
        // A server may close an idle connection at any time: nothing came back, nothing of a body was taken from the
        // client, and should the server have acted on it nevertheless, doing so again does no harm: the request is
        // made again (RFC 9110 §9.2.2, RFC 9112 §9.3.1).
        if let Err(Failed { failure, .. }) = &result
            && reused
            && !heard.get()
            && request.framing == Framing::None
            && request.idempotent()
            && matches!(failure.fault, Fault::ServerClosed | Fault::ServerReset)
        {
            fresh = true;
            continue;
        }
        return settle(client, near, request, route, row, server, result, uploaded);
    }
}

fn note_server(client: &Client, server: &Server, row: &mut Row) {
    let exchange = &mut row.exchange;
    exchange.server = Some(server.address);
    if server.served > 0 {
        exchange.flags.set(Flags::REUSED);
        return;
    }
    exchange.timings.dns_us = server.dns_us;
    exchange.timings.connect_us = server.connect_us;
    exchange.timings.tls_us = server.tls_us;
    client.row(|connection| {
        connection.server = Some(server.address);
        if let Some(tls) = &server.tls {
            connection.server_tls = tls.details.clone();
            connection.certificate_subject.clone_from(&tls.certificate_subject);
            connection.certificate_issuer.clone_from(&tls.certificate_issuer);
            connection.certificate_not_after_us = tls.certificate_not_after_us;
        }
    });
}

#[allow(clippy::too_many_arguments, reason = "everything the end of an exchange decides about, once")]
fn settle(
    client: &Client,
    near: &Wire,
    request: &Request,
    route: &Route,
    row: &mut Row,
    mut server: Box<Server>,
    result: Result<Done, Failed>,
    uploaded: Result<(), RelayError>,
) -> Outcome {
    row.request_complete = uploaded.is_ok();
    match result {
        Err(Failed { failure, begun }) => {
            // The client's own end is the cause where both failed.
            let fault = match uploaded {
                Err(RelayError::Reading(fault)) => fault,
                _ => failure.fault,
            };
            row.fault(fault);
            match begun {
                true => Outcome::Abort,
                false if matches!(fault, Fault::ClientClosed | Fault::ClientAborted) => Outcome::Abort,
                false if fault == failure.fault => Outcome::Failed(failure),
                false => Outcome::Failed(fault.into()),
            }
        }
        Ok(Done { upgraded: true, .. }) => {
            row.exchange.flags.set(Flags::UPGRADED);
            Outcome::Upgraded(server)
        }
        Ok(Done { persistent, keep, .. }) => {
            server.served += 1;
            if let Err(error) = uploaded {
                // The response came without the whole request: the server did not want it, or the client left.
                if let RelayError::Reading(fault) = error {
                    row.fault(fault);
                }
                return Outcome::Close;
            }
            if persistent && server.wire.is_drained() && !server.wire.ended() {
                client.core.pool.put(&route.origin, server, client.core.watches.now_ms());
            }
            if keep && request.persistent() && !(near.ended() && near.is_drained()) {
                Outcome::Continue
            } else {
                Outcome::Close
            }
        }
    }
}

/// A response that was passed on whole.
struct Done {
    /// The server's connection stays open.
    persistent: bool,
    /// The client's connection stays open as far as the response is concerned.
    keep: bool,
    upgraded: bool,
}

/// A response that was not.
struct Failed {
    failure: Failure,
    /// Something of it is with the client already.
    begun: bool,
}

impl Failed {
    fn before(failure: impl Into<Failure>) -> Self {
        Self { failure: failure.into(), begun: false }
    }
}

/// One attempt on one connection to the server.
struct Attempt<'a> {
    client: &'a Client,
    near: &'a Wire,
    far: &'a Wire,
    request: &'a Request,
    /// Whether a byte of the response was seen.
    heard: &'a Cell<bool>,
    /// When the request was sent.
    sent: Cell<Option<Instant>>,
}

impl Attempt<'_> {
    async fn run(&self, route: &Route, row: &mut Row) -> (Result<Done, Failed>, Result<(), RelayError>) {
        let request = self.request;
        let mut head = self.client.core.buffer();
        write_request(&mut head, request, route);
        let mut writer = Writer::new(self.client, self.far, Side::Server, request.framing == Framing::Chunked, head);
        if request.framing == Framing::None {
            // Most requests: sent in one write, then only the response is waited for.
            let sent = writer.flush().await;
            self.sent.set(Some(Instant::now()));
            return match sent {
                Ok(()) => (self.download(row, Some(self.near)).await, Ok(())),
                Err(fault) => (Err(Failed::before(fault)), Ok(())),
            };
        }
        let config = self.client.core.config();
        let limit = config.limits.stored_message_bytes;
        let mut tee = Tee::request(config).finding_messages(
            Direction::Sent,
            &row.exchange.request_headers,
            row.exchange.id,
            limit,
        );
        let mut reader = Reader::new(self.client, self.near, Side::Client, request.framing);
        let reservation = std::mem::take(&mut row.reservation);
        let uploaded = {
            let upload = async {
                let relayed = body::relay(&mut reader, &mut writer, |bytes| {
                    seen(&mut tee, self.client, &reservation, bytes);
                })
                .await;
                self.sent.set(Some(Instant::now()));
                relayed
            };
            let download = self.download(row, None);
            both(upload, download).await
        };
        row.request = Some(tee);
        // Both directions charge the same exchange; what the upload took joins what the download took.
        if let Some(mine) = reservation.into_inner() {
            match row.reservation.get_mut() {
                Some(other) => other.absorb(mine),
                none => *none = Some(mine),
            }
        }
        let (result, uploaded) = uploaded;
        let uploaded = uploaded.map(|trailers| {
            let exchange = &mut row.exchange;
            Row::trailers(&mut exchange.request_headers, &mut exchange.flags, trailers.as_ref());
        });
        (result, uploaded)
    }

    /// Reads response heads until the final one, passes it on with its body.
    async fn download(&self, row: &mut Row, near: Option<&Wire>) -> Result<Done, Failed> {
        let mut interim_responses = 0;
        let (mut response, first) = loop {
            let response = self.read_response(near).await?;
            let first = Instant::now();
            let interim = response.status < 200 && response.status != 101;
            if !interim {
                break (response, first);
            }
            row.exchange.flags.set(Flags::INTERIM);
            interim_responses += 1;
            if interim_responses > INTERIM_RESPONSES {
                return Err(Failed::before(Failure::new(
                    Fault::ServerMalformed,
                    format!("The server sent more than {INTERIM_RESPONSES} interim responses and no final one."),
                )));
            }
            if self.request.protocol == Protocol::Http11 {
                let mut head = self.client.core.buffer();
                write_response(&mut head, &response, &Passing { upgrading: false, drop: &[], connection: "" });
                let mut writer = Writer::new(self.client, self.near, Side::Client, false, head);
                writer.flush().await.map_err(Failed::before)?;
            }
        };
        if self.sent.get().is_none() {
            row.exchange.flags.set(Flags::EARLY_RESPONSE);
        }
        let exchange = &mut row.exchange;
        exchange.status = Some(response.status);
        exchange.reason = response.reason();
        exchange.response_headers = std::mem::take(&mut response.fields.headers);
        exchange.timings.wait_us = self.sent.get().map(|sent| micros(first.saturating_duration_since(sent)));
        let upgraded = response.status == 101;
        if upgraded && !self.request.fields.upgrade {
            return Err(Failed::before(Failure::new(
                Fault::ServerMalformed,
                "The server switched protocols without having been asked to.",
            )));
        }
        let old_client = self.request.protocol == Protocol::Http10;
        let chunked = response.framing == Framing::Chunked && !old_client;
        // Delimited by the end of the connection: as the server does it, or because the client knows no chunks.
        let keep = !(response.framing == Framing::Close || (response.framing == Framing::Chunked && old_client));
        let connection = match (keep && self.request.persistent(), old_client) {
            _ if upgraded => "",
            (true, true) => "Connection: keep-alive\r\n",
            (true, false) => "",
            (false, _) => "Connection: close\r\n",
        };
        let drop: &[Range<usize>] = if old_client { &response.fields.transfer_encoding } else { &[] };
        let mut head = self.client.core.buffer();
        write_response(&mut head, &response, &Passing { upgrading: upgraded, drop, connection });
        let mut writer = Writer::new(self.client, self.near, Side::Client, chunked, head);
        let framing = if upgraded { Framing::None } else { response.framing };
        if framing == Framing::None && !chunked {
            writer.flush().await.map_err(Failed::before)?;
            row.response_complete = true;
            row.exchange.timings.receive_us = Some(elapsed_us(first));
            return Ok(Done { persistent: response.persistent, keep, upgraded });
        }
        let mut reader = Reader::new(self.client, self.far, Side::Server, framing).watching(near);
        let config = self.client.core.config();
        let headers = &row.exchange.response_headers;
        let limit = config.limits.stored_message_bytes;
        let tee = Tee::response(config, headers);
        let tee = tee.finding_messages(Direction::Received, headers, row.exchange.id, limit);
        let tee = row.response.insert(tee);
        let reservation = &row.reservation;
        let relayed = body::relay(&mut reader, &mut writer, |bytes| seen(tee, self.client, reservation, bytes)).await;
        let ended = Instant::now();
        row.ended = Some(ended);
        row.exchange.timings.receive_us = Some(micros(ended.saturating_duration_since(first)));
        match relayed {
            Ok(trailers) => {
                row.response_complete = true;
                let exchange = &mut row.exchange;
                Row::trailers(&mut exchange.response_headers, &mut exchange.flags, trailers.as_ref());
                Ok(Done { persistent: response.persistent, keep, upgraded })
            }
            Err(error) => Err(Failed { failure: error.fault().into(), begun: true }),
        }
    }

    async fn read_response(&self, near: Option<&Wire>) -> Result<Response, Failed> {
        let config = self.client.core.config();
        let limits = &config.limits;
        let mut scanned = 0;
        loop {
            let found = self.far.with_ahead(|ahead| {
                let end = head::find_end(ahead, scanned);
                // The end may lie across the border of two reads.
                scanned = ahead.len().saturating_sub(3);
                match end {
                    Some(end) => Ok(Some(ahead.split_to(end))),
                    None if ahead.len() > limits.head_bytes => Err(Fault::ResponseHeadTooLarge),
                    // Not HTTP from its first bytes on.
                    None if !b"HTTP/".starts_with(&ahead[..ahead.len().min(5)]) => Err(Fault::ServerMalformed),
                    None => Ok(None),
                }
            });
            match found.map_err(Failed::before)? {
                Some(raw) if raw.len() > limits.head_bytes => return Err(Failed::before(Fault::ResponseHeadTooLarge)),
                Some(raw) => return Response::parse(raw, &self.request.method, limits).map_err(Failed::before),
                None => {}
            }
            self.client.watch.arm(config.upstream.timeouts.response);
            match body::fill_watching(self.client, self.far, near, false).await {
                Ok(0) => return Err(Failed::before(Fault::ServerClosed)),
                Ok(_) => self.heard.set(true),
                Err(error) => return Err(Failed::before(Side::Server.read_fault(&error))),
            }
        }
    }
}

/// Runs both directions. The download decides: when it fails, or the client's side of the upload does, the
/// exchange is over; a server that takes no more of the request may still answer (RFC 9112 §9.5).
async fn both<T>(
    upload: impl Future<Output = Result<T, RelayError>>,
    download: impl Future<Output = Result<Done, Failed>>,
) -> (Result<Done, Failed>, Result<T, RelayError>) {
    let (mut upload, mut download) = (std::pin::pin!(upload), std::pin::pin!(download));
    let (mut uploaded, mut downloaded) = (None, None);
    std::future::poll_fn(|cx| {
        if uploaded.is_none()
            && let Poll::Ready(result) = upload.as_mut().poll(cx)
        {
            if let Err(RelayError::Reading(fault)) = result
                && downloaded.is_none()
            {
                let failed = Err(Failed { failure: fault.into(), begun: false });
                return Poll::Ready((failed, Err(RelayError::Reading(fault))));
            }
            uploaded = Some(result);
        }
        if downloaded.is_none()
            && let Poll::Ready(result) = download.as_mut().poll(cx)
        {
            if result.is_err() {
                let uploaded = uploaded.take().unwrap_or(Err(RelayError::Writing(Fault::ServerClosed)));
                return Poll::Ready((result, uploaded));
            }
            downloaded = Some(result);
        }
        match (uploaded.take(), downloaded.take()) {
            (Some(up), Some(down)) => Poll::Ready((down, up)),
            (up, down) => {
                (uploaded, downloaded) = (up, down);
                Poll::Pending
            }
        }
    })
    .await
}

/// Writes the request head as it goes to the server.
fn write_request(out: &mut Vec<u8>, request: &Request, route: &Route) {
    out.extend_from_slice(request.method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(route.target.bytes(request));
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let upgrading = request.fields.upgrade;
    let mut drop: SmallVec<[Range<usize>; 2]> = SmallVec::new();
    if let Some(host) = &route.host {
        out.extend_from_slice(b"Host: ");
        out.extend_from_slice(host);
        out.extend_from_slice(b"\r\n");
        drop.extend(request.host_line.clone());
    }
    let respells = request.framing == Framing::Chunked && request.fields.respells_chunked();
    if respells {
        drop.extend(request.fields.transfer_encoding.iter().cloned());
        drop.sort_unstable_by_key(|line| line.start);
    }
    request.fields.write(out, upgrading, &drop);
    if respells {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if let Some(extra) = &route.extra {
        out.extend_from_slice(extra.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// What changes in a response head on its way.
struct Passing<'a> {
    upgrading: bool,
    drop: &'a [Range<usize>],
    connection: &'a str,
}

/// Writes a response head as it goes to the client.
fn write_response(out: &mut Vec<u8>, response: &Response, passing: &Passing<'_>) {
    let fields = &response.fields;
    // "HTTP/1.1 " and the status as they came; the version is ours (RFC 9110 §6.2).
    out.extend_from_slice(b"HTTP/1.1 ");
    let mut digits = [b'0'; 3];
    for (digit, divisor) in digits.iter_mut().zip([100, 10, 1]) {
        *digit += u8::try_from(response.status / divisor % 10).unwrap_or(0);
    }
    out.extend_from_slice(&digits);
    out.push(b' ');
    out.extend_from_slice(&fields.raw[response.reason.clone()]);
    out.extend_from_slice(b"\r\n");
    if response.bare_lf {
        let mut lines = Vec::new();
        fields.write(&mut lines, passing.upgrading, passing.drop);
        for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            out.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
            out.extend_from_slice(b"\r\n");
        }
    } else {
        fields.write(out, passing.upgrading, passing.drop);
    }
    out.extend_from_slice(passing.connection.as_bytes());
    out.extend_from_slice(b"\r\n");
}

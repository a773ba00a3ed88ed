//! An intercepted connection that speaks HTTP/2: its requests forwarded, their responses passed back,
//! all of it recorded.
//!
//! In: the decrypted stream of a client, the origin it asked for by CONNECT, and the connection to the
//! server that was made to settle the version. Out: exchanges in the record. Each stream is a task of
//! its own on this worker, with a deadline of its own.

use std::{cell::Cell, rc::Rc, time::Duration, time::Instant};

use h2::Reason;
use weir_engine::record::{Fault, Flags, Headers, Protocol};

use super::{
    bodies::IncomingBody,
    counted::Counted,
    fields::ReceivedRequest,
    front::{self, Ends, ExtendedConnect, Responder, Service, is_bodiless},
    limits::Http2Limits,
    links::{self, Acquired, Link},
    over_http1,
    recording::Recording,
    relay::{self, Observer, Outcome},
};
use crate::{
    body::BodySink,
    client::Client,
    failure::{Failure, sentence},
    hooks::{Alpn, Upstream},
    http1::{
        origin, page,
        pool::{Origin, Server},
        row::Row,
    },
    message::{RequestHead, ResponseHead},
    stream::Stream,
    watch::Interrupt,
};

/// Requests a server said it did not process are sent this often at most.
const ATTEMPTS: usize = 3;

/// Serves HTTP/2 on a decrypted stream until the client goes. `failure`: why the server cannot be
/// reached; each request is answered with it.
pub async fn serve(
    client: &Rc<Client>,
    stream: Stream,
    origin: Origin,
    upstream: Option<Upstream>,
    failure: Option<Failure>,
) {
    let core = &client.core;
    let mut failure = failure;
    let extended_connect = Rc::new(ExtendedConnect::default());
    match upstream {
        Some(upstream) if upstream.secured.alpn == Alpn::Http2 => match Link::open(upstream, core.config()).await {
            Ok(link) => core.http2.add(origin.clone(), link),
            Err(broken) => failure = Some(broken),
        },
        Some(upstream) => {
            let now_ms = core.watches.now_ms();
            core.pool.put(&origin, Box::new(links::to_server(upstream, now_ms)), now_ms);
        }
        None => {}
    }
    let (stream, counts) = Counted::new(stream);
    let exchanges = Rc::new(Exchanges {
        client: Rc::clone(client),
        origin,
        failure,
        extended_connect: Rc::clone(&extended_connect),
        http1_only: Cell::new(false),
    });
    // Only a stop ends this wait; silence is the front's own business.
    client.watch.arm_idle(Duration::MAX);
    let shutdown = std::future::poll_fn(|cx| client.watch.poll_interrupt(cx).map(drop));
    // Never armed: only the cut interrupts it.
    let until_cut = core.watches.watch();
    let cut = std::future::poll_fn(|cx| until_cut.poll_interrupt(cx).map(drop));
    let ends = Ends { shutdown, cut };
    let limits = Http2Limits::towards_clients(core.config());
    let ended = front::serve(stream, &limits, exchanges, extended_connect, ends).await;
    client.count(counts.get());
    if let Err(fault) = ended {
        client.fault(fault);
    }
}

/// The requests of one connection.
struct Exchanges {
    client: Rc<Client>,
    origin: Origin,
    failure: Option<Failure>,
    extended_connect: Rc<ExtendedConnect>,
    /// The server settled on HTTP/1.1 when it was last dialled.
    http1_only: Cell<bool>,
}

impl Service for Exchanges {
    async fn serve(self: Rc<Self>, request: ReceivedRequest, mut body: IncomingBody, mut responder: Responder) {
        let ReceivedRequest { head, protocol, fault } = request;
        let mut row = Row::begin(&self.client, Instant::now());
        row.request(Protocol::Http2, head.method.clone(), head.url.clone(), head.headers.clone());
        // The stream's own deadline, beside those of its siblings.
        let stream = self.client.stream();
        let recording = Recording::new(Rc::clone(&stream), row, protocol.clone());
        let ended = match fault {
            Some(fault) => Err(fault.into()),
            None => {
                stream.watch.arm(stream.core.config().upstream.timeouts.response);
                let exchange =
                    self.exchange(&stream, &head, protocol.as_deref(), &mut body, &mut responder, &recording);
                match stream.watch.guard(exchange).await {
                    Ok(ended) => ended,
                    Err(Interrupt::Stopped) => Err(Fault::Stopped.into()),
                    Err(Interrupt::Deadline) => Err(recording.timeout().into()),
                }
            }
        };
        match ended {
            Ok(outcome) => self.settle(&head, outcome, &mut responder, &recording).await,
            Err(failure) => {
                recording.fault(failure.fault);
                self.answer(&head, &failure, &mut responder, &recording).await;
            }
        }
        recording.into_row().finish(&self.client).await;
    }
}

impl Exchanges {
    /// Forwards a request, again where the server did nothing with it.
    async fn exchange(
        &self,
        stream: &Rc<Client>,
        head: &RequestHead,
        protocol: Option<&str>,
        body: &mut IncomingBody,
        responder: &mut Responder,
        recording: &Recording,
    ) -> Result<Outcome, Failure> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let mut attempt = 1;
        loop {
            let acquired = if self.http1_only.get() {
                Acquired::Http1(origin::acquire(stream, &self.origin, attempt > 1).await?)
            } else {
                links::acquire(stream, &self.origin).await?
            };
            let (outcome, reused) = match acquired {
                Acquired::Http2(link) => self.over_http2(&link, head, protocol, body, responder, recording).await,
                Acquired::Http1(server) => {
                    self.http1_only.set(true);
                    if &*head.method == "CONNECT" {
                        return Err(Failure::new(Fault::ClientMalformed, "CONNECT needs a server that speaks HTTP/2."));
                    }
                    let reused = server.served > 0;
                    (self.over_http1(stream, server, head, body, responder, recording).await, reused)
                }
            };
            let Outcome { fault, by_client, answered, took_body, replayable, .. } = outcome;
            // A kept connection may end at any time (RFC 9110 §9.2.2): nothing came back, nothing was taken.
            let untouched = !answered && !took_body && !by_client && body.is_absent();
            let stale = reused
                && untouched
                && is_idempotent(&head.method)
                && matches!(fault, Some(Fault::ServerClosed | Fault::ServerReset));
            if attempt == ATTEMPTS || !(replayable || stale) {
                return Ok(outcome);
            }
            attempt += 1;
        }
    }

    async fn over_http2(
        &self,
        link: &Link,
        head: &RequestHead,
        protocol: Option<&str>,
        body: &mut IncomingBody,
        responder: &mut Responder,
        recording: &Recording,
    ) -> (Outcome, bool) {
        recording.row(|row| link.note(&self.client, row));
        let sent = match link.session.send(head, protocol, body.is_absent()).await {
            Ok(sent) => sent,
            Err(error) => {
                let outcome = Outcome {
                    fault: Some(error.fault),
                    reset: error.reset,
                    replayable: error.unprocessed,
                    ..Outcome::default()
                };
                return (outcome, true);
            }
        };
        let reused = sent.reused;
        recording.row(|row| {
            if reused {
                row.exchange.flags.set(Flags::REUSED);
            }
        });
        let outcome = relay::relay(&head.method, body, sent.body, Some(sent.response), responder, recording).await;
        // The server's settings have arrived with its first response at the latest.
        if link.session.takes_extended_connect() {
            self.extended_connect.offer();
        }
        (outcome, reused)
    }

    async fn over_http1(
        &self,
        stream: &Rc<Client>,
        mut server: Box<Server>,
        head: &RequestHead,
        body: &mut IncomingBody,
        responder: &mut Responder,
        recording: &Recording,
    ) -> Outcome {
        recording.row(|row| links::note_server(&self.client, row, &server));
        let sink = match over_http1::send(stream, &server.wire, head, !body.is_absent()).await {
            Ok(sink) => sink,
            Err(fault) => return Outcome { fault: Some(fault), ..Outcome::default() },
        };
        let persistent = Cell::new(false);
        let response = over_http1::Http1Response {
            client: stream,
            wire: &server.wire,
            method: &head.method,
            persistent: &persistent,
        };
        let outcome = relay::relay(&head.method, body, sink, response, responder, recording).await;
        let whole = outcome.fault.is_none() && recording.row(|row| row.request_complete && row.response_complete);
        if whole && persistent.get() && server.wire.is_drained() && !server.wire.ended() {
            server.served += 1;
            self.client.core.pool.put(&self.origin, server, self.client.core.watches.now_ms());
        }
        outcome
    }

    /// After a relay: the client's stream ends as the exchange did.
    async fn settle(&self, head: &RequestHead, outcome: Outcome, responder: &mut Responder, recording: &Recording) {
        if outcome.early {
            recording.row(|row| row.exchange.flags.set(Flags::EARLY_RESPONSE));
        }
        let Some(fault) = outcome.fault else { return };
        // A server that waits for the rest of the request is silent for the client's sake.
        let fault = if fault == Fault::ServerTimeout { recording.timeout() } else { fault };
        recording.fault(fault);
        if outcome.answered {
            return;
        }
        match outcome.reset {
            _ if outcome.by_client => responder.reset(Reason::CANCEL),
            // The client learns the code that the server gave.
            Some(code) => responder.reset(code),
            None => self.answer(head, &Failure::new(fault, sentence(fault)), responder, recording).await,
        }
    }

    /// Answers with a page that says why there is no response.
    async fn answer(&self, head: &RequestHead, failure: &Failure, responder: &mut Responder, recording: &Recording) {
        if responder.is_answered() {
            // Its sink went with the relay, and has told the client.
            return;
        }
        if failure.fault == Fault::Stopped {
            return responder.reset(Reason::CANCEL);
        }
        let answer = page::of_failure(failure, head.headers.get("accept"));
        let (_, headers) = page::head(&answer, false);
        let headers = Headers::from_pairs(headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value)));
        let response = ResponseHead { status: answer.status, reason: None, protocol: Protocol::Http2, headers };
        recording.row(|row| row.exchange.flags.set(Flags::ANSWERED_BY_WEIR));
        recording.response_head(&response);
        let bodiless = is_bodiless(&head.method, answer.status);
        let Ok(mut out) = responder.head(&response, bodiless) else { return };
        if !bodiless {
            recording.response_data(&answer.body);
            let client = &self.client;
            let watch = client.core.watches.watch();
            watch.arm(client.core.config().limits.client_body);
            let sent = watch.guard(async {
                out.data(answer.body).await?;
                out.end(None).await
            });
            if !matches!(sent.await, Ok(Ok(()))) {
                return;
            }
        }
        recording.response_end(None);
    }
}

fn is_idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
}

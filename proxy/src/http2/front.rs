//! HTTP/2 towards a client: one connection, many streams, each served by a task of its own on this thread.
//!
//! In: a stream of bytes on which the client speaks HTTP/2, and a [`Service`]. Out: the service called
//! once a request, with a [`Responder`] to answer through. Tasks are awaited before the connection is called ended,
//! so that every exchange on it is recorded.

use std::{cell::Cell, future::Future, rc::Rc, time::Duration};

use bytes::Bytes;
use h2::{Reason, server};
use http::Response;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::Notify,
    task::JoinSet,
};
use weir_engine::record::Fault;

use super::{
    bodies::{IncomingBody, OutgoingBody},
    faults::{self, Side},
    fields::{self, ReceivedRequest},
    limits::Http2Limits,
};
use crate::message::ResponseHead;

/// Serves the requests of one connection.
#[allow(async_fn_in_trait, reason = "used on one thread only; no Send bound is wanted")]
pub trait Service: 'static {
    /// Serves one request: answers through `responder` and records the exchange. A responder dropped
    /// unanswered resets the stream.
    async fn serve(self: Rc<Self>, request: ReceivedRequest, body: IncomingBody, responder: Responder);
}

/// Answers one request.
#[derive(Debug)]
pub struct Responder {
    send: server::SendResponse<Bytes>,
    answered: bool,
}

impl Responder {
    /// Passes an interim response on (RFC 9110 §15.2).
    ///
    /// # Errors
    /// [`Fault::ServerMalformed`] when HTTP/2 cannot carry it, [`Fault::StreamReset`] when the client is gone.
    pub fn interim(&mut self, head: &ResponseHead) -> Result<(), Fault> {
        let response = fields::response_towards_http2(head)?;
        self.send.send_informational(response).map_err(|error| self.gone(&error))
    }

    /// Passes the final response head on; `ended` when no body and no trailers follow.
    ///
    /// # Errors
    /// As [`interim`](Self::interim).
    pub fn head(&mut self, head: &ResponseHead, ended: bool) -> Result<OutgoingBody, Fault> {
        self.respond(fields::response_towards_http2(head)?, ended)
    }

    fn respond(&mut self, response: Response<()>, ended: bool) -> Result<OutgoingBody, Fault> {
        let stream = self.send.send_response(response, ended).map_err(|error| self.gone(&error))?;
        self.answered = true;
        Ok(OutgoingBody::new(stream, Side::Client, ended))
    }

    fn gone(&self, error: &h2::Error) -> Fault {
        // Sending fails as a user error when the client has reset the stream.
        if error.is_io() || error.is_go_away() { Side::Client.fault(error) } else { Fault::StreamReset }
    }

    /// Whether the final head was sent, or the stream given up.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.answered
    }

    /// Gives the stream up.
    pub fn reset(&mut self, reason: Reason) {
        self.answered = true;
        self.send.send_reset(reason);
    }

    /// Returns when the client has reset the stream, or its connection is gone.
    pub async fn until_reset(&mut self) -> (Fault, Option<Reason>) {
        match std::future::poll_fn(|context| self.send.poll_reset(context)).await {
            Ok(reason) => (Fault::StreamReset, Some(reason)),
            Err(error) => (Side::Client.fault(&error), None),
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if !self.answered {
            self.send.send_reset(faults::reason(Fault::Http2Failed));
        }
    }
}

/// Tells a connection's front to offer extended CONNECT (RFC 8441): set once the server is known to.
#[derive(Debug, Default)]
pub struct ExtendedConnect {
    offered: Cell<bool>,
    changed: Notify,
}

impl ExtendedConnect {
    /// Offers it to the client from now on.
    pub fn offer(&self) {
        if !self.offered.replace(true) {
            self.changed.notify_one();
        }
    }

    /// Whether it is offered.
    #[must_use]
    pub fn is_offered(&self) -> bool {
        self.offered.get()
    }
}

/// How long a client without streams may take to close after GOAWAY.
const GOAWAY_PATIENCE: Duration = Duration::from_secs(1);

/// When a connection is to end before its client ends it.
#[derive(Debug)]
pub struct Ends<S, C> {
    /// Gracefully: GOAWAY, streams under way are finished.
    pub shutdown: S,
    /// At once; the service's tasks are expected to end by themselves then.
    pub cut: C,
}

/// Serves one client connection until it, or `ends`, ends it.
///
/// # Errors
/// Why the connection failed; streams have been told.
pub async fn serve<T, S>(
    io: T,
    limits: &Http2Limits,
    service: Rc<S>,
    extended_connect: Rc<ExtendedConnect>,
    ends: Ends<impl Future<Output = ()>, impl Future<Output = ()>>,
) -> Result<(), Fault>
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Service,
{
    let handshake = server::Builder::new()
        .max_concurrent_streams(limits.max_concurrent_streams)
        .max_header_list_size(limits.max_header_list_size)
        .initial_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .max_send_buffer_size(limits.max_send_buffer)
        .max_pending_accept_reset_streams(limits.max_pending_resets)
        .max_local_error_reset_streams(Some(limits.max_error_resets))
        .handshake::<_, Bytes>(io);
    let Ok(handshake) = tokio::time::timeout(limits.idle_timeout, handshake).await else {
        return Err(Fault::ClientTimeout);
    };
    let mut connection = handshake.map_err(|error| Side::Client.fault(&error))?;
    let mut tasks = JoinSet::new();
    let (mut shutdown, mut cut) = (std::pin::pin!(ends.shutdown), std::pin::pin!(ends.cut));
    let mut closing = false;
    let outcome = loop {
        let idle = tasks.is_empty();
        tokio::select! {
            accepted = connection.accept() => match accepted {
                None => break Ok(()),
                // A client that goes without a word while nothing is under way does no harm.
                Some(Err(error)) if error.is_io() && tasks.is_empty() => break Ok(()),
                Some(Err(error)) => break Err(Side::Client.fault(&error)),
                Some(Ok((request, send))) => {
                    let (parts, stream) = request.into_parts();
                    let request = fields::received_request(&parts);
                    let length = fields::content_length(&request.head.headers).unwrap_or(None);
                    let body = IncomingBody::new(stream, Side::Client, length);
                    let service = Rc::clone(&service);
                    tasks.spawn_local(service.serve(request, body, Responder { send, answered: false }));
                }
            },
            Some(_) = tasks.join_next(), if !idle => {}
            () = &mut shutdown, if !closing => {
                closing = true;
                connection.graceful_shutdown();
            }
            () = extended_connect.changed.notified() => {
                // Fails only while another change of settings is unanswered; then it stays unoffered.
                let _ = connection.enable_connect_protocol();
            }
            () = tokio::time::sleep(limits.idle_timeout), if idle && !closing => {
                closing = true;
                connection.graceful_shutdown();
            }
            () = &mut cut => break Ok(()),
            // A client that does not take the GOAWAY is not waited for.
            () = tokio::time::sleep(GOAWAY_PATIENCE), if idle && closing => break Ok(()),
        }
    };
    drop(connection);
    while tasks.join_next().await.is_some() {}
    outcome
}

/// Refuses HTTP/2 with prior knowledge where weir expects HTTP/1.1: says so as HTTP/2 can.
///
/// The client's preface may be read or not; this writes SETTINGS and GOAWAY (`HTTP_1_1_REQUIRED`).
///
/// # Errors
/// What writing says.
pub async fn refuse_prior_knowledge<T: AsyncWrite + Unpin>(io: &mut T) -> std::io::Result<()> {
    const WHY: &[u8] = b"weir's proxy port speaks HTTP/1.1; HTTP/2 comes after CONNECT and TLS";
    let mut frames = Vec::with_capacity(9 + 9 + 8 + WHY.len());
    // SETTINGS, empty (RFC 9113 §6.5).
    frames.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    // GOAWAY (RFC 9113 §6.8): last stream 0, HTTP_1_1_REQUIRED, why.
    frames.extend_from_slice(&[0, 0, 8 + WHY.len() as u8, 7, 0, 0, 0, 0, 0]);
    frames.extend_from_slice(&[0, 0, 0, 0]);
    frames.extend_from_slice(&u32::from(Reason::HTTP_1_1_REQUIRED).to_be_bytes());
    frames.extend_from_slice(WHY);
    io.write_all(&frames).await?;
    io.flush().await
}

/// Whether a response to this method with this status has no body (RFC 9110 §6.4.1).
#[must_use]
pub fn is_bodiless(method: &str, status: u16) -> bool {
    method == "HEAD" || matches!(status, 204 | 304)
}

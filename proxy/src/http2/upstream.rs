//! HTTP/2 towards a server: one connection that carries many requests.
//!
//! In: a stream of bytes to a server that settled on HTTP/2, and requests. Out: for each request the
//! sink of its body and its response. A driver task on this thread moves the connection, asks a silent
//! server whether it lives (PING, RFC 9113 §6.7) and closes the connection when it has been idle.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use h2::{Ping, Reason, client};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
    time::Instant,
};
use weir_engine::record::Fault;

use super::{
    bodies::{IncomingBody, OutgoingBody},
    faults::{self, Side},
    fields,
    limits::Http2Limits,
};
use crate::message::{RequestHead, ResponseHead};

/// What a session and its driver share.
#[derive(Debug, Default)]
struct State {
    /// Streams under way.
    open: Cell<usize>,
    /// Requests sent so far.
    served: Cell<u64>,
    /// No further request may be sent on it.
    closed: Cell<bool>,
    /// Why the connection ended.
    fault: Cell<Option<Fault>>,
    /// Something was sent or received: silence begins anew.
    last_used: Cell<Option<Instant>>,
    /// The last stream ended, or the session is to be closed.
    changed: Notify,
}

/// A connection to a server; clones are the same connection.
#[derive(Debug, Clone)]
pub struct Session {
    send: client::SendRequest<Bytes>,
    state: Rc<State>,
}

/// Why a request got no response.
#[derive(Debug, Clone, Copy)]
pub struct SendError {
    /// For the record.
    pub fault: Fault,
    /// The server did nothing with the request: it may be sent again (RFC 9113 §8.7).
    pub unprocessed: bool,
    /// The code the server reset the stream with.
    pub reset: Option<Reason>,
}

impl SendError {
    fn of(error: &h2::Error) -> Self {
        let reset = if error.is_reset() && error.is_remote() { error.reason() } else { None };
        Self { fault: Side::Server.fault(error), unprocessed: faults::unprocessed(error), reset }
    }

    /// A failure that says nothing about retrying.
    #[must_use]
    pub fn plain(fault: Fault) -> Self {
        Self { fault, unprocessed: false, reset: None }
    }
}

/// A request under way.
#[derive(Debug)]
pub struct Sent {
    /// Takes its body; ended already when the head ended the stream.
    pub body: OutgoingBody,
    /// Its response.
    pub response: PendingResponse,
    /// Whether the connection had carried another request before.
    pub reused: bool,
}

/// Counts a stream as under way until it is dropped.
#[derive(Debug)]
struct OpenStream(Rc<State>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.last_used.set(Some(Instant::now()));
        self.0.changed.notify_one();
    }
}

/// A response that is on its way.
#[derive(Debug)]
pub struct PendingResponse {
    future: client::ResponseFuture,
    open: OpenStream,
}

/// What a response brings next.
#[derive(Debug)]
pub enum ResponseEvent {
    /// An interim response; more follows.
    Interim(ResponseHead),
    /// The final head and its body.
    Final(ResponseHead, ResponseBody),
}

/// The body of a response; keeps its stream counted as under way.
#[derive(Debug)]
pub struct ResponseBody {
    /// Its frames.
    pub body: IncomingBody,
    _open: OpenStream,
}

impl PendingResponse {
    /// Waits for the next head.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn next(mut self) -> Result<(ResponseEvent, Option<Self>), SendError> {
        let next = poll_fn(|context| {
            if let Poll::Ready(Some(interim)) = self.future.poll_informational(context) {
                return Poll::Ready(interim.map(|interim| (interim, None)));
            }
            let response = std::task::ready!(Pin::new(&mut self.future).poll(context))?;
            let (parts, stream) = response.into_parts();
            Poll::Ready(Ok((http::Response::from_parts(parts, ()), Some(stream))))
        });
        let (response, stream) = next.await.map_err(|error| SendError::of(&error))?;
        let head = fields::received_response(&response.into_parts().0).map_err(SendError::plain)?;
        let Some(stream) = stream else { return Ok((ResponseEvent::Interim(head), Some(self))) };
        let length = fields::content_length(&head.headers).unwrap_or(None);
        let body = IncomingBody::new(stream, Side::Server, length);
        Ok((ResponseEvent::Final(head, ResponseBody { body, _open: self.open }), None))
    }
}

impl Session {
    /// Begins HTTP/2 on a connection. Its driver runs until the connection ends.
    ///
    /// # Errors
    /// Why the server does not speak HTTP/2.
    pub async fn open<T>(io: T, limits: &Http2Limits) -> Result<Self, Fault>
    where
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (send, connection) = client::Builder::new()
            .enable_push(false)
            .max_header_list_size(limits.max_header_list_size)
            .initial_window_size(limits.stream_window)
            .initial_connection_window_size(limits.connection_window)
            .max_send_buffer_size(limits.max_send_buffer)
            .max_local_error_reset_streams(Some(limits.max_error_resets))
            .handshake::<_, Bytes>(io)
            .await
            .map_err(|error| Side::Server.fault(&error))?;
        let state = Rc::new(State::default());
        state.last_used.set(Some(Instant::now()));
        tokio::task::spawn_local(drive(connection, Rc::clone(&state), limits.clone()));
        Ok(Self { send, state })
    }

    /// Sends a request head; `ended` when no body follows. Waits while the server allows no further stream.
    ///
    /// # Errors
    /// Why it could not be sent; nothing was, unless it says otherwise.
    pub async fn send(&self, head: &RequestHead, protocol: Option<&str>, ended: bool) -> Result<Sent, SendError> {
        let request = fields::request_towards_http2(head, protocol).map_err(SendError::plain)?;
        // Counted before the first wait, so that others see the stream as taken.
        self.state.open.set(self.state.open.get() + 1);
        let open = OpenStream(Rc::clone(&self.state));
        let ready = self.send.clone().ready().await;
        // Whatever went wrong before the head was sent, the server has not seen it.
        let unsent = |error: h2::Error| {
            self.state.closed.set(true);
            let fault = self.state.fault.get().unwrap_or_else(|| Side::Server.fault(&error));
            SendError { fault, unprocessed: true, reset: None }
        };
        let mut send = ready.map_err(unsent)?;
        let (future, stream) = send.send_request(request, ended).map_err(unsent)?;
        let reused = self.state.served.replace(self.state.served.get() + 1) > 0;
        let body = OutgoingBody::new(stream, Side::Server, ended);
        Ok(Sent { body, response: PendingResponse { future, open }, reused })
    }

    /// Whether another request may be sent on it now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.state.closed.get() && self.state.open.get() < self.send.current_max_send_streams()
    }

    /// Whether the connection is gone, or going.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state.closed.get()
    }

    /// Streams under way.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.state.open.get()
    }

    /// Whether the server takes extended CONNECT (RFC 8441); known once its settings have arrived.
    #[must_use]
    pub fn takes_extended_connect(&self) -> bool {
        self.send.is_extended_connect_protocol_enabled()
    }

    /// Sends nothing more on it; the connection ends with its last stream.
    pub fn close(&self) {
        self.state.closed.set(true);
        self.state.changed.notify_one();
    }
}

/// Moves a connection until it ends.
async fn drive<T>(mut connection: client::Connection<T, Bytes>, state: Rc<State>, limits: Http2Limits)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut pings = connection.ping_pong();
    let mut connection = std::pin::pin!(connection);
    let fault = loop {
        let open = state.open.get();
        if open == 0 && state.closed.get() {
            break None;
        }
        let patience = if open == 0 { limits.idle_timeout } else { limits.ping_after };
        let since = state.last_used.get().unwrap_or_else(Instant::now);
        tokio::select! {
            ended = &mut connection => break ended.err().map(|error| Side::Server.fault(&error)).or(Some(Fault::ServerClosed)),
            () = state.changed.notified() => {}
            () = tokio::time::sleep_until(since + patience) => {
                if state.open.get() == 0 {
                    break None;
                }
                state.last_used.set(Some(Instant::now()));
                let Some(pings) = pings.as_mut() else { continue };
                let answered = tokio::select! {
                    ended = &mut connection => break ended.err().map(|error| Side::Server.fault(&error)),
                    answered = answer(pings, limits.ping_timeout) => answered,
                };
                if !answered {
                    break Some(Fault::ServerTimeout);
                }
            }
        }
    };
    state.fault.set(fault);
    state.closed.set(true);
}

/// Whether the server answers a PING in time.
async fn answer(pings: &mut h2::PingPong, limit: Duration) -> bool {
    matches!(tokio::time::timeout(limit, pings.ping(Ping::opaque())).await, Ok(Ok(_)))
}

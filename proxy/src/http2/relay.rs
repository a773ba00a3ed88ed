//! Passes one exchange of an HTTP/2 client on: request up, response down, both at once.
//!
//! In: the client's stream and a request that was sent to a server, whatever its HTTP version. Out: the
//! same bytes on the other side as they arrive, an [`Observer`] told of each, and how it ended. Neither half waits
//! for the other (RFC 9113 §8.1: a response may begin, and end, before its request has).

use std::{cell::Cell, time::Duration};

use bytes::Bytes;
use h2::Reason;
use weir_engine::record::{Fault, Headers};

use super::{
    bodies::{IncomingBody, OutgoingBody},
    faults,
    front::{Responder, is_bodiless},
    upstream::{PendingResponse, ResponseBody, ResponseEvent, SendError},
};
use crate::{
    body::{BodySink, BodySource, Frame},
    http1::exchange::INTERIM_RESPONSES,
    message::ResponseHead,
};

/// How long more of a request is waited for once its response has been passed on whole and the server takes no more.
const LINGER: Duration = Duration::from_millis(250);
/// Bytes of it at most.
const LINGER_BYTES: usize = 256 << 10;

/// What a relay waits for on the client's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientWait {
    /// More of its request.
    Request,
    /// Room in its window for more of the response.
    Window,
}

/// Is told what passes, in order; for the record.
pub trait Observer {
    /// A wait for the client begins, or is over: should it last too long, the client is the cause.
    fn waits(&self, _on: ClientWait, _waiting: bool) {}
    /// Bytes of the request's body, before they are passed on.
    fn request_data(&self, bytes: &Bytes);
    /// The request is complete.
    fn request_end(&self, trailers: Option<&Headers>);
    /// An interim response.
    fn interim(&self, head: &ResponseHead);
    /// The final response head.
    fn response_head(&self, head: &ResponseHead);
    /// Bytes of the response's body, before they are passed on.
    fn response_data(&self, bytes: &Bytes);
    /// The response is complete.
    fn response_end(&self, trailers: Option<&Headers>);
}

/// Takes the body of a request at a server.
#[allow(async_fn_in_trait, reason = "used on one thread only; no Send bound is wanted")]
pub trait UploadSink: BodySink {
    /// Gives the request up.
    fn abort(&mut self, reason: Reason);
    /// Whether the rest of a request may still be sent after its response has ended.
    fn outlives_response(&self) -> bool;
    /// Returns when the server says that it takes no more; never, where it has no way to say so.
    async fn until_refused(&mut self);
}

impl UploadSink for OutgoingBody {
    fn abort(&mut self, reason: Reason) {
        self.reset(reason);
    }

    fn outlives_response(&self) -> bool {
        true
    }

    async fn until_refused(&mut self) {
        self.until_reset().await;
    }
}

/// What a server's response brings next.
#[derive(Debug)]
pub enum Arrival<B> {
    /// An interim response.
    Interim(ResponseHead),
    /// The final head and its body.
    Final(ResponseHead, B),
}

/// A body of a response.
pub trait DownloadSource: BodySource {
    /// The code the server reset the stream with, when it did.
    fn reset_code(&self) -> Option<Reason>;
    /// Whether it is known beforehand that there is neither body nor trailer section.
    fn is_absent(&self) -> bool;
}

impl DownloadSource for ResponseBody {
    fn reset_code(&self) -> Option<Reason> {
        self.body.reset_code()
    }

    fn is_absent(&self) -> bool {
        self.body.is_absent()
    }
}

impl BodySource for ResponseBody {
    async fn frame(&mut self) -> Result<Option<Frame>, Fault> {
        self.body.frame().await
    }

    fn remaining(&self) -> Option<u64> {
        self.body.remaining()
    }
}

/// A response that is on its way, from whatever server.
#[allow(async_fn_in_trait, reason = "used on one thread only; no Send bound is wanted")]
pub trait ResponseSource {
    /// Its body.
    type Body: DownloadSource;
    /// The next head.
    ///
    /// # Errors
    /// Why there is none.
    async fn next(&mut self) -> Result<Arrival<Self::Body>, SendError>;
}

impl ResponseSource for Option<PendingResponse> {
    type Body = ResponseBody;

    async fn next(&mut self) -> Result<Arrival<ResponseBody>, SendError> {
        let pending = self.take().ok_or(SendError::plain(Fault::ServerMalformed))?;
        let (event, rest) = pending.next().await?;
        *self = rest;
        Ok(match event {
            ResponseEvent::Interim(head) => Arrival::Interim(head),
            ResponseEvent::Final(head, body) => Arrival::Final(head, body),
        })
    }
}

/// How an exchange ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outcome {
    /// Why it is cut, if it is.
    pub fault: Option<Fault>,
    /// The response began before the request had ended.
    pub early: bool,
    /// The client, not the server, ended it.
    pub by_client: bool,
    /// The final response head went to the client.
    pub answered: bool,
    /// Bytes of the request's body were taken from the client.
    pub took_body: bool,
    /// The server did nothing with the request and no byte of its body was taken from the client: it may
    /// be sent again.
    pub replayable: bool,
    /// The code the server reset the stream with, to be passed on when the client has no answer yet.
    pub reset: Option<Reason>,
}

/// Why the way up ended early.
enum UploadEnd {
    /// The client cut its request.
    Client(Fault),
    /// The server takes no more of it; what the response says decides.
    Server,
}

/// Why the exchange ended.
enum End {
    Complete,
    Client(Fault, Option<Reason>),
    Server(SendError),
}

/// Passes one exchange on until both halves have ended. When the server fails before it has answered, the
/// answer is left to the caller.
pub async fn relay<U: UploadSink, R: ResponseSource>(
    method: &str,
    body: &mut IncomingBody,
    mut sink: U,
    response: R,
    responder: &mut Responder,
    observer: &impl Observer,
) -> Outcome {
    let uploading = Cell::new(!body.is_absent());
    let took_body = Cell::new(false);
    let took_end = Cell::new(body.is_absent());
    let early = Cell::new(false);
    let request_complete = Cell::new(body.is_absent());
    let mut client_out = None;
    let outlives = sink.outlives_response();
    if !uploading.get() {
        observer.request_end(None);
    }
    let end = {
        let mut upload = std::pin::pin!(upload(body, &mut sink, observer, (&took_body, &took_end)));
        let answered = || early.set(!request_complete.get());
        let mut download = std::pin::pin!(download(method, response, responder, &mut client_out, observer, answered));
        let mut downloaded = false;
        loop {
            tokio::select! {
                biased;
                result = &mut upload, if uploading.get() => {
                    uploading.set(false);
                    match result {
                        Err(UploadEnd::Client(fault)) => break End::Client(fault, None),
                        _ if downloaded => break End::Complete,
                        Ok(()) => request_complete.set(true),
                        Err(UploadEnd::Server) => {}
                    }
                }
                end = &mut download, if !downloaded => match end {
                    End::Complete if uploading.get() && outlives => downloaded = true,
                    end => break end,
                },
            }
        }
    };
    let mut outcome = Outcome {
        early: early.get(),
        answered: client_out.is_some(),
        took_body: took_body.get(),
        ..Outcome::default()
    };
    match end {
        // What is left of the request is of no use to the server: dropping the stream says NO_ERROR (RFC 9113 §8.1).
        End::Complete => {
            if !took_end.get() {
                linger(body, observer).await;
            }
        }
        End::Client(fault, code) => {
            outcome.fault = Some(fault);
            outcome.by_client = true;
            sink.abort(code.or(body.reset_code()).unwrap_or(Reason::CANCEL));
        }
        End::Server(error) => {
            outcome.fault = Some(error.fault);
            outcome.reset = error.reset;
            outcome.replayable = error.unprocessed && !took_body.get() && !outcome.answered;
            sink.abort(Reason::CANCEL);
            if let Some(out) = &mut client_out {
                out.reset(error.reset.unwrap_or_else(|| faults::reason(error.fault)));
            }
        }
    }
    outcome
}

/// Takes what the client had sent of its request before it could know that the server wants no more: a small body often
/// crosses its answer, and belongs into the record.
async fn linger(body: &mut IncomingBody, observer: &impl Observer) {
    let mut left = LINGER_BYTES;
    while let Ok(Ok(frame)) = tokio::time::timeout(LINGER, body.frame()).await {
        match frame {
            Some(Frame::Data(bytes)) => {
                observer.request_data(&bytes);
                left = left.saturating_sub(bytes.len());
                if left == 0 {
                    return;
                }
            }
            Some(Frame::Trailers(trailers)) => return observer.request_end(Some(&trailers)),
            None => return observer.request_end(None),
        }
    }
}

async fn upload(
    body: &mut IncomingBody,
    sink: &mut impl UploadSink,
    observer: &impl Observer,
    (took_body, took_end): (&Cell<bool>, &Cell<bool>),
) -> Result<(), UploadEnd> {
    loop {
        observer.waits(ClientWait::Request, true);
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            () = sink.until_refused() => return Err(UploadEnd::Server),
        };
        observer.waits(ClientWait::Request, false);
        match frame.map_err(UploadEnd::Client)? {
            Some(Frame::Data(bytes)) => {
                took_body.set(true);
                observer.request_data(&bytes);
                sink.data(bytes).await.map_err(|_| UploadEnd::Server)?;
            }
            Some(Frame::Trailers(trailers)) => {
                took_end.set(true);
                observer.request_end(Some(&trailers));
                return sink.end(Some(trailers)).await.map_err(|_| UploadEnd::Server);
            }
            None => {
                took_end.set(true);
                observer.request_end(None);
                return sink.end(None).await.map_err(|_| UploadEnd::Server);
            }
        }
    }
}

async fn download<R: ResponseSource>(
    method: &str,
    mut response: R,
    responder: &mut Responder,
    client_out: &mut Option<OutgoingBody>,
    observer: &impl Observer,
    answered: impl FnOnce(),
) -> End {
    let mut interim_responses = 0;
    let (head, mut source) = loop {
        let arrival = tokio::select! {
            biased;
            arrival = response.next() => arrival,
            (fault, code) = responder.until_reset() => return End::Client(fault, code),
        };
        match arrival {
            Err(error) => return End::Server(error),
            Ok(Arrival::Final(head, source)) => break (head, source),
            Ok(Arrival::Interim(_)) if interim_responses == INTERIM_RESPONSES => {
                return End::Server(SendError::plain(Fault::ServerMalformed));
            }
            Ok(Arrival::Interim(head)) => {
                interim_responses += 1;
                observer.interim(&head);
                // One that HTTP/2 cannot carry is dropped; it is optional (RFC 9110 §15.2).
                if responder.interim(&head) == Err(Fault::StreamReset) {
                    let (fault, code) = responder.until_reset().await;
                    return End::Client(fault, code);
                }
            }
        }
    };
    answered();
    observer.response_head(&head);
    let ended = source.is_absent() || is_bodiless(method, head.status);
    let out = match responder.head(&head, ended) {
        Ok(out) => client_out.insert(out),
        Err(Fault::ServerMalformed) => return End::Server(SendError::plain(Fault::ServerMalformed)),
        Err(fault) => return End::Client(fault, None),
    };
    if ended {
        observer.response_end(None);
        return End::Complete;
    }
    loop {
        let frame = tokio::select! {
            biased;
            frame = source.frame() => frame,
            fault = out.until_reset() => return End::Client(fault, out.reset_code()),
        };
        let sent = match frame {
            Ok(Some(Frame::Data(bytes))) => {
                observer.response_data(&bytes);
                observer.waits(ClientWait::Window, true);
                let sent = out.data(bytes).await;
                observer.waits(ClientWait::Window, false);
                sent
            }
            Ok(Some(Frame::Trailers(trailers))) => {
                observer.response_end(Some(&trailers));
                out.end(Some(trailers)).await
            }
            Ok(None) => {
                observer.response_end(None);
                out.end(None).await
            }
            Err(fault) => {
                let reset = source.reset_code();
                return End::Server(SendError { fault, unprocessed: false, reset });
            }
        };
        match sent {
            Ok(()) if out.has_ended() => return End::Complete,
            Ok(()) => {}
            Err(Fault::ServerMalformed) => return End::Server(SendError::plain(Fault::ServerMalformed)),
            Err(fault) => return End::Client(fault, out.reset_code()),
        }
    }
}

//! Bodies on HTTP/2 streams, with flow control that follows the other side (RFC 9113 §5.2, §8.1).
//!
//! In: a stream's DATA and HEADERS frames. Out: frames of [`crate::body`], and back. The window of a
//! received frame is given back only when the next is asked for, that is when the frame has been
//! passed on; bytes are handed to the library only within the peer's window. So a slow reader
//! slows its writer, and nobody's memory grows.

use std::future::poll_fn;

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use weir_engine::record::{Fault, Headers};

use super::{
    faults::{self, Side},
    fields,
};
use crate::body::{BodySink, BodySource, Frame};

/// The receiving half of a stream.
#[derive(Debug)]
pub struct IncomingBody {
    stream: RecvStream,
    side: Side,
    /// Bytes handed out whose window is not given back yet.
    unreleased: usize,
    remaining: Option<u64>,
    data_ended: bool,
    reset: Option<Reason>,
}

impl IncomingBody {
    /// The body of a message whose head has announced `length` bytes.
    #[must_use]
    pub fn new(stream: RecvStream, side: Side, length: Option<u64>) -> Self {
        let data_ended = stream.is_end_stream();
        let remaining = if data_ended { Some(0) } else { length };
        Self { stream, side, unreleased: 0, remaining, data_ended, reset: None }
    }

    /// Whether the head was all there is: the stream had ended with it.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.stream.is_end_stream()
    }

    /// The code the peer reset the stream with, when it did.
    #[must_use]
    pub fn reset_code(&self) -> Option<Reason> {
        self.reset
    }

    fn fail(&mut self, error: &h2::Error) -> Fault {
        if error.is_reset() && error.is_remote() {
            self.reset = error.reason();
        }
        self.side.fault(error)
    }
}

impl BodySource for IncomingBody {
    async fn frame(&mut self) -> Result<Option<Frame>, Fault> {
        if self.unreleased > 0 {
            let bytes = std::mem::take(&mut self.unreleased);
            // Fails only when the stream is gone, which the next read tells better.
            let _ = self.stream.flow_control().release_capacity(bytes);
        }
        while !self.data_ended {
            match self.stream.data().await {
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(Ok(bytes)) => {
                    self.unreleased = bytes.len();
                    self.remaining = self.remaining.map(|left| left.saturating_sub(bytes.len() as u64));
                    return Ok(Some(Frame::Data(bytes)));
                }
                Some(Err(error)) => return Err(self.fail(&error)),
                None => self.data_ended = true,
            }
        }
        match self.stream.trailers().await {
            Ok(Some(trailers)) => Ok(Some(Frame::Trailers(fields::headers_of(&trailers)))),
            Ok(None) => Ok(None),
            Err(error) => Err(self.fail(&error)),
        }
    }

    fn remaining(&self) -> Option<u64> {
        self.remaining
    }
}

/// The sending half of a stream.
#[derive(Debug)]
pub struct OutgoingBody {
    stream: SendStream<Bytes>,
    side: Side,
    ended: bool,
    reset: Option<Reason>,
}

impl OutgoingBody {
    /// The body of a message whose head was sent; `ended` when the head ended the stream.
    #[must_use]
    pub fn new(stream: SendStream<Bytes>, side: Side, ended: bool) -> Self {
        Self { stream, side, ended, reset: None }
    }

    /// Whether the stream has been ended in this direction.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The code the peer reset the stream with, when it did. `NO_ERROR` from a server says that its response
    /// is complete without the rest of the request (RFC 9113 §8.1).
    #[must_use]
    pub fn reset_code(&self) -> Option<Reason> {
        self.reset
    }

    /// Gives the stream up, telling the peer this code.
    pub fn reset(&mut self, reason: Reason) {
        self.ended = true;
        self.stream.send_reset(reason);
    }

    /// Returns when the peer has reset the stream, or the connection is gone.
    pub async fn until_reset(&mut self) -> Fault {
        match poll_fn(|context| self.stream.poll_reset(context)).await {
            Ok(reason) => {
                self.reset = Some(reason);
                Fault::StreamReset
            }
            Err(error) => self.side.fault(&error),
        }
    }

    async fn gone(&mut self) -> Fault {
        // The library says that there will be no capacity; the reset tells why.
        if self.reset.is_some() { Fault::StreamReset } else { self.until_reset().await }
    }
}

impl BodySink for OutgoingBody {
    async fn data(&mut self, mut bytes: Bytes) -> Result<(), Fault> {
        if self.ended {
            // Bytes after the end: the message was longer than it said.
            return if bytes.is_empty() { Ok(()) } else { Err(self.side.malformed()) };
        }
        while !bytes.is_empty() {
            self.stream.reserve_capacity(bytes.len());
            let room = match self.stream.capacity() {
                0 => match poll_fn(|context| self.stream.poll_capacity(context)).await {
                    Some(Ok(room)) => room,
                    Some(Err(_)) | None => return Err(self.gone().await),
                },
                room => room,
            };
            let piece = bytes.split_to(room.min(bytes.len()));
            if self.stream.send_data(piece, false).is_err() {
                return Err(self.gone().await);
            }
        }
        Ok(())
    }

    async fn end(&mut self, trailers: Option<Headers>) -> Result<(), Fault> {
        if self.ended {
            return Ok(());
        }
        let trailers = trailers.filter(|trailers| !trailers.is_empty());
        let sent = match trailers {
            None => self.stream.send_data(Bytes::new(), true),
            Some(trailers) => {
                let malformed = if self.side == Side::Client { Side::Server } else { Side::Client }.malformed();
                self.stream.send_trailers(fields::trailers_towards_http2(&trailers, malformed)?)
            }
        };
        match sent {
            Ok(()) => {
                self.ended = true;
                Ok(())
            }
            Err(_) => Err(self.gone().await),
        }
    }
}

impl Drop for OutgoingBody {
    fn drop(&mut self) {
        if !self.ended {
            // The message was cut: saying so keeps the peer from taking it for whole.
            self.stream.send_reset(self.reset.unwrap_or(faults::reason(Fault::StreamReset)));
        }
    }
}

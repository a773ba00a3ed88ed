//! Where bodies come from and where they go: the seam between HTTP/1.1 and HTTP/2, towards clients
//! and towards servers.
//!
//! A source yields frames as they arrive; a sink passes them on at once. Neither waits for a body to
//! end (promise 4 of the design). Both run on one thread, so the futures need not be `Send`.

use bytes::Bytes;
use weir_engine::record::{Fault, Headers};

/// A piece of a body.
#[derive(Debug)]
pub enum Frame {
    /// Body bytes, transfer coding removed.
    Data(Bytes),
    /// The trailer section; nothing follows it.
    Trailers(Headers),
}

/// Yields a body piece by piece.
#[allow(async_fn_in_trait, reason = "used on one thread only; no Send bound is wanted")]
pub trait BodySource {
    /// The next piece; `None` at the end of the body.
    ///
    /// # Errors
    /// Why the body ended early.
    async fn frame(&mut self) -> Result<Option<Frame>, Fault>;

    /// Bytes still to come, when the message said so beforehand.
    fn remaining(&self) -> Option<u64>;
}

/// Takes a body piece by piece.
#[allow(async_fn_in_trait, reason = "used on one thread only; no Send bound is wanted")]
pub trait BodySink {
    /// Passes bytes on; returns when they are with the kernel (or within the stream's window).
    ///
    /// # Errors
    /// Why they could not be passed on.
    async fn data(&mut self, bytes: Bytes) -> Result<(), Fault>;

    /// Ends the body, with a trailer section where there was one.
    ///
    /// # Errors
    /// Why it could not be passed on.
    async fn end(&mut self, trailers: Option<Headers>) -> Result<(), Fault>;
}

//! Heads of requests and responses as both HTTP versions mean them (RFC 9110 §6).
//!
//! In: what the HTTP/1.1 parser or the HTTP/2 library found. Out: one form that the forwarding code
//! and the record share.

use bytestring::ByteString;
use weir_engine::record::{Headers, Protocol, Url};

/// A request head, with the request target resolved to a URL.
#[derive(Debug, Clone)]
pub struct RequestHead {
    /// Method, case as seen.
    pub method: ByteString,
    /// Complete URL.
    pub url: Url,
    /// `host` or `host:port` that goes into Host or `:authority`, as the client wrote it.
    pub authority: ByteString,
    /// Path and query as they go to the server (origin-form, or `*`).
    pub target: ByteString,
    /// Version the client used.
    pub protocol: Protocol,
    /// Field lines as seen, pseudo-headers left out.
    pub headers: Headers,
}

/// A response head.
#[derive(Debug, Clone)]
pub struct ResponseHead {
    /// Status code.
    pub status: u16,
    /// Reason phrase, HTTP/1.x only.
    pub reason: Option<ByteString>,
    /// Version the server used.
    pub protocol: Protocol,
    /// Field lines as seen, pseudo-headers left out.
    pub headers: Headers,
}

impl ResponseHead {
    /// Whether this is an interim response (RFC 9110 §15.2); 101 ends HTTP on the connection and is not one.
    #[must_use]
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }
}

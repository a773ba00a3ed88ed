//! HTTP on byte streams: heads, framing, bodies, and what connections are upgraded to.
//!
//! - [`sniff`]: does this look like HTTP at all?
//! - [`head`]: request and response heads, read as tolerantly as browsers and servers do.
//! - [`framing`]: where a body ends (RFC 9112 §6.3).
//! - [`chunked`]: the chunked transfer coding.
//! - [`raw_head`]: a head as it stood in the stream. [`half`]: one direction: heads and bodies one after another, over gaps.
//! - [`body`]: what is kept of a body.
//! - [`websocket`]: frames and messages, with permessage-deflate.
//! - [`http2`]: frames, streams and HPACK.
//!
//! In: pieces of a stream and gaps. Out: steps; nothing here knows of the other direction.

pub(crate) mod body;
pub(crate) mod chunked;
pub(crate) mod framing;
pub(crate) mod half;
pub(crate) mod head;
pub(crate) mod http2;
pub(crate) mod raw_head;
pub(crate) mod sniff;
pub(crate) mod websocket;

pub use body::BodyPolicy;

/// Bytes of a head at most.
pub(crate) const MAX_HEAD: usize = 1 << 20;
/// Field lines of a head at most; what is beyond is left out and flagged.
pub(crate) const MAX_FIELD_LINES: usize = 16_384;

//! HTTP/2 (RFC 9113): towards clients, towards servers, and its translation to and from HTTP/1.1.
//!
//! - [`limits`]: the bounds of everything below.
//! - [`faults`]: errors and error codes in weir's words.
//! - [`fields`]: heads and their translation.
//! - [`bodies`]: bodies with flow control.
//! - [`front`]: connections of clients.
//! - [`upstream`]: connections to servers; [`pool`]: which of them a request takes.
//! - [`relay`]: one exchange of an HTTP/2 client, request up and response down at once.
//!
//! The frames, HPACK and the states of streams are the `h2` library's.

pub mod bodies;
pub mod faults;
pub mod fields;
pub mod front;
pub mod limits;
pub mod pool;
pub mod relay;
pub mod upstream;

pub use limits::Http2Limits;

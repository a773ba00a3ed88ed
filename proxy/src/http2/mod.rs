//! HTTP/2 (RFC 9113): towards clients, towards servers, and its translation to and from HTTP/1.1.
//!
//! - [`limits`]: the bounds of everything below.
//! - [`faults`]: errors and error codes in weir's words.
//! - [`fields`]: heads and their translation.
//! - [`bodies`]: bodies with flow control.
//! - [`front`]: connections of clients.
//! - [`upstream`]: connections to servers; [`pool`]: which of them a request takes.
//! - [`relay`]: one exchange of an HTTP/2 client, request up and response down at once; over HTTP/1.1
//!   with `over_http1`, recorded with `recording`.
//! - [`links`]: the connection a request takes; [`serve()`](serve::serve): an intercepted connection.
//!
//! The frames, HPACK and the states of streams are the `h2` library's.

pub mod bodies;
mod counted;
pub mod faults;
pub mod fields;
pub mod front;
pub mod limits;
pub mod links;
mod over_http1;
pub mod pool;
mod recording;
pub mod relay;
pub mod serve;
pub mod upstream;

pub use limits::Http2Limits;

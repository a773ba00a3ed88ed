//! weir's load tools, as a library that the `weir` binary and the tests share.
//!
//! Each room imports only what stands above it:
//!
//! - [`error`]: what can go wrong, said as a sentence.
//! - [`synth`]: writes capture files of HTTP traffic whose truth is known, and spoils them on purpose.
//! - [`wire`]: the little of HTTP and WebSocket that both sides here speak by hand, without sockets.
//! - [`certificates`]: an authority for the origin, and whom the generator trusts.
//! - [`origin`]: a fast test server whose paths say how it answers.
//! - [`plan`]: requests made ready to be sent: from a URL, a scenario file or a captured session.
//! - [`run`], [`truth`]: the generator, one epoll loop a thread, closed and open loop, HTTP/1.1 and HTTP/2; and what was
//!   sent and what came back, as Parquet.
//! - [`verify`]: the truth held against a session.
//! - [`replay`]: a captured session sent again, and its answers compared.

pub mod certificates;
pub mod error;
pub mod origin;
pub mod plan;
pub mod replay;
pub mod run;
pub mod synth;
pub mod truth;
pub mod verify;
pub mod wire;

pub use error::LoadError;

/// The field that carries the number of a request, so that sender, server and capture can be joined:
/// eight hexadecimal digits of the run, a hyphen, sixteen of the request. The origin sends it back.
pub const ID_FIELD: &str = "x-weir-load-id";

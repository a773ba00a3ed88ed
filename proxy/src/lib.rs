//! weir's explicit HTTP(S) proxy: accepts clients, intercepts TLS, forwards first and records second.
//!
//! - [`message`]: heads of requests and responses, the words both HTTP versions share.
//! - [`ca`]: the certificate authority and the leaves it signs.
//! - [`setup`]: the set-up page, answered by the proxy itself.
//! - [`tls`]: TLS towards clients and servers.
//! - [`body`]: where bodies come from and where they go, the seam between HTTP/1.1 and HTTP/2.
//! - [`messages`]: event-stream and gRPC messages, tapped from bodies as they pass.
//! - [`http2`]: HTTP/2 towards clients and servers, and its translation.

pub mod body;
pub mod ca;
mod generations;
pub mod http2;
pub mod message;
pub mod messages;
pub mod setup;
pub mod tls;

//! weir's explicit HTTP(S) proxy: accepts clients, intercepts TLS, forwards first and records second.
//!
//! ```text
//! proxy ── worker (one a core) ── client ─┬─ http1 ── pool, origin, dial ── server
//!                                         ├─ hooks ── TLS, set-up page, HTTP/2
//!                                         └─ tunnel
//! ```
//!
//! - [`config`], [`failure`]: what the proxy is told, and what can go wrong.
//! - [`message`], [`body`]: heads and bodies, the words both HTTP versions share.
//! - [`stream`], [`watch`]: byte streams, and coarse deadlines for waiting on them.
//! - [`hooks`]: where TLS and the set-up page hook in.
//! - [`core`]: what the connections of one worker share; [`tee`]: what is kept of a body.
//! - [`dial`]: connections to servers.
//! - [`http1`]: HTTP/1.x towards both sides.
//! - [`tunnel`], [`websocket`]: bytes passed through, and what is read from them.
//! - [`ca`]: the certificate authority and the leaves it signs.
//! - [`tls`]: TLS towards clients and servers; [`setup`]: the set-up page, answered by the proxy itself.
//! - [`http2`]: HTTP/2 towards clients and servers, and its translation.
//! - [`messages`]: event-stream and gRPC messages, tapped from bodies as they pass.
//! - [`client`]: one connection of a client, and what CONNECT makes of it.
//! - [`proxy`]: the whole, started and stopped.

pub mod body;
pub mod ca;
pub mod client;
pub mod config;
pub mod core;
pub mod dial;
pub mod failure;
mod generations;
pub mod hooks;
pub mod http1;
pub mod http2;
pub mod message;
pub mod messages;
pub mod proxy;
pub mod setup;
pub mod stream;
pub mod tee;
pub mod tls;
pub mod tunnel;
pub mod watch;
pub mod websocket;
mod worker;

pub use config::ProxyConfig;
pub use failure::ProxyError;
pub use proxy::{Proxy, ProxyStatus};

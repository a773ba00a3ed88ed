//! HTTP/1.0 and HTTP/1.1 (RFC 9112) towards clients and servers.
//!
//! - [`fields`], [`head`], [`chunk`]: the grammar, without I/O: bytes in, checked types or a refusal out.
//! - [`wire`]: a connection with what was read ahead on it; [`body`]: bodies on it, in and out.
//! - [`serve`]: requests of a client, one after the other; [`route`]: where each goes, and what is refused.
//! - [`exchange`]: one request forwarded and its response passed back, both directions at once.
//! - [`row`]: the record of it.
//! - [`pool`], [`origin`]: connections to servers: kept, or made.
//! - [`page`]: responses weir makes itself.
//! - [`connect_via`], [`credentials`]: upstream proxies and credentials.

pub mod body;
pub mod chunk;
pub mod connect_via;
pub mod credentials;
pub mod exchange;
pub mod fields;
pub mod head;
pub mod origin;
pub mod page;
pub mod pool;
pub mod route;
pub mod row;
pub mod serve;
pub mod wire;

//! What the stories in `stories/` share: starting weir, clients and servers, and ending them.
//!
//! - [`process`]: a child process that cannot outlive its story.
//! - [`certs`]: an authority for test servers, with the certificates servers get wrong too.
//! - [`nginx`]: a real nginx over HTTP/1.1, HTTP/2, TLS 1.2 and 1.3, with files of many sizes and types.
//! - [`netns`]: two hosts in network namespaces, joined by a veth pair, with nginx on one of them.
//! - [`origin`]: the origin that misbehaves on request (`python/origin.py`).
//! - [`weir`]: `weir capture` in a home of its own, and the commands that answer from it.
//! - [`checks`]: what several stories hold against rows.
//! - [`node`]: programs of other people that run on Node, such as Newman.
//! - [`client`]: curl, Python and plain sockets through the proxy.
//!
//! The stories see weir from outside: its binary, its output, its files. The binary is the one that
//! `cargo test --workspace` put next to the test (see [`weir::binary`]).

pub mod certs;
pub mod checks;
pub mod client;
pub mod netns;
pub mod nginx;
pub mod node;
pub mod origin;
pub mod process;
pub mod weir;

pub use certs::Certificates;
pub use nginx::Nginx;
pub use origin::Origin;
pub use process::Process;
pub use weir::{Home, Weir};

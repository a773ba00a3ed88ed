//! The vocabulary of weir and the paths that need no async runtime.
//!
//! Data flows one way through these rooms; a room imports only what stands above it:
//!
//! - [`record`]: what weir keeps: exchanges, connections, messages, bodies, headers, URLs.
//! - `work`: work counted while tests run.
//! - [`content`]: content codings undone for viewing and export.
//! - [`cookie`]: Set-Cookie and Cookie read as browsers read them.
//! - [`ledger`]: what was seen, kept and dropped, and why.
//! - [`import`]: recordings of other programs (HAR) that become records.
//! - [`filter`]: the one filter language (SQL conditions over the columns of an exchange).
//! - [`pipeline`]: the bounded lock-free queue, the memory budget and the batches between
//!   whoever sees traffic and whoever stores it.
//!
//! The packet path is built on them; data flows through it in this order:
//!
//! - [`source`]: capture files to blocks of frames.
//! - `packet`: frames to TCP segments.
//! - `flow`: segments to byte streams in order, with gaps told.
//! - [`http`]: byte streams to messages.
//! - `pairing`: messages to exchanges.
//! - [`shard`]: all of it in one piece: frames in, records out.
//! - [`live`]: frames from the kernel into shards (Linux).

pub mod content;
pub mod cookie;
pub mod filter;
mod flow;
pub mod http;
pub mod import;
pub mod ledger;
#[cfg(target_os = "linux")]
pub mod live;
mod packet;
mod pairing;
pub mod pipeline;
pub mod record;
pub mod shard;
pub mod source;
mod work;

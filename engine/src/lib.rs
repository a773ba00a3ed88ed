//! The vocabulary of weir and the paths that need no async runtime.
//!
//! Data flows one way through these rooms; a room imports only what stands above it:
//!
//! - [`record`]: what weir keeps: exchanges, connections, messages, bodies, headers, URLs.
//! - [`content`]: content codings undone for viewing and export.
//! - [`ledger`]: what was seen, kept and dropped, and why.
//! - [`import`]: recordings of other programs (HAR) that become records.
//! - [`filter`]: the one filter language (SQL conditions over the columns of an exchange).
//! - [`pipeline`]: the bounded lock-free queue, the memory budget and the batches between
//!   whoever sees traffic and whoever stores it.

pub mod content;
pub mod filter;
pub mod import;
pub mod ledger;
pub mod pipeline;
pub mod record;

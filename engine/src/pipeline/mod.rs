//! Between whoever sees traffic and whoever stores it: bounded, lock-free, counted.
//!
//! - [`budget`]: one limit of bytes for queues, reassembly and open exchanges.
//! - [`queue`]: the bounded queue of batches, with back-pressure for async and blocking senders.
//! - [`outlet`]: one thread's end of it: gathers records into batches and hands them over.
//! - [`lane`]: large things from one thread to another.
//! - [`ids`]: numbers of exchanges and connections.
//!
//! ```text
//! proxy core / packet shard ── Outlet ──┐
//! proxy core / packet shard ── Outlet ──┼── Sender ═ queue ═ Receiver ── recorder thread
//! proxy core / packet shard ── Outlet ──┘
//! ```

pub mod budget;
pub mod ids;
pub mod lane;
pub mod outlet;
pub mod queue;

pub use budget::{Budget, Reservation};
pub use ids::Ids;
pub use outlet::{Outlet, WhenFull};
pub use queue::{Batch, Receiver, Sender, queue};

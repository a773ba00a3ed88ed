//! Numbers of exchanges and connections, unique and increasing within a session.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Hands out numbers from 1; shared by all threads of a capture.
#[derive(Debug, Default)]
pub struct Ids {
    exchange: AtomicU64,
    connection: AtomicU64,
}

impl Ids {
    /// The next exchange's number. Taken when its request begins, so that the order of ids is the
    /// order of starts.
    pub fn next_exchange(&self) -> u64 {
        self.exchange.fetch_add(1, Relaxed) + 1
    }

    /// The next connection's number.
    pub fn next_connection(&self) -> u64 {
        self.connection.fetch_add(1, Relaxed) + 1
    }
}

//! How far an import is: counts that the reading threads add to and the terminal shows.

use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// Shared by all threads of an import.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    read: AtomicU64,
    packets: AtomicU64,
    exchanges: AtomicU64,
    closing: AtomicBool,
    stop: AtomicBool,
}

impl Gauge {
    /// Bytes of the inputs as they lie on disk were read.
    pub(super) fn add_read(&self, bytes: u64) {
        self.read.fetch_add(bytes, Relaxed);
    }

    pub(super) fn read(&self) -> u64 {
        self.read.load(Relaxed)
    }

    pub(super) fn set_packets(&self, packets: u64) {
        self.packets.store(packets, Relaxed);
    }

    pub(super) fn packets(&self) -> u64 {
        self.packets.load(Relaxed)
    }

    pub(super) fn add_exchanges(&self, exchanges: u64) {
        self.exchanges.fetch_add(exchanges, Relaxed);
    }

    pub(super) fn exchanges(&self) -> u64 {
        self.exchanges.load(Relaxed)
    }

    /// Everything was read; what is left is written.
    pub(super) fn set_closing(&self) {
        self.closing.store(true, Relaxed);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Relaxed)
    }

    /// No more is to be read.
    pub(super) fn stop(&self) {
        self.stop.store(true, Release);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Acquire)
    }
}

//! The memory budget: one limit of bytes that queues, reassembly and open exchanges share
//! (promise 2 of the design).
//!
//! In: requests for bytes. Out: reservations that give them back when dropped.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// A limit of bytes, shared by clones.
#[derive(Debug, Clone)]
pub struct Budget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limit: usize,
    used: AtomicUsize,
}

impl Budget {
    /// A budget of `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { shared: Arc::new(Shared { limit, used: AtomicUsize::new(0) }) }
    }

    /// Takes `bytes` when they are there, else `None`.
    #[must_use]
    pub fn reserve(&self, bytes: usize) -> Option<Reservation> {
        self.shared.take(bytes).then(|| Reservation { shared: Arc::clone(&self.shared), bytes })
    }

    /// A reservation of nothing, to be grown.
    #[must_use]
    pub fn empty(&self) -> Reservation {
        Reservation { shared: Arc::clone(&self.shared), bytes: 0 }
    }

    /// Bytes taken.
    #[must_use]
    pub fn used(&self) -> usize {
        self.shared.used.load(Relaxed)
    }

    /// Bytes there are in all.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.shared.limit
    }
}

impl Shared {
    fn take(&self, bytes: usize) -> bool {
        // Add first, give back when over: one uncontended atomic in the common case.
        let before = self.used.fetch_add(bytes, Relaxed);
        if before.saturating_add(bytes) <= self.limit {
            return true;
        }
        self.used.fetch_sub(bytes, Relaxed);
        false
    }
}

/// Bytes taken from a [`Budget`], given back when this is dropped.
#[derive(Debug)]
pub struct Reservation {
    shared: Arc<Shared>,
    bytes: usize,
}

impl Reservation {
    /// Takes `more` bytes too; `false` (and nothing taken) when they are not there.
    #[must_use]
    pub fn grow(&mut self, more: usize) -> bool {
        let granted = self.shared.take(more);
        if granted {
            self.bytes += more;
        }
        granted
    }

    /// Gives bytes back; more than are held is all of them.
    pub fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.shared.used.fetch_sub(bytes, Relaxed);
    }

    /// Takes over the bytes of another reservation of the same budget.
    pub fn absorb(&mut self, mut other: Self) {
        debug_assert!(Arc::ptr_eq(&self.shared, &other.shared), "reservations of one budget");
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shared.used.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_grants_more_than_the_limit() {
        let budget = Budget::new(100);
        let mut first = budget.reserve(60).expect("fits");
        assert!(budget.reserve(41).is_none());
        assert!(first.grow(40));
        assert!(!first.grow(1));
        assert_eq!((budget.used(), first.bytes()), (100, 100));
        let mut other = budget.empty();
        other.absorb(first);
        assert_eq!((budget.used(), other.bytes()), (100, 100));
        other.shrink(30);
        assert_eq!((budget.used(), other.bytes()), (70, 70));
        let first = other;
        drop(first);
        assert_eq!(budget.used(), 0);
    }
}

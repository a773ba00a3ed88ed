//! The end of a capture, which ends waits for frames too.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::atomic::{
        AtomicBool,
        Ordering::{Acquire, Release},
    },
};

use rustix::event::{EventfdFlags, eventfd};

/// Says to threads that they are to stop; whoever waits for descriptors waits for this one too (eventfd(2)).
#[derive(Debug)]
pub struct Stop {
    stopped: AtomicBool,
    event: OwnedFd,
}

impl Stop {
    /// Not yet.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { stopped: AtomicBool::new(false), event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }

    /// Now. The descriptor stays readable.
    pub fn stop(&self) {
        self.stopped.store(true, Release);
        // It fails only where it was written before.
        let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
    }

    /// Whether it was said.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Acquire)
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

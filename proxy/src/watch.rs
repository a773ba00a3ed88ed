//! Coarse deadlines without timers: each connection has a cell with its deadline, and the worker's
//! tick wakes the tasks whose deadline has passed.
//!
//! In: the worker's clock in milliseconds, deadlines set by connections. Out: [`Interrupt`]s to tasks
//! that wait. Setting a deadline is one store; nothing is registered for a request.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

/// Why waiting ended without what was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// The deadline passed.
    Deadline,
    /// weir is being stopped, and the connection is idle or the grace is over.
    Stopped,
}

const NEVER: u64 = u64::MAX;

/// How far a stop has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopPhase {
    /// Running.
    Running,
    /// Idle connections close, exchanges may end.
    Draining,
    /// Everything is cut.
    Cut,
}

/// The worker's clock and the watches of its connections.
#[derive(Debug)]
pub struct Watches {
    now_ms: Cell<u64>,
    phase: Cell<StopPhase>,
    all: RefCell<Vec<Weak<Watch>>>,
}

impl Default for Watches {
    fn default() -> Self {
        Self { now_ms: Cell::new(0), phase: Cell::new(StopPhase::Running), all: RefCell::default() }
    }
}

impl Watches {
    /// Milliseconds since the worker started, as of the last tick.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// How far a stop has come.
    #[must_use]
    pub fn phase(&self) -> StopPhase {
        self.phase.get()
    }

    /// A new watch, without a deadline.
    #[must_use]
    pub fn watch(self: &Rc<Self>) -> Rc<Watch> {
        let watch = Rc::new(Watch {
            watches: Rc::clone(self),
            deadline_ms: Cell::new(NEVER),
            idle: Cell::new(false),
            waker: RefCell::new(None),
        });
        self.all.borrow_mut().push(Rc::downgrade(&watch));
        watch
    }

    /// Moves the clock and wakes whoever is over its deadline.
    pub fn tick(&self, now_ms: u64) {
        self.now_ms.set(now_ms);
        self.wake(|watch| watch.interrupt().is_some());
    }

    /// Moves the stop on and wakes whom it concerns.
    pub fn stop(&self, phase: StopPhase) {
        self.phase.set(phase);
        self.wake(|watch| watch.interrupt().is_some());
    }

    fn wake(&self, due: impl Fn(&Watch) -> bool) {
        let mut wakers = Vec::new();
        self.all.borrow_mut().retain(|weak| {
            let Some(watch) = weak.upgrade() else { return false };
            if due(&watch) {
                wakers.extend(watch.waker.borrow_mut().take());
            }
            true
        });
        for waker in wakers {
            waker.wake();
        }
    }
}

/// The deadline of one connection.
#[derive(Debug)]
pub struct Watch {
    watches: Rc<Watches>,
    deadline_ms: Cell<u64>,
    idle: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Watch {
    /// Sets the deadline to `after` from now, in the middle of an exchange.
    pub fn arm(&self, after: Duration) {
        self.set(after, false);
    }

    /// Sets the deadline to `after` from now, between exchanges: a stop ends the wait at once.
    pub fn arm_idle(&self, after: Duration) {
        self.set(after, true);
    }

    fn set(&self, after: Duration, idle: bool) {
        let after = u64::try_from(after.as_millis()).unwrap_or(NEVER);
        self.deadline_ms.set(self.watches.now_ms.get().saturating_add(after));
        self.idle.set(idle);
    }

    /// Takes the deadline away.
    pub fn disarm(&self) {
        self.deadline_ms.set(NEVER);
        self.idle.set(false);
    }

    /// Whether the wait is over, as of the last tick.
    #[must_use]
    pub fn interrupt(&self) -> Option<Interrupt> {
        match self.watches.phase.get() {
            StopPhase::Cut => return Some(Interrupt::Stopped),
            StopPhase::Draining if self.idle.get() => return Some(Interrupt::Stopped),
            _ => {}
        }
        (self.deadline_ms.get() <= self.watches.now_ms.get()).then_some(Interrupt::Deadline)
    }

    /// To be polled whenever what is waited for is pending: ready when the wait is over.
    pub fn poll_interrupt(&self, cx: &Context<'_>) -> Poll<Interrupt> {
        if let Some(interrupt) = self.interrupt() {
            return Poll::Ready(interrupt);
        }
        let mut waker = self.waker.borrow_mut();
        match &*waker {
            Some(known) if known.will_wake(cx.waker()) => {}
            _ => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Awaits a future, or the end of the wait.
    ///
    /// # Errors
    /// Why the wait ended first.
    pub async fn guard<T>(&self, future: impl Future<Output = T>) -> Result<T, Interrupt> {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Ok(value)),
            Poll::Pending => self.poll_interrupt(cx).map(Err),
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_and_stops() {
        let watches = Rc::new(Watches::default());
        let watch = watches.watch();
        assert_eq!(watch.interrupt(), None);
        watch.arm(Duration::from_millis(200));
        watches.tick(199);
        assert_eq!(watch.interrupt(), None);
        watches.tick(200);
        assert_eq!(watch.interrupt(), Some(Interrupt::Deadline));
        watch.disarm();
        watches.stop(StopPhase::Draining);
        assert_eq!(watch.interrupt(), None);
        watch.arm_idle(Duration::from_secs(1));
        assert_eq!(watch.interrupt(), Some(Interrupt::Stopped));
        watch.arm(Duration::from_secs(1));
        watches.stop(StopPhase::Cut);
        assert_eq!(watch.interrupt(), Some(Interrupt::Stopped));
    }
}

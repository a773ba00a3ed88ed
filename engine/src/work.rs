//! Work counted while tests run, so that they can tell linear from quadratic without a clock.
//!
//! In: bytes looked at and entries walked over, told where loops depend on what came from outside. Out: their
//! sum in this thread. Outside of tests nothing is counted and nothing remains of the calls.

#[cfg(test)]
thread_local! {
    static DONE: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// So many bytes or entries were looked at.
#[inline(always)]
pub(crate) fn done(steps: usize) {
    #[cfg(test)]
    DONE.with(|done| done.set(done.get() + steps as u64));
    #[cfg(not(test))]
    let _ = steps;
}

/// The work that `task` does.
#[cfg(test)]
pub(crate) fn of(task: impl FnOnce()) -> u64 {
    let before = DONE.with(std::cell::Cell::get);
    task();
    DONE.with(std::cell::Cell::get) - before
}

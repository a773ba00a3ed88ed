//! A bounded lane for large things from one thread to another: blocks of frames, columns to be written.
//!
//! Who waits sleeps at once. The channels of crossbeam look again several times first and yield the processor
//! each time, which on a busy core costs a turn of all others at every block: an import that takes 1 s took 66.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    senders: usize,
    receiver: bool,
}

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    capacity: usize,
    changed: Condvar,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end that items go in at.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

/// The end that they come out at.
#[derive(Debug)]
pub struct Receiver<T>(Arc<Shared<T>>);

/// What waiting for an item came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<T> {
    /// An item.
    Item(T),
    /// None came in time.
    TimedOut,
    /// All senders are gone, and there are no more items.
    Ended,
}

/// A lane for `capacity` items.
#[must_use]
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let state = State { items: VecDeque::with_capacity(capacity), senders: 1, receiver: true };
    let shared = Arc::new(Shared { state: Mutex::new(state), capacity, changed: Condvar::new() });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

impl<T> Sender<T> {
    /// Waits for room.
    ///
    /// # Errors
    /// The item, when nobody takes any more.
    pub fn send(&self, item: T) -> Result<(), T> {
        let full = |state: &mut State<T>| state.receiver && state.items.len() >= self.0.capacity;
        let mut state = self.0.changed.wait_while(self.0.lock(), full).unwrap_or_else(PoisonError::into_inner);
        if !state.receiver {
            return Err(item);
        }
        state.items.push_back(item);
        drop(state);
        self.0.changed.notify_all();
        Ok(())
    }
}

impl<T> Receiver<T> {
    /// Waits for the next item; `None`: all senders are gone.
    #[must_use]
    pub fn recv(&self) -> Option<T> {
        let empty = |state: &mut State<T>| state.items.is_empty() && state.senders > 0;
        let mut state = self.0.changed.wait_while(self.0.lock(), empty).unwrap_or_else(PoisonError::into_inner);
        let item = state.items.pop_front();
        drop(state);
        self.0.changed.notify_all();
        item
    }

    /// Waits for the next item, so long at most.
    #[must_use]
    pub fn recv_timeout(&self, timeout: Duration) -> Received<T> {
        let empty = |state: &mut State<T>| state.items.is_empty() && state.senders > 0;
        let waited = self.0.changed.wait_timeout_while(self.0.lock(), timeout, empty);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let Some(item) = state.items.pop_front() else {
            return if state.senders == 0 { Received::Ended } else { Received::TimedOut };
        };
        drop(state);
        self.0.changed.notify_all();
        Received::Item(item)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.lock().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.lock().senders -= 1;
        self.0.changed.notify_all();
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.receiver = false;
        let items = std::mem::take(&mut state.items);
        drop(state);
        // What they own is dropped outside of the lock: it may be an end of another lane.
        drop(items);
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn everything_arrives_in_order_and_both_ends_hear_of_the_other() {
        let (sender, receiver) = bounded(2);
        let other = sender.clone();
        let sending = thread::spawn(move || (0..10_000).try_for_each(|number| sender.send(number)));
        drop(other);
        for number in 0..10_000 {
            assert_eq!(receiver.recv(), Some(number));
        }
        assert_eq!(sending.join().expect("ends"), Ok(()));
        assert_eq!(receiver.recv(), None);
        assert_eq!(receiver.recv_timeout(Duration::from_secs(600)), Received::Ended);
        let (sender, receiver) = bounded(1);
        assert_eq!(receiver.recv_timeout(Duration::ZERO), Received::TimedOut);
        assert_eq!(sender.send(0), Ok(()));
        assert_eq!(receiver.recv_timeout(Duration::from_secs(600)), Received::Item(0));
        assert_eq!(sender.send(1), Ok(()));
        let waiting = thread::spawn(move || sender.send(2));
        drop(receiver);
        assert_eq!(waiting.join().expect("ends"), Err(2));
    }
}

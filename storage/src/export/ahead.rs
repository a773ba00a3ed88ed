//! Exchanges read ahead: the feed on a thread of its own, while the format writes what came before.
//!
//! In: a [`Feed`]. Out: its exchanges in their order. So much is read ahead and no more, counted in bytes: the lanes of
//! [`weir_engine::pipeline`] count items, and one exchange may be as large as a thousand others.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
};

use super::{
    feed::{Feed, Item},
    report::Report,
};
use crate::error::StorageError;

/// Exchanges handed over together at most.
const LOT_ITEMS: usize = 64;
/// Bytes of them, about.
const LOT_BYTES: usize = 1 << 20;
/// Bytes that are read and not yet written, about; one exchange may be larger.
const MAX_BYTES: usize = 6 << 20;

/// Bytes on their way from the reader to the writer.
#[derive(Default)]
struct Flight {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    bytes: usize,
    is_over: bool,
}

impl Flight {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing is half done under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room. Returns whether anybody still wants more.
    fn take_off(&self, bytes: usize) -> bool {
        let is_full = |state: &mut State| state.bytes > MAX_BYTES && !state.is_over;
        let mut state = self.changed.wait_while(self.lock(), is_full).unwrap_or_else(PoisonError::into_inner);
        state.bytes += bytes;
        !state.is_over
    }

    fn land(&self, bytes: usize) {
        self.lock().bytes -= bytes;
        self.changed.notify_one();
    }
}

/// Ends the flight when the writer goes, whatever the way it goes.
struct Over<'a>(&'a Flight);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.lock().is_over = true;
        self.0.changed.notify_one();
    }
}

/// Hands each exchange of a feed to `write`, in order; `report` then holds what the feed counted, too.
pub(super) fn for_each(
    feed: Feed,
    report: &mut Report,
    mut write: impl FnMut(Item, &mut Report) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let flight = Flight::default();
    let (sender, lots) = mpsc::channel();
    let counted = thread::scope(|scope| {
        let _over = Over(&flight);
        let flight = &flight;
        let reader = scope.spawn(move || read(feed, &sender, flight));
        for (bytes, lot) in lots {
            for item in lot {
                write(item, report)?;
            }
            flight.land(bytes);
        }
        reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    report.add(counted);
    Ok(())
}

type Lot = (usize, Vec<Item>);

/// Reads until the end, or until nobody wants more.
fn read(mut feed: Feed, lots: &mpsc::Sender<Lot>, flight: &Flight) -> Result<Report, StorageError> {
    let mut report = Report::default();
    let (mut lot, mut bytes) = (Vec::with_capacity(LOT_ITEMS), 0);
    loop {
        let item = feed.next(&mut report)?;
        let is_last = item.is_none();
        if let Some(item) = item {
            bytes += item.size();
            lot.push(item);
        }
        if is_last || lot.len() >= LOT_ITEMS || bytes >= LOT_BYTES {
            let full = std::mem::replace(&mut lot, Vec::with_capacity(LOT_ITEMS));
            let wanted = flight.take_off(bytes) && lots.send((bytes, full)).is_ok();
            if is_last || !wanted {
                return Ok(report);
            }
            bytes = 0;
        }
    }
}

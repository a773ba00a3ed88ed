//! The timer wheel: places to look at again at a packet time. Lazy: entries are not moved when a
//! deadline moves, they are looked at when they come up.
//!
//! In: places with the tick they want. Out: the places whose tick has come.

/// Length of a tick, about 8.4 ms.
const TICK_SHIFT: u32 = 23;
/// Ticks ahead that can be told apart, about 34 s; what is later comes up then and is put in again.
const SLOTS: u64 = 4_096;

/// A place with its tick; the flow remembers the tick, so that stale entries are recognised.
pub(crate) type Due = (u32, u64);

#[derive(Debug)]
pub(crate) struct Wheel {
    slots: Vec<Vec<Due>>,
    now: u64,
    started: bool,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        Self { slots: vec![Vec::new(); SLOTS as usize], now: 0, started: false }
    }

    /// The tick of a time, at the next boundary.
    pub(crate) fn tick_at(time_ns: i64) -> u64 {
        (time_ns.max(0) as u64 >> TICK_SHIFT) + 1
    }

    /// Puts a place in; returns the tick it will come up at.
    pub(crate) fn schedule(&mut self, place: u32, tick: u64) -> u64 {
        let tick = tick.clamp(self.now + 1, self.now + SLOTS - 1);
        self.slots[(tick % SLOTS) as usize].push((place, tick));
        tick
    }

    /// Whether a new tick has begun at a time.
    pub(crate) fn has_turned(&self, time_ns: i64) -> bool {
        !self.started || time_ns.max(0) as u64 >> TICK_SHIFT > self.now
    }

    /// Moves on to a time; what came up is added to `due`. Time that goes back is ignored.
    pub(crate) fn advance(&mut self, time_ns: i64, due: &mut Vec<Due>) {
        let target = time_ns.max(0) as u64 >> TICK_SHIFT;
        if !self.started {
            self.started = true;
            self.now = target;
        }
        if target <= self.now {
            return;
        }
        // Beyond one turn every slot has come up.
        let steps = (target - self.now).min(SLOTS);
        for step in 1..=steps {
            due.append(&mut self.slots[((self.now + step) % SLOTS) as usize]);
        }
        self.now = target;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_up_when_due() {
        let (mut wheel, mut due) = (Wheel::new(), Vec::new());
        let start = 1_700_000_000_000_000_000;
        wheel.advance(start, &mut due);
        let tick = wheel.schedule(7, Wheel::tick_at(start + 100_000_000));
        wheel.advance(start + 90_000_000, &mut due);
        assert!(due.is_empty());
        wheel.advance(start - 5, &mut due);
        wheel.advance(start + 110_000_000, &mut due);
        assert_eq!(due, [(7, tick)]);
        due.clear();
        wheel.schedule(8, Wheel::tick_at(start + 3_600_000_000_000));
        wheel.advance(start + 50_000_000_000, &mut due);
        assert_eq!(due.len(), 1, "far deadlines come up early and are put in again");
    }
}

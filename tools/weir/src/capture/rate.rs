//! How many a second, over the last few seconds.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The time a rate looks back.
const WINDOW: Duration = Duration::from_secs(3);

/// Turns a growing count into a rate. Time comes in with the count.
#[derive(Debug, Default)]
pub(crate) struct RateMeter {
    samples: VecDeque<(Instant, u64)>,
}

impl RateMeter {
    /// Notes that the count was `count` at `now`.
    pub(crate) fn note(&mut self, now: Instant, count: u64) {
        self.samples.push_back((now, count));
        // The first one kept is the last one at least a window old.
        while self.samples.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            self.samples.pop_front();
        }
    }

    /// Per second.
    pub(crate) fn per_second(&self) -> f64 {
        match (self.samples.front(), self.samples.back()) {
            (Some((from, first)), Some((to, last))) if to > from => {
                last.saturating_sub(*first) as f64 / to.duration_since(*from).as_secs_f64()
            }
            _ => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_last_seconds_only() {
        let start = Instant::now();
        let mut meter = RateMeter::default();
        assert_eq!(meter.per_second(), 0.0);
        for second in 0..10 {
            meter.note(start + Duration::from_secs(second), second * 100);
        }
        assert_eq!(meter.per_second(), 100.0);
        for second in 10..15 {
            meter.note(start + Duration::from_secs(second), 900);
        }
        assert_eq!(meter.per_second(), 0.0);
        assert!(meter.samples.len() <= 5);
    }
}

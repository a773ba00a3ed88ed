//! When requests of an open loop are due: a schedule that knows nothing of the answers.

/// How requests come in an open loop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arrivals {
    /// At equal distances.
    Constant,
    /// Independent of each other: a Poisson process.
    Poisson,
}

/// The times of one thread.
pub(super) struct Pace {
    arrivals: Arrivals,
    gap_ns: f64,
    next_ns: f64,
    random: Random,
}

impl Pace {
    /// `rate` requests a second over all threads, of which this is number `part` of `parts`.
    pub(super) fn new(arrivals: Arrivals, rate: f64, part: usize, parts: usize, seed: u64) -> Self {
        let gap_ns = 1e9 * parts as f64 / rate;
        let mut pace = Self { arrivals, gap_ns, next_ns: 0.0, random: Random::new(seed ^ part as u64) };
        match arrivals {
            // The threads take turns.
            Arrivals::Constant => pace.next_ns = gap_ns * part as f64 / parts as f64,
            Arrivals::Poisson => pace.take(),
        }
        pace
    }

    /// When the next is due, in nanoseconds since the begin.
    pub(super) fn next(&self) -> u64 {
        self.next_ns as u64
    }

    /// Goes on to the one behind it.
    pub(super) fn take(&mut self) {
        self.next_ns += match self.arrivals {
            Arrivals::Constant => self.gap_ns,
            Arrivals::Poisson => -(1.0 - self.random.share()).ln() * self.gap_ns,
        };
    }
}

/// SplitMix64.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678_9abc_def1))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }

    /// From 0 to below 1.
    pub(super) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_in_turns() {
        let mut times: Vec<u64> = Vec::new();
        for part in 0..2 {
            let mut pace = Pace::new(Arrivals::Constant, 1_000.0, part, 2, 1);
            for _ in 0..3 {
                times.push(pace.next());
                pace.take();
            }
        }
        times.sort_unstable();
        assert_eq!(times, [0, 1_000_000, 2_000_000, 3_000_000, 4_000_000, 5_000_000]);
    }

    #[test]
    fn poisson_has_its_rate_and_its_variance() {
        let mut pace = Pace::new(Arrivals::Poisson, 1_000.0, 0, 1, 7);
        let (mut before, mut sum, mut squares, count) = (0.0, 0.0, 0.0, 100_000);
        for _ in 0..count {
            let gap = pace.next_ns - before;
            before = pace.next_ns;
            (sum, squares) = (sum + gap, squares + gap * gap);
            pace.take();
        }
        let mean = sum / f64::from(count);
        let deviation = (squares / f64::from(count) - mean * mean).sqrt();
        assert!((mean / 1e6 - 1.0).abs() < 0.02, "{mean}");
        assert!((deviation / 1e6 - 1.0).abs() < 0.03, "{deviation}");
    }
}

//! A mergeable histogram of durations: log-linear buckets, 32 to each power of two, so that what it
//! answers is at most 1.6 % off.

/// Sub-buckets of a power of two, as a power of two.
const SUB_BITS: u32 = 5;
const SUB: u64 = 1 << SUB_BITS;

/// The bucket of a value: below 64 one value a bucket, then 32 buckets to each power of two.
#[must_use]
pub fn bucket(value: u64) -> u16 {
    let shift = (63 - (value | SUB).leading_zeros()) - SUB_BITS;
    // At most 58 * 32 + 63.
    ((u64::from(shift) << SUB_BITS) + (value >> shift)) as u16
}

/// The middle of a bucket.
#[must_use]
pub fn middle(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    let shift = (bucket >> SUB_BITS).saturating_sub(1).min(58);
    let low = (bucket - (shift << SUB_BITS)) << shift;
    low.saturating_add(((1_u64 << shift) - 1) / 2)
}

/// Counts by bucket; only buckets that hold something are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Bucket and count, by bucket.
    cells: Vec<(u16, u64)>,
}

impl Histogram {
    /// From buckets with their counts, in any order, none twice.
    #[must_use]
    pub fn from_cells(mut cells: Vec<(u16, u64)>) -> Self {
        cells.sort_unstable();
        Self { cells }
    }

    /// Buckets with their counts, by bucket.
    #[must_use]
    pub fn cells(&self) -> &[(u16, u64)] {
        &self.cells
    }

    /// Adds one value.
    pub fn record(&mut self, value: u64) {
        let bucket = bucket(value);
        match self.cells.binary_search_by_key(&bucket, |cell| cell.0) {
            Ok(at) => self.cells[at].1 += 1,
            Err(at) => self.cells.insert(at, (bucket, 1)),
        }
    }

    /// How many values there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.cells.iter().map(|cell| cell.1).sum()
    }

    /// Adds the counts of another histogram.
    pub fn merge(&mut self, other: &Self) {
        let mut merged = Vec::with_capacity(self.cells.len() + other.cells.len());
        let (mut mine, mut theirs) = (self.cells.iter().copied().peekable(), other.cells.iter().copied().peekable());
        while let (Some(a), Some(b)) = (mine.peek().copied(), theirs.peek().copied()) {
            if a.0 <= b.0 {
                mine.next();
            }
            if b.0 <= a.0 {
                theirs.next();
            }
            merged.push(match a.0.cmp(&b.0) {
                std::cmp::Ordering::Less => a,
                std::cmp::Ordering::Greater => b,
                std::cmp::Ordering::Equal => (a.0, a.1 + b.1),
            });
        }
        merged.extend(mine);
        merged.extend(theirs);
        self.cells = merged;
    }

    /// The value that `quantile` (0 to 1) of all values do not pass; `None` when there are none.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<u64> {
        let count = self.count();
        let rank = ((quantile.clamp(0.0, 1.0) * count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        self.cells.iter().find_map(|&(bucket, count)| {
            seen += count;
            (seen >= rank).then(|| middle(bucket))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_ordered_and_within_two_percent() {
        let mut value = 0_u64;
        let mut last = 0;
        while value < u64::MAX / 3 {
            let bucket = bucket(value);
            assert!(bucket >= last);
            last = bucket;
            let error = middle(bucket).abs_diff(value) as f64 / value.max(1) as f64;
            assert!(error <= 0.016, "{value}: {error}");
            value = value + value / 7 + 1;
        }
        assert!(middle(bucket(u64::MAX)) > u64::MAX / 64 * 63);
    }

    #[test]
    fn merged_is_as_if_recorded_in_one() {
        let (mut even, mut odd, mut all) = (Histogram::default(), Histogram::default(), Histogram::default());
        for value in 1..=10_000 {
            if value % 2 == 0 { &mut even } else { &mut odd }.record(value);
            all.record(value);
        }
        even.merge(&odd);
        assert_eq!(even, all);
        for (quantile, right) in [(0.0, 1.0), (0.5, 5_000.0), (0.99, 9_900.0), (1.0, 10_000.0)] {
            let answer = all.quantile(quantile).expect("has values") as f64;
            assert!((answer - right).abs() <= right * 0.016, "{quantile}: {answer}");
        }
        assert_eq!(Histogram::default().quantile(0.5), None);
    }
}

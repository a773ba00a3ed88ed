//! What networks and taps do to segments: loss (uniform, in bursts, of one direction), reordering,
//! duplication, retransmission that overlaps.
//!
//! In: segments in the order of time. Out: the same, spoilt; the data itself is never changed.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::{random::Random, segments::Segment};

/// Whose segments are spoilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// Both sides'.
    #[default]
    Both,
    /// The client's only.
    Client,
    /// The server's only.
    Server,
}

/// What is done to the segments. Shares are of segments, 0 to 1.
#[derive(Debug, Clone, Default)]
pub struct Spoil {
    /// Share lost by the tap (the receiver had them: acknowledgements go on).
    pub lost: f64,
    /// Segments lost together, on average; 0 and 1: one by one.
    pub burst: u64,
    /// Whose segments are lost.
    pub direction: Direction,
    /// Share that changes place with one of the next few of its connection.
    pub reordered: f64,
    /// Share seen twice.
    pub duplicated: f64,
    /// Share sent once more together with bytes before it.
    pub overlapped: f64,
}

/// Segments held back for reordering at most.
const HELD: usize = 8;

/// Spoils segments.
#[derive(Debug)]
pub struct Spoiler {
    spoil: Spoil,
    random: Random,
    losing: u64,
    held: VecDeque<(usize, Segment)>,
    last: HashMap<(u64, bool), (u32, Bytes)>,
    /// Segments that were lost.
    pub lost: u64,
}

impl Spoiler {
    /// A spoiler with its own seed.
    #[must_use]
    pub fn new(spoil: Spoil, seed: u64) -> Self {
        Self { spoil, random: Random::new(seed), losing: 0, held: VecDeque::new(), last: HashMap::new(), lost: 0 }
    }

    /// Takes the next segment and gives what the tap saw, in its order.
    pub fn pass(&mut self, segment: Segment, mut out: impl FnMut(Segment)) {
        if self.loses(&segment) {
            self.lost += 1;
            return;
        }
        let time_ns = segment.time_ns;
        if self.random.chance(self.spoil.overlapped)
            && let Some(overlapping) = self.overlapping(&segment)
        {
            out(overlapping);
        }
        if self.spoil.overlapped > 0.0 && !segment.payload.is_empty() {
            self.last.insert((segment.connection, segment.from_client), (segment.sequence, segment.payload.clone()));
        }
        if self.random.chance(self.spoil.duplicated) {
            out(segment.clone());
        }
        if self.held.len() < HELD && self.random.chance(self.spoil.reordered) {
            let after = self.random.between(1, 4) as usize;
            self.held.push_back((after, segment));
            return;
        }
        out(segment);
        for (after, _) in &mut self.held {
            *after = after.saturating_sub(1);
        }
        while let Some((0, _)) = self.held.front() {
            if let Some((_, mut late)) = self.held.pop_front() {
                late.time_ns = time_ns;
                out(late);
            }
        }
    }

    /// Gives what is still held back.
    pub fn finish(&mut self, mut out: impl FnMut(Segment)) {
        for (_, segment) in self.held.drain(..) {
            out(segment);
        }
    }

    fn loses(&mut self, segment: &Segment) -> bool {
        let concerned = match self.spoil.direction {
            Direction::Both => true,
            Direction::Client => segment.from_client,
            Direction::Server => !segment.from_client,
        };
        if !concerned {
            return false;
        }
        if self.losing > 0 {
            self.losing -= 1;
            return true;
        }
        let burst = self.spoil.burst.max(1);
        if self.random.chance(self.spoil.lost / burst as f64) {
            self.losing = burst - 1;
            return true;
        }
        false
    }

    /// The segment together with some bytes of the one before it, as a retransmission sends them.
    fn overlapping(&mut self, segment: &Segment) -> Option<Segment> {
        let (sequence, before) = self.last.get(&(segment.connection, segment.from_client))?;
        let follows = sequence.wrapping_add(before.len() as u32) == segment.sequence;
        if !follows || segment.payload.is_empty() || before.len() + segment.payload.len() > 60_000 {
            return None;
        }
        let back = self.random.between(1, before.len() as u64) as usize;
        let mut payload = before[before.len() - back..].to_vec();
        let more = self.random.between(0, segment.payload.len() as u64) as usize;
        payload.extend_from_slice(&segment.payload[..more]);
        let sequence = segment.sequence.wrapping_sub(back as u32);
        Some(Segment { sequence, payload: payload.into(), ..segment.clone() })
    }
}

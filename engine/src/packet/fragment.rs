//! Reassembly of IP fragments: bounded in number, bytes and time; the first of overlapping bytes wins.
//!
//! In: fragments. Out: whole datagrams, and counts of what overlapped or never became whole.

use std::collections::{HashMap, VecDeque};

use super::{
    Address,
    ipv4::{Datagram, Fragment},
};

/// Datagrams under way at most.
const MAX_DATAGRAMS: usize = 1_024;
/// Bytes a datagram can have.
const MAX_BYTES: usize = 65_535;
/// Pieces a datagram may come in.
const MAX_PIECES: usize = 1_024;
/// How long pieces are waited for, in packet time.
const TIMEOUT_NS: i64 = 30_000_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    source: Address,
    destination: Address,
    identification: u32,
    protocol: u8,
}

#[derive(Debug)]
struct Partial {
    begun_ns: i64,
    serial: u64,
    bytes: Vec<u8>,
    /// Ranges that are there, in order, not touching.
    have: Vec<(usize, usize)>,
    total: Option<usize>,
    frames: u64,
}

/// What became of a fragment.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Kept.
    Waiting,
    /// It was the last one missing.
    Whole { protocol: u8, bytes: Vec<u8>, frames: u64 },
}

/// Counts of reassembly.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Frames whose fragments overlapped others.
    pub(crate) overlaps: u64,
    /// Frames given up: the rest never came.
    pub(crate) incomplete: u64,
    /// Frames that wait.
    pub(crate) waiting: u64,
}

/// All datagrams under way.
#[derive(Debug, Default)]
pub(crate) struct Fragments {
    partials: HashMap<Key, Partial>,
    /// In the order they began; entries whose serial is gone are stale.
    order: VecDeque<(Key, u64)>,
    serial: u64,
    pub(crate) counts: Counts,
}

impl Fragments {
    pub(crate) fn add(&mut self, time_ns: i64, datagram: &Datagram<'_>, fragment: Fragment) -> Outcome {
        self.expire(time_ns);
        let key = Key {
            source: datagram.source,
            destination: datagram.destination,
            identification: fragment.identification,
            protocol: datagram.protocol,
        };
        let end = fragment.offset + datagram.payload.len();
        self.counts.waiting += 1;
        let serial = &mut self.serial;
        let order = &mut self.order;
        let partial = self.partials.entry(key).or_insert_with(|| {
            *serial += 1;
            order.push_back((key, *serial));
            let bytes = Vec::with_capacity(4_096);
            Partial { begun_ns: time_ns, serial: *serial, bytes, have: Vec::new(), total: None, frames: 0 }
        });
        partial.frames += 1;
        // A cut fragment can never become whole; impossible lengths neither.
        if end > MAX_BYTES || datagram.cut > 0 || partial.have.len() >= MAX_PIECES {
            self.give_up(&key);
            return Outcome::Waiting;
        }
        if !fragment.more && partial.total.is_none() {
            partial.total = Some(end);
        }
        if partial.insert(fragment.offset, datagram.payload) {
            self.counts.overlaps += 1;
        }
        if partial.is_whole()
            && let Some(mut partial) = self.partials.remove(&key)
        {
            partial.bytes.truncate(partial.total.unwrap_or(0));
            self.counts.waiting -= partial.frames;
            return Outcome::Whole { protocol: datagram.protocol, bytes: partial.bytes, frames: partial.frames };
        }
        Outcome::Waiting
    }

    fn expire(&mut self, time_ns: i64) {
        while let Some((key, serial)) = self.order.front().copied() {
            let begun_ns =
                self.partials.get(&key).filter(|partial| partial.serial == serial).map(|partial| partial.begun_ns);
            match begun_ns {
                Some(begun_ns) if time_ns - begun_ns <= TIMEOUT_NS && self.partials.len() < MAX_DATAGRAMS => break,
                Some(_) => self.give_up(&key),
                None => {}
            }
            self.order.pop_front();
        }
    }

    fn give_up(&mut self, key: &Key) {
        if let Some(partial) = self.partials.remove(key) {
            self.counts.waiting -= partial.frames;
            self.counts.incomplete += partial.frames;
        }
    }

    /// Gives up everything under way: no more frames will come.
    pub(crate) fn finish(&mut self) {
        self.counts.incomplete += std::mem::take(&mut self.counts.waiting);
        self.partials.clear();
        self.order.clear();
    }
}

impl Partial {
    /// Copies what is not there yet; tells whether something was.
    fn insert(&mut self, start: usize, payload: &[u8]) -> bool {
        let end = start + payload.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        let mut at = start;
        let mut overlap = false;
        for &(have_start, have_end) in &self.have {
            if have_end <= at {
                continue;
            }
            if have_start >= end {
                break;
            }
            overlap = true;
            if at < have_start {
                self.bytes[at..have_start].copy_from_slice(&payload[at - start..have_start - start]);
            }
            at = have_end;
        }
        if at < end {
            self.bytes[at..end].copy_from_slice(&payload[at - start..]);
        }
        // Merge the new range into the list.
        let first = self.have.partition_point(|range| range.1 < start);
        let last = self.have.partition_point(|range| range.0 <= end);
        let merged =
            self.have[first..last].iter().fold((start, end), |all, range| (all.0.min(range.0), all.1.max(range.1)));
        self.have.splice(first..last, [merged]);
        overlap
    }

    fn is_whole(&self) -> bool {
        matches!((self.total, &*self.have), (Some(total), [(0, end)]) if *end >= total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(fragments: &mut Fragments, offset: usize, more: bool, payload: &[u8]) -> Option<Vec<u8>> {
        let fragment = Fragment { identification: 7, offset, more };
        let address = Address::v4([1, 2, 3, 4]);
        let datagram =
            Datagram { source: address, destination: address, protocol: 6, payload, cut: 0, fragment: Some(fragment) };
        match fragments.add(0, &datagram, fragment) {
            Outcome::Whole { bytes, .. } => Some(bytes),
            Outcome::Waiting => None,
        }
    }

    #[test]
    fn any_order_first_wins() {
        let mut fragments = Fragments::default();
        assert_eq!(add(&mut fragments, 16, false, b"ghi"), None);
        assert_eq!(add(&mut fragments, 0, true, b"12345678"), None);
        assert_eq!(add(&mut fragments, 0, true, b"abcdefghABCDEFGH"), Some(b"12345678ABCDEFGHghi".to_vec()));
        assert_eq!(fragments.counts, Counts { overlaps: 1, incomplete: 0, waiting: 0 });
        assert_eq!(add(&mut fragments, 65_528, true, b"12345678"), None);
        assert_eq!(fragments.counts.incomplete, 1);
    }
}

//! From the addresses and ports of a flow to its place: open addressing, one line of memory a look-up.
//!
//! In: keys. Out: places. Entries hold half of the hash, so that other flows are hardly looked at.

use std::hash::BuildHasher;

use crate::packet::Address;

/// Address and port.
pub(crate) type Endpoint = (Address, u16);

/// Both ends of a flow, the lower first, so that both directions have the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FlowKey {
    pub(crate) ends: [Endpoint; 2],
}

impl FlowKey {
    /// The key, and which end the source is.
    pub(crate) fn new(source: Endpoint, destination: Endpoint) -> (Self, usize) {
        if source <= destination {
            (Self { ends: [source, destination] }, 0)
        } else {
            (Self { ends: [destination, source] }, 1)
        }
    }
}

/// Hashes keys with a secret of this process, so that nobody can aim at one bucket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyHasher {
    secret: [u64; 2],
}

impl KeyHasher {
    pub(crate) fn new() -> Self {
        let state = std::hash::RandomState::new();
        Self { secret: [state.hash_one(1_u8) | 1, state.hash_one(2_u8) | 1] }
    }

    pub(crate) fn hash(&self, key: &FlowKey) -> u64 {
        let [low, high] = key.ends;
        let mut hash = self.secret[0];
        for word in [low.0.0 as u64, (low.0.0 >> 64) as u64, high.0.0 as u64, (high.0.0 >> 64) as u64] {
            hash = fold(hash ^ word, self.secret[1]);
        }
        fold(hash ^ u64::from(low.1) << 16 ^ u64::from(high.1), self.secret[0])
    }
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ (product >> 64) as u64
}

/// Places by hash. An entry is the upper half of the hash and the place plus one; 0 is empty.
#[derive(Debug)]
pub(crate) struct Index {
    entries: Vec<u64>,
    len: usize,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self { entries: vec![0; 1_024], len: 0 }
    }

    fn mask(&self) -> usize {
        self.entries.len() - 1
    }

    /// The place whose flow `is_it` recognises.
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(usize) -> bool) -> Option<usize> {
        let mut at = hash as usize & self.mask();
        loop {
            let entry = self.entries[at];
            if entry == 0 {
                return None;
            }
            if entry >> 32 == hash >> 32 {
                let place = (entry as u32 - 1) as usize;
                if is_it(place) {
                    return Some(place);
                }
            }
            at = (at + 1) & self.mask();
        }
    }

    /// Adds a place that is not in yet. `hash_of` tells the hash of the places there are, to grow.
    pub(crate) fn insert(&mut self, hash: u64, place: u32, hash_of: impl Fn(usize) -> u64) {
        if (self.len + 1) * 2 > self.entries.len() {
            let old = std::mem::take(&mut self.entries);
            self.entries = vec![0; old.len() * 2];
            for entry in old.into_iter().filter(|entry| *entry != 0) {
                self.put(hash_of((entry as u32 - 1) as usize), entry);
            }
        }
        self.len += 1;
        self.put(hash, hash >> 32 << 32 | u64::from(place + 1));
    }

    fn put(&mut self, hash: u64, entry: u64) {
        let mut at = hash as usize & self.mask();
        while self.entries[at] != 0 {
            at = (at + 1) & self.mask();
        }
        self.entries[at] = entry;
    }

    /// Takes a place out; entries behind it move up (no tombstones).
    pub(crate) fn remove(&mut self, hash: u64, place: usize, hash_of: impl Fn(usize) -> u64) {
        let mut hole = hash as usize & self.mask();
        while self.entries[hole] != 0 && (self.entries[hole] as u32 - 1) as usize != place {
            hole = (hole + 1) & self.mask();
        }
        if self.entries[hole] == 0 {
            return;
        }
        self.len -= 1;
        let mut at = hole;
        loop {
            at = (at + 1) & self.mask();
            let entry = self.entries[at];
            if entry == 0 {
                break;
            }
            let home = hash_of((entry as u32 - 1) as usize) as usize & self.mask();
            // It may move to the hole when its home is not between the hole and where it stands.
            if (at.wrapping_sub(home) & self.mask()) >= (at.wrapping_sub(hole) & self.mask()) {
                self.entries[hole] = entry;
                hole = at;
            }
        }
        self.entries[hole] = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_in_and_nothing_else() {
        let hasher = KeyHasher::new();
        let key = |n: u32| FlowKey::new((Address::v4(n.to_be_bytes()), 80), (Address::v4([9; 4]), 7)).0;
        let hashes: Vec<u64> = (0..5_000).map(|n| hasher.hash(&key(n))).collect();
        let mut index = Index::new();
        for (place, hash) in hashes.iter().enumerate() {
            index.insert(*hash, place as u32, |place| hashes[place]);
        }
        for place in (0..5_000).step_by(2) {
            index.remove(hashes[place], place, |place| hashes[place]);
        }
        for (place, hash) in hashes.iter().enumerate() {
            let found = index.find(*hash, |seen| seen == place);
            assert_eq!(found, (place % 2 == 1).then_some(place));
        }
        let (there, side) = FlowKey::new((Address::v4([1; 4]), 80), (Address::v4([9; 4]), 7));
        let (back, other) = FlowKey::new((Address::v4([9; 4]), 7), (Address::v4([1; 4]), 80));
        assert_eq!((there, side), (back, 1 - other));
    }
}

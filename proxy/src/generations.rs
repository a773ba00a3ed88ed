//! A bounded map that forgets what was not used lately: two generations instead of a linked list.
//!
//! In: entries. Out: the same entries while they are among the lately used ones. New and used
//! entries live in the young generation; when it holds half the capacity it becomes the old one and
//! what the former old one still held is forgotten. All steps are O(1), memory is bounded, and an
//! entry survives at least `capacity / 2` insertions of others after its last use.

use std::{borrow::Borrow, hash::Hash};

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

/// The map. Not thread-safe by itself: its users hold it behind a lock for a look-up's time.
#[derive(Debug)]
pub(crate) struct Generations<K, V> {
    young: HashMap<K, V, FxBuildHasher>,
    old: HashMap<K, V, FxBuildHasher>,
    half: usize,
}

impl<K: Hash + Eq, V> Generations<K, V> {
    /// A map of at most `capacity` entries (at least two).
    pub(crate) fn new(capacity: usize) -> Self {
        Self { young: HashMap::default(), old: HashMap::default(), half: (capacity / 2).max(1) }
    }

    /// The entry, which counts as used now.
    pub(crate) fn get<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        if !self.young.contains_key(key) {
            let (key, value) = self.old.remove_entry(key)?;
            self.insert(key, value);
        }
        self.young.get_mut(key)
    }

    /// Puts an entry in, in place of one with the same key.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    /// How many entries there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::Generations;

    #[test]
    fn keeps_what_is_used_and_stays_within_its_bound() {
        let mut map = Generations::new(8);
        map.insert(0_u32, "kept");
        for key in 1..1_000 {
            map.insert(key, "other");
            assert!(map.len() <= 8, "{}", map.len());
            assert_eq!(map.get(&0).copied(), Some("kept"));
        }
        assert_eq!(map.get(&1), None);
    }
}

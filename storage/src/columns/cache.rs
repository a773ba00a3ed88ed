//! Small caches of fixed size for texts that are costly to make and come again.
//!
//! Direct-mapped: a key has one place, and a newcomer takes it. Nothing grows with the session.

use std::{
    fmt::Write,
    hash::{BuildHasher, Hash},
    net::SocketAddr,
};

use rustc_hash::FxSeededState;
use weir_engine::record::endpoint;

use super::text::{Words, seed};

/// Places in a cache; a power of two.
const PLACES: usize = 1024;
/// Paths longer than this are not worth keeping.
const LONGEST_PATH: usize = 512;

/// Addresses as text: `address:port`, and the address alone.
pub(crate) struct Addresses {
    places: Vec<(Option<SocketAddr>, String, String)>,
    seed: FxSeededState,
}

impl Default for Addresses {
    fn default() -> Self {
        Self { places: vec![(None, String::new(), String::new()); PLACES], seed: seed() }
    }
}

impl Addresses {
    /// `address:port` and `address`.
    pub(crate) fn text(&mut self, address: SocketAddr) -> (&str, &str) {
        let at = place(&self.seed, (address.port(), address.ip()));
        let (known, with_port, alone) = &mut self.places[at];
        if *known != Some(address) {
            *known = Some(address);
            with_port.clear();
            alone.clear();
            // Writing to a String cannot fail.
            let _ = write!(with_port, "{address}");
            let _ = write!(alone, "{}", address.ip());
        }
        (with_port, alone)
    }
}

/// Paths with the key of their endpoint in the dictionary of the part being built.
pub(crate) struct Endpoints {
    places: Vec<(String, i32)>,
    seed: FxSeededState,
}

impl Default for Endpoints {
    fn default() -> Self {
        Self { places: vec![(String::new(), -1); PLACES], seed: seed() }
    }
}

impl Endpoints {
    /// The key of a path's endpoint in `words`.
    pub(crate) fn key(&mut self, path: &str, words: &mut Words) -> i32 {
        let at = place(&self.seed, path);
        let (known, key) = &mut self.places[at];
        if *key >= 0 && known == path {
            return *key;
        }
        let found = words.intern(&endpoint::template(path));
        if path.len() <= LONGEST_PATH {
            known.clear();
            known.push_str(path);
            *key = found;
        }
        found
    }

    /// Forgets the keys: a new part has a new dictionary.
    pub(crate) fn forget(&mut self) {
        for place in &mut self.places {
            place.1 = -1;
        }
    }
}

fn place(seed: &FxSeededState, key: impl Hash) -> usize {
    seed.hash_one(key) as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_right_whoever_holds_the_place() {
        let (mut addresses, mut endpoints, mut words) = (Addresses::default(), Endpoints::default(), Words::default());
        for round in 0..3 {
            for port in 0..5_000_u16 {
                let address = SocketAddr::from(([127, 0, 0, 1], port));
                assert_eq!(addresses.text(address), (address.to_string().as_str(), "127.0.0.1"));
                let path = format!("/users/{port}/x{}", port % 7 + 1);
                let key = endpoints.key(&path, &mut words);
                assert_eq!(key, words.intern(&format!("/users/{{id}}/x{}", port % 7 + 1)), "{round}");
            }
        }
    }
}

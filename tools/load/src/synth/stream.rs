//! Many connections at once, merged by time: the memory is that of the connections open at once,
//! whatever the length of the capture.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use bytes::Bytes;

use super::{
    random::Random,
    script::{self, Bodies, Spec, Truth},
    segments::{self, Path, Segment},
    web::Web,
};

/// What a stream yields.
#[derive(Debug)]
pub enum Item {
    /// The truth of a connection, before its first segment.
    Truth(Vec<Truth>),
    /// The next segment in time.
    Segment(Segment),
}

/// First packet of every capture: 2026-01-01T00:00:00Z.
const START_NS: u64 = 1_767_225_600_000_000_000;

/// The segments of a capture in the order of time.
#[derive(Debug)]
pub struct Stream {
    spec: Spec,
    random: Random,
    filler: Bytes,
    web: Option<Web>,
    begun: u64,
    /// Next segment's time and slot of each open connection.
    next: BinaryHeap<Reverse<(u64, usize)>>,
    open: Vec<VecDeque<Segment>>,
    truth: VecDeque<Vec<Truth>>,
}

impl Stream {
    /// The capture of a specification.
    #[must_use]
    pub fn new(spec: Spec) -> Self {
        let mut stream = Self {
            random: Random::new(spec.seed),
            filler: script::filler(spec.seed),
            web: (spec.bodies == Bodies::Web).then(|| Web::new(spec.seed)),
            begun: 0,
            next: BinaryHeap::new(),
            open: Vec::new(),
            truth: VecDeque::new(),
            spec,
        };
        for slot in 0..stream.spec.concurrency.max(1) {
            stream.open.push(VecDeque::new());
            stream.begin(slot, START_NS + slot as u64 * 500_000);
        }
        stream
    }

    /// Begins the next connection in a slot, if there is one left.
    fn begin(&mut self, slot: usize, time_ns: u64) {
        if self.begun >= self.spec.connections {
            return;
        }
        let number = self.begun;
        self.begun += 1;
        let mut random = self.random.part(number);
        let (client, server) = addresses(number, random.chance(self.spec.ipv6));
        let script =
            script::write(&self.spec, number, &client.to_string(), &self.filler, self.web.as_ref(), &mut random);
        let path = Path {
            connection: number,
            client,
            server,
            wrapping: random.chance(self.spec.wrapping),
            segment: self.spec.segment.clone(),
        };
        self.open[slot] = segments::write(&path, &script.turns, time_ns, &mut random).into();
        self.truth.push_back(script.truth);
        self.next.push(Reverse((time_ns, slot)));
    }
}

/// Addresses and ports of a connection; a pair is used again only after 4 million connections.
fn addresses(number: u64, ipv6: bool) -> (SocketAddr, SocketAddr) {
    let port = 1024 + (number % 64_000) as u16;
    let host = (number / 64_000 % 64) as u8 + 1;
    let (client, server): (IpAddr, IpAddr) = if ipv6 {
        let address = |last: u16| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
        (address(u16::from(host)).into(), address(0x100 + (number % 97) as u16).into())
    } else {
        (Ipv4Addr::new(10, 1, 0, host).into(), Ipv4Addr::new(10, 2, 0, (number % 97) as u8 + 1).into())
    };
    (SocketAddr::new(client, port), SocketAddr::new(server, 80))
}

impl Iterator for Stream {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        if let Some(truth) = self.truth.pop_front() {
            return Some(Item::Truth(truth));
        }
        let Reverse((time_ns, slot)) = self.next.pop()?;
        let segment = self.open[slot].pop_front()?;
        match self.open[slot].front() {
            Some(following) => self.next.push(Reverse((following.time_ns, slot))),
            None => self.begin(slot, time_ns + 1_000_000),
        }
        Some(Item::Segment(segment))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back_and_every_connection_is_there() {
        let spec = Spec { connections: 50, concurrency: 7, exchanges: 1..=4, ..Spec::default() };
        let mut last = 0;
        let (mut begun, mut exchanges) = (std::collections::BTreeSet::new(), 0);
        for item in Stream::new(spec) {
            match item {
                Item::Truth(truth) => exchanges += truth.len(),
                Item::Segment(segment) => {
                    assert!(segment.time_ns >= last);
                    last = segment.time_ns;
                    begun.insert(segment.connection);
                }
            }
        }
        assert_eq!(begun.len(), 50);
        assert!(exchanges >= 50);
    }

    #[test]
    fn the_same_seed_makes_the_same_bytes() {
        let bytes = || {
            let stream = Stream::new(Spec { connections: 5, ..Spec::default() });
            stream
                .filter_map(|item| if let Item::Segment(segment) = item { Some(segment.payload) } else { None })
                .collect::<Vec<_>>()
        };
        assert_eq!(bytes(), bytes());
    }
}

//! What a shard tells whoever captures, and asks about this host.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    http::BodyPolicy,
    ledger::Layer,
    pipeline::{Budget, Ids},
    record::{BodyState, Exchange, Flags, Record},
    shard::{Owner, Owners, Shard, ShardOptions, UnwantedBody},
    source::{Frame, LinkType},
};

const BODY: u32 = 100_000;

/// Knows one client.
#[derive(Debug)]
struct OneClient;

impl Owners for OneClient {
    fn owner(&self, client: SocketAddr, server: SocketAddr) -> Option<Owner> {
        (client == address("10.0.0.1:20000") && server == address("10.0.0.2:80"))
            .then(|| Owner { process: "curl".into(), pid: 7 })
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// A shard and the records it made. Numbers of both directions begin at 0.
struct Capture {
    shard: Shard,
    records: Vec<Record>,
    time_ns: i64,
    sent: [u32; 2],
}

impl Capture {
    fn new(bodies: BodyPolicy) -> Self {
        let options = ShardOptions { bodies, ..ShardOptions::default() };
        let mut shard = Shard::new(&options, Arc::new(Ids::default()), Budget::new(1 << 30));
        shard.watch_unwanted();
        shard.ask_owners(Arc::new(OneClient));
        Self { shard, records: Vec::new(), time_ns: 0, sent: [0; 2] }
    }

    /// A segment of which only the first `captured` bytes of payload come.
    fn send(&mut self, from: usize, payload: &[u8], captured: usize) {
        self.time_ns += 1_000;
        let mut bytes = vec![0x45, 0];
        bytes.extend(((40 + payload.len()) as u16).to_be_bytes());
        bytes.extend([0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1 + from as u8, 10, 0, 0, 2 - from as u8]);
        bytes.extend(if from == 0 { [0x4e, 0x20, 0, 80] } else { [0, 80, 0x4e, 0x20] });
        bytes.extend(self.sent[from].to_be_bytes());
        bytes.extend(self.sent[1 - from].to_be_bytes());
        bytes.extend([0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
        bytes.extend(payload);
        self.sent[from] += payload.len() as u32;
        let original_len = bytes.len() as u32;
        let data = &bytes[..40 + captured];
        self.shard.frame(&Frame { time_ns: self.time_ns, link: LinkType::RAW, data, original_len }, &mut self.records);
    }

    fn send_all(&mut self, from: usize, payload: &[u8]) {
        self.send(from, payload, payload.len());
    }

    fn exchanges(&self) -> Vec<&Exchange> {
        let exchanges = self.records.iter().filter_map(|record| match record {
            Record::Exchange(exchange) => Some(&**exchange),
            _ => None,
        });
        exchanges.collect()
    }
}

#[test]
fn bodies_nobody_stores_are_told_and_may_be_cut() {
    let mut capture = Capture::new(BodyPolicy::None);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n");
    capture.send_all(0, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
    capture.send_all(1, head.as_bytes());
    let told: Vec<UnwantedBody> = capture.shard.take_unwanted().collect();
    let expected = UnwantedBody {
        source: address("10.0.0.2:80"),
        destination: address("10.0.0.1:20000"),
        sequence: head.len() as u32,
        len: u64::from(BODY),
    };
    assert_eq!(told, [expected]);
    // What the filter makes of the packets inside: 50 bytes are left of each.
    (0..BODY / 1_000).for_each(|_| capture.send(1, &[b'x'; 1_000], 50));
    capture.send_all(0, b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n");
    capture.send_all(1, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(capture.shard.take_unwanted().count(), 0, "not worth it");
    capture.shard.finish(&mut capture.records);
    let exchanges = capture.exchanges();
    assert_eq!(exchanges.len(), 2);
    for (exchange, size) in exchanges.iter().zip([u64::from(BODY), 2]) {
        assert_eq!((exchange.response_body.size, exchange.response_body.state), (size, BodyState::SkippedPolicy));
        assert_eq!((exchange.status, exchange.error), (Some(200), None));
        assert!(!exchange.flags.has(Flags::GAP), "nothing of the record is lost");
        assert_eq!((exchange.process.as_deref(), exchange.pid), (Some("curl"), Some(7)));
    }
    let ledger = capture.shard.ledger();
    let bytes = ledger.layer(Layer::StreamBytes).expect("counted");
    assert_eq!(bytes.dropped.get("policy:body_cut"), Some(&u64::from(BODY / 1_000 * 950)));
    assert_eq!((bytes.lost(), ledger.balances()), (0, true));
}

#[test]
fn bodies_that_are_stored_are_not_told() {
    let mut capture = Capture::new(BodyPolicy::MediaOff);
    capture.send_all(0, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: {BODY}\r\n\r\n");
    capture.send_all(1, head.as_bytes());
    assert_eq!(capture.shard.take_unwanted().count(), 0, "its hash is recorded");
}

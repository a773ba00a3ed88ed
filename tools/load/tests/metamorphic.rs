//! The same traffic, cut, wrapped and shuffled: what the packet path makes of it must not change.

use std::sync::Arc;

use weir_engine::{
    http::BodyPolicy,
    pipeline::{Budget, Ids},
    record::{Body, Record},
    shard::{Shard, ShardOptions},
    source::{Block, CaptureReader, FrameSource},
};
use weir_load::synth::{Encapsulation, Encoder, Item, Link, PcapWriter, Spec, Spoil, Spoiler, Stream};

/// An exchange: method, URL, status, sizes and hashes of the bodies, what is wrong with it.
type Told = (String, String, Option<u16>, [(u64, Option<String>); 2], Option<String>);

fn capture(spec: Spec, mut encoder: Encoder, spoil: Spoil) -> (Vec<u8>, Vec<Told>) {
    let mut writer = PcapWriter::new(Vec::new(), encoder.link.number()).expect("a Vec takes all");
    let (mut truth, mut spoiler) = (Vec::new(), Spoiler::new(spoil, 5));
    let mut frames = Vec::new();
    for item in Stream::new(spec) {
        match item {
            Item::Truth(more) => truth.extend(more.into_iter().map(|one| {
                let bodies = [(one.request_size, one.request_body), (one.response_size, one.response_body)];
                (one.method, one.url, Some(one.status), bodies, None)
            })),
            Item::Segment(segment) => spoiler.pass(segment, |segment| frames.push(segment)),
        }
    }
    spoiler.finish(|segment| frames.push(segment));
    for segment in frames {
        encoder.encode(&segment, |frame| writer.frame(segment.time_ns, frame).expect("a Vec takes all"));
    }
    (writer.finish().expect("a Vec takes all"), truth)
}

fn told(capture: &[u8]) -> Vec<Told> {
    let options = ShardOptions { bodies: BodyPolicy::All, ..ShardOptions::default() };
    let mut shard = Shard::new(&options, Arc::new(Ids::default()), Budget::new(1 << 30));
    let (mut block, mut records) = (Block::new(), Vec::new());
    let mut reader = CaptureReader::new(capture).expect("opens");
    while reader.next_block(&mut block).expect("reads") {
        shard.block(&block, &mut records);
    }
    shard.finish(&mut records);
    assert!(shard.ledger().balances(), "{:?}", shard.ledger());
    let body = |body: &Body| {
        let bytes = body.content.to_bytes();
        (body.size, (!bytes.is_empty()).then(|| blake3::hash(&bytes).to_hex().to_string()))
    };
    let exchanges = records.into_iter().filter_map(|record| match record {
        Record::Exchange(one) => {
            let bodies = [body(&one.request_body), body(&one.response_body)];
            let (method, url) = (one.method.to_string(), one.url.as_str().to_owned());
            Some((method, url, one.status, bodies, one.error.map(|fault| format!("{fault:?}"))))
        }
        _ => None,
    });
    exchanges.collect()
}

fn unchanged(what: &str, spec: Spec, encoder: Encoder, spoil: Spoil) {
    let (capture, mut truth) = capture(spec, encoder, spoil);
    let mut told = told(&capture);
    truth.sort();
    told.sort();
    for (told, truth) in told.iter().zip(&truth) {
        assert_eq!(told, truth, "{what}");
    }
    assert_eq!(told.len(), truth.len(), "{what}");
    assert!(!told.is_empty(), "{what}");
}

fn spec() -> Spec {
    Spec { connections: 16, concurrency: 8, exchanges: 1..=6, pipelined: 0.3, ipv6: 0.5, ..Spec::default() }
}

fn plain() -> Encoder {
    Encoder::new(Link::Ethernet, vec![], None)
}

#[test]
fn link_types() {
    use Link::{CiscoHdlc, Ethernet, Loop, Nflog, Null, Ppp, Radiotap, Raw, Sll, Sll2};
    for link in [Ethernet, Raw, Null, Loop, Ppp, CiscoHdlc, Sll, Sll2, Nflog, Radiotap] {
        unchanged(&format!("{link:?}"), spec(), Encoder::new(link, vec![], None), Spoil::default());
    }
}

#[test]
fn encapsulations() {
    use Encapsulation::{Ayiya, Erspan, Geneve, Gre, GtpU, IpInIp, Mpls, Pppoe, Vlan, Vxlan};
    let each = [Vlan(7), Mpls(16), Gre, IpInIp, Vxlan(9), Geneve(9), GtpU(9), Pppoe(3), Erspan(4), Ayiya];
    let mut wrappings: Vec<Vec<Encapsulation>> = each.iter().map(|one| vec![*one]).collect();
    wrappings.extend([
        vec![Vlan(5), Vlan(6), Mpls(17)],
        vec![Vlan(5), Vxlan(1), Vlan(9), Gre],
        vec![GtpU(2), IpInIp],
        vec![Erspan(1), Vlan(3), Pppoe(8)],
    ]);
    for wrapping in wrappings {
        let what = format!("{wrapping:?}");
        unchanged(&what, spec(), Encoder::new(Link::Ethernet, wrapping, None), Spoil::default());
    }
}

#[test]
fn fragments() {
    for mtu in [1_280, 600, 120] {
        unchanged(&format!("{mtu}"), spec(), Encoder::new(Link::Ethernet, vec![], Some(mtu)), Spoil::default());
        let wrapped = Encoder::new(Link::Raw, vec![Encapsulation::Gre], Some(mtu));
        unchanged(&format!("{mtu} in GRE"), spec(), wrapped, Spoil::default());
    }
}

#[test]
fn segments_from_one_byte_to_super_frames() {
    let few = || Spec { connections: 3, exchanges: 1..=3, ..spec() };
    unchanged("1", few(), plain(), Spoil::default());
    for segment in [1..=1, 1..=9, 1..=1_448, 536..=536, 8_900..=8_900, 65_000..=65_000, 1..=65_000] {
        let base = if *segment.end() < 100 { few() } else { spec() };
        unchanged(&format!("{segment:?}"), Spec { segment, ..base }, plain(), Spoil::default());
    }
}

#[test]
fn sequence_numbers_that_wrap() {
    unchanged("wrap", Spec { wrapping: 1.0, ..spec() }, plain(), Spoil::default());
}

#[test]
fn order_and_repetition() {
    let spoils = [
        Spoil { duplicated: 0.2, ..Spoil::default() },
        Spoil { overlapped: 0.2, ..Spoil::default() },
        Spoil { reordered: 0.05, ..Spoil::default() },
        Spoil { duplicated: 0.1, overlapped: 0.1, reordered: 0.05, ..Spoil::default() },
    ];
    for spoil in spoils {
        for wrapping in [0.0, 1.0] {
            unchanged(&format!("{spoil:?}"), Spec { wrapping, ..spec() }, plain(), spoil.clone());
        }
    }
}

//! What the synthesiser writes is read by somebody else's program: tshark sees the truth in it.

use std::{
    collections::BTreeMap,
    io::Write as _,
    process::{Command, Stdio},
};

use weir_load::synth::{Encapsulation, Encoder, Item, Link, PcapWriter, Spec, Stream, Truth};

fn capture(spec: Spec, mut encoder: Encoder) -> (Vec<u8>, Vec<Truth>) {
    let mut writer = PcapWriter::new(Vec::new(), encoder.link.number()).expect("a Vec takes all");
    let mut truth = Vec::new();
    for item in Stream::new(spec) {
        match item {
            Item::Truth(more) => truth.extend(more),
            Item::Segment(segment) => {
                encoder.encode(&segment, |frame| writer.frame(segment.time_ns, frame).expect("a Vec takes all"));
            }
        }
    }
    (writer.finish().expect("a Vec takes all"), truth)
}

/// Requests by URL, as tshark sees them; checksums are verified on the way.
fn seen_by_tshark(capture: &[u8]) -> BTreeMap<String, u32> {
    let mut tshark = Command::new("tshark")
        .args(["-r", "-", "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"])
        .args(["-Y", "http.request && tcp.checksum.status == 1", "-T", "fields", "-e", "http.request.full_uri"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("tshark is installed: apt-get install tshark");
    let mut input = tshark.stdin.take().expect("piped");
    let bytes = capture.to_vec();
    let writing = std::thread::spawn(move || input.write_all(&bytes));
    let output = tshark.wait_with_output().expect("tshark ends");
    writing.join().expect("no panic").expect("tshark reads it all");
    let mut seen = BTreeMap::new();
    // Several requests in one segment come with commas between them.
    for url in String::from_utf8_lossy(&output.stdout).lines().flat_map(|line| line.split(',')) {
        *seen.entry(url.to_owned()).or_default() += 1;
    }
    seen
}

#[test]
fn tshark_sees_every_request_in_every_wrapping() {
    let wrappings = [
        Encoder::new(Link::Ethernet, vec![], None),
        Encoder::new(Link::Raw, vec![], None),
        Encoder::new(Link::Null, vec![], None),
        Encoder::new(Link::Sll, vec![Encapsulation::Vlan(7)], None),
        Encoder::new(Link::Sll2, vec![], None),
        Encoder::new(Link::Ethernet, vec![Encapsulation::Vlan(5), Encapsulation::Mpls(16)], None),
        Encoder::new(Link::Ethernet, vec![Encapsulation::Gre], None),
        Encoder::new(Link::Ethernet, vec![Encapsulation::IpInIp], None),
        Encoder::new(Link::Ethernet, vec![Encapsulation::Vxlan(9)], Some(600)),
        Encoder::new(Link::Ethernet, vec![Encapsulation::Geneve(9)], None),
        Encoder::new(Link::Ethernet, vec![Encapsulation::GtpU(9)], None),
    ];
    for encoder in wrappings {
        let name = format!("{encoder:?}");
        let spec = Spec { connections: 12, pipelined: 0.0, segment: 1200..=1200, ..Spec::default() };
        let (capture, truth) = capture(spec, encoder);
        let expected: BTreeMap<_, _> = truth.into_iter().map(|exchange| (exchange.url, 1)).collect();
        assert_eq!(seen_by_tshark(&capture), expected, "{name}");
    }
}

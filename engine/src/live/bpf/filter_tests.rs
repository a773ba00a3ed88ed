//! The filter on packets made here. Left out, with a message, without the right to load it.

use super::{super::test_packets::*, *};

const WHOLE: u32 = u32::MAX;

/// Runs a frame through; returns the verdict it was counted under and what the program returned.
fn judge(filter: &HttpFilter, frame: &[u8]) -> (Verdict, u32) {
    let before = filter.verdicts().expect("reads");
    let returned = run(&filter.object, "http_filter", frame);
    let after = filter.verdicts().expect("reads");
    let mut changed = Verdict::ALL.into_iter().filter(|verdict| before.of(*verdict) != after.of(*verdict));
    let verdict = changed.next().expect("every packet is counted");
    assert_eq!(changed.next(), None, "once");
    assert_eq!(after.of(verdict).packets, before.of(verdict).packets + 1);
    // A test run shows the program a packet from its network header on.
    assert_eq!(after.of(verdict).bytes, before.of(verdict).bytes + frame.len() as u64 - 14);
    (verdict, returned)
}

fn flow(port: u16) -> Ends {
    ends(&format!("10.0.0.1:{port}"), "10.0.0.2:80")
}

#[test]
fn passes_what_begins_like_http() {
    let Some(filter) = loaded(HttpFilter::load()) else { return };
    let begins: [&[u8]; 9] = [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /x HTTP/1.1\r\n",
        b"\r\nDELETE /x HTTP/1.1\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PURGE /cache HTTP/1.1\r\n",
        b"RPC_IN_DATA /rpc HTTP/1.1\r\n",
        b"OPTIONS * HTTP/1.1\r\n",
        b"CONNECT a.example:443 HTTP/1.1\r\n",
    ];
    for (port, payload) in (20_000..).zip(begins) {
        let there = flow(port);
        assert_eq!(judge(&filter, &segment(there, 1, ACK, payload)), (Verdict::PassHttp, WHOLE), "{payload:?}");
        // From then on whatever either end sends.
        for n in 0..20 {
            assert_eq!(judge(&filter, &segment(back(there), n * 9, ACK, &[0xee; 9])), (Verdict::PassHttp, WHOLE));
        }
        assert_eq!(judge(&filter, &segment(there, 40, ACK, b"")), (Verdict::PassHttp, WHOLE));
    }
}

#[test]
fn rejects_other_flows_after_their_first_segments_and_takes_them_back() {
    let Some(filter) = loaded(HttpFilter::load()) else { return };
    for there in [flow(21_000), ends("[fd00::1]:21000", "[fd00::2]:5432")] {
        assert_eq!(judge(&filter, &segment(there, 1, SYN, b"")), (Verdict::PassControl, WHOLE));
        for n in 0..6 {
            assert_eq!(judge(&filter, &segment(there, 2 + n, ACK, b"\0\0\0\x08")), (Verdict::PassUndecided, WHOLE));
        }
        assert_eq!(judge(&filter, &segment(there, 9, ACK, b"\0\0\0\x08\x04")), (Verdict::RejectFlow, 0));
        assert_eq!(judge(&filter, &segment(back(there), 9, ACK, &[1; 900])), (Verdict::RejectFlow, 0));
        assert_eq!(judge(&filter, &segment(back(there), 909, ACK, b"")), (Verdict::RejectFlow, 0));
        assert_eq!(judge(&filter, &segment(there, 10, ACK | FIN, b"")), (Verdict::PassControl, WHOLE));
        // The capture may have begun in the middle of a body: the next head is believed.
        assert_eq!(judge(&filter, &segment(there, 20, ACK, b"GET / HTTP/1.1\r\n")), (Verdict::PassHttp, WHOLE));
        // The same ends, a new connection.
        assert_eq!(judge(&filter, &segment(there, 500, SYN, b"")), (Verdict::PassControl, WHOLE));
        assert_eq!(judge(&filter, &segment(there, 501, ACK, b"\0\0\0\x08")), (Verdict::PassUndecided, WHOLE));
    }
    let tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and so on";
    assert_eq!(judge(&filter, &segment(flow(21_001), 1, ACK, tls)), (Verdict::RejectFlow, 0), "needs no patience");
}

#[test]
fn a_start_line_in_tiny_segments_is_waited_for() {
    let Some(filter) = loaded(HttpFilter::load()) else { return };
    for (n, byte) in b"GETGETGETGET".iter().enumerate() {
        let verdict = judge(&filter, &segment(flow(21_500), n as u32, ACK, &[*byte]));
        assert_eq!(verdict, (Verdict::PassUndecided, WHOLE));
    }
}

#[test]
fn passes_what_it_cannot_read() {
    let Some(filter) = loaded(HttpFilter::load()) else { return };
    let there = flow(22_000);
    let whole = tcp(there, 1, ACK, &[0; 400]);
    let unreadable = [
        ethernet(&ip_fragment(there, 6, 0x2000, &whole[..200])),
        ethernet(&ip_fragment(there, 6, 25, &whole[200..])),
        with_type(0x0806, &[0; 46]),
        with_type(0x8847, &[0; 60]),
        ethernet(&ip(there, 47, &[0x40, 0, 8, 0, 0, 0, 0, 0])),
        ethernet(&ip(there, 17, &udp(2152, &[0x30; 60]))),
        ethernet(&ip(there, 6, &whole[..12])),
    ];
    for frame in unreadable {
        assert_eq!(judge(&filter, &frame), (Verdict::PassUnreadable, WHOLE));
    }
    let others = [ethernet(&ip(there, 17, &udp(53, &[1; 60]))), ethernet(&ip(there, 1, &[8; 64]))];
    for frame in others {
        assert_eq!(judge(&filter, &frame), (Verdict::RejectProtocol, 0));
    }
}

#[test]
fn looks_inside_tunnels() {
    let Some(filter) = loaded(HttpFilter::load()) else { return };
    let outer = ends("192.0.2.1:0", "192.0.2.9:0");
    let http = segment(flow(23_000), 1, ACK, b"GET / HTTP/1.1\r\n");
    let tls = segment(flow(23_001), 1, ACK, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and so on");
    for (name, frame) in tunnels(outer, &http) {
        assert_eq!(judge(&filter, &frame), (Verdict::PassHttp, WHOLE), "{name}");
    }
    for (name, frame) in tunnels(outer, &tls) {
        assert_eq!(judge(&filter, &frame), (Verdict::RejectFlow, 0), "{name}");
    }
}

#[test]
fn cuts_bodies_nobody_wants_and_no_head() {
    let Some(filter) = loaded(HttpFilter::load()) else { return };
    // The numbers come round within the body.
    for head in [1_000_u32, u32::MAX - 5_000] {
        for there in [ends("10.0.0.2:80", "10.0.0.1:24000"), ends("[fd00::2]:80", "[fd00::1]:24000")] {
            let at = |offset: u32, payload: &[u8]| segment(there, head.wrapping_add(offset), ACK, payload);
            let headers = if there.0.is_ipv4() { 40 } else { 60 };
            let cut = (Verdict::CutBody, headers + 64);
            let whole = (Verdict::PassHttp, WHOLE);
            assert_eq!(judge(&filter, &at(0, b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")), whole);
            assert_eq!(judge(&filter, &at(500, &[b'x'; 1_000])), whole, "not told yet");
            filter.notes().note_body(there.0, there.1, head.wrapping_add(500), 10_000);
            assert_eq!(judge(&filter, &at(500, &[b'x'; 1_000])), cut);
            assert_eq!(judge(&filter, &at(400, &[b'x'; 1_000])), whole, "the body begins within");
            assert_eq!(judge(&filter, &at(2_000, &[b'x'; 100])), whole, "not worth it");
            assert_eq!(judge(&filter, &at(9_500, &[b'x'; 1_000])), cut, "ends with the body");
            assert_eq!(judge(&filter, &at(9_501, &[b'x'; 1_000])), whole, "the next head begins within");
            assert_eq!(judge(&filter, &segment(back(there), head.wrapping_add(600), ACK, &[1; 900])), whole);
            assert_eq!(judge(&filter, &at(10_500, b"HTTP/1.1 200 OK\r\n\r\n")), whole);
            // What is through is forgotten: numbers come round again after 4 GiB.
            assert_eq!(judge(&filter, &at(500, &[b'x'; 1_000])), whole);
        }
    }
}

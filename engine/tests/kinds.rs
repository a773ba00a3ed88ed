//! Kinds of traffic that public suites hold and that were once read wrongly here.

mod support;

use weir_engine::record::{Fault, Flags};

use support::{
    run,
    traffic::{Wire, frames},
};

/// Method, path, status and body of each exchange.
fn told(wire: &Wire) -> Vec<(String, String, Option<u16>, Vec<u8>)> {
    let outcome = run(frames(&wire.packets));
    let exchanges = outcome.exchanges.iter().map(|one| {
        let body = one.response_body.content.to_bytes().to_vec();
        (one.method.to_string(), one.url.path().to_owned(), one.status, body)
    });
    exchanges.collect()
}

/// HTTP/0.9 as clients type it: no version, no line end. As in Suricata's bug-3844.
#[test]
fn a_bare_request_line_is_answered() {
    for line in ["GET /", "GET /\n", "GET /\r\n"] {
        let mut wire = Wire::open(0, [7, 9]);
        wire.handshake();
        wire.send(0, line.as_bytes(), 1_460);
        wire.send(1, b"<html>hi</html>", 1_460);
        wire.packet(1, 0x11, &[]);
        assert_eq!(told(&wire), [("GET".into(), "/".into(), None, b"<html>hi</html>".to_vec())], "{line:?}");
    }
}

/// A request inside a tunnel that comes in pieces. As in Suricata's http-connect-fragmented.
#[test]
fn a_tunnel_begins_with_a_piece_of_a_request() {
    for cut in [1, 2, 3, 5] {
        let mut wire = Wire::open(0, [7, 9]);
        wire.handshake();
        wire.send(0, b"CONNECT abc:443 HTTP/1.1\r\n\r\n", 1_460);
        wire.send(1, b"HTTP/1.1 200 OK\r\n\r\n", 1_460);
        let inside = b"GET /in HTTP/1.1\r\nHost: abc\r\n\r\n";
        wire.send(0, &inside[..cut], 1_460);
        wire.send(0, &inside[cut..], 1_460);
        wire.send(1, b"HTTP/1.1 204 No\r\n\r\n", 1_460);
        let seen = told(&wire);
        assert_eq!(seen.len(), 2, "{cut}: {seen:?}");
        assert!(seen.contains(&("GET".into(), "/in".into(), Some(204), vec![])), "{cut}: {seen:?}");
    }
}

/// A response that crosses its request on the way, as in Zeek's qi_internet_SYNACK_curl_jsonip, is what the client gets;
/// one it had got before it asked is none (RFC 9112 §9.2), as in Arkime's CVE-2018-6794.
#[test]
fn responses_that_acknowledge_nothing() {
    let (request, response) =
        (b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    for got_before in [false, true] {
        let mut wire = Wire::open(0, [7, 9]);
        wire.handshake();
        wire.send(1, response, 1_460);
        if got_before {
            wire.packet(0, 0x10, &[]);
        }
        let acknowledged = if got_before { response.len() as u64 } else { 0 };
        let sent = std::mem::replace(&mut wire.sent[1], acknowledged);
        wire.send(0, request, 1_460);
        wire.sent[1] = sent;
        if !got_before {
            // The tap sees the request first.
            let last = wire.packets.len() - 1;
            wire.packets.swap(last - 1, last);
        }
        let seen = told(&wire);
        let paired = seen == [("GET".into(), "/x".into(), Some(200), b"ok".to_vec())];
        assert_eq!(paired, !got_before, "{seen:?}");
    }
}

/// Packets made by hand, without a handshake and with numbers of 0. As in Suricata's detect-bypass.
#[test]
fn numbers_that_say_nothing() {
    let mut wire = Wire::open(0, [u32::MAX; 2]);
    wire.packet_at(0, 0x18, 0, b"GET /x HTTP/1.0\r\n\r\n");
    wire.packet_at(1, 0x18, 0, b"HTTP/1.0 200 ok\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(told(&wire), [("GET".into(), "/x".into(), Some(200), b"ok".to_vec())]);
}

/// A path behind the authority. As in Zeek's connect-with-smtp.
#[test]
fn a_tunnel_to_more_than_an_authority() {
    let mut wire = Wire::open(0, [7, 9]);
    wire.handshake();
    wire.send(0, b"CONNECT mail.example:25 / HTTP/1.0\r\n\r\n", 1_460);
    wire.send(1, b"HTTP/1.0 200 Connection established\r\n\r\n", 1_460);
    let outcome = run(frames(&wire.packets));
    let [one] = &outcome.exchanges[..] else { panic!("{:?}", outcome.exchanges) };
    assert_eq!((one.url.as_str(), one.url.port()), ("http://mail.example:25", 25));
    assert!(one.flags.has(Flags::MALFORMED));
}

/// What is in a tunnel and only begins like a method stays a tunnel.
#[test]
fn a_tunnel_of_something_else_stays_one() {
    let mut wire = Wire::open(0, [7, 9]);
    wire.handshake();
    wire.send(0, b"CONNECT abc:22 HTTP/1.1\r\n\r\n", 1_460);
    wire.send(1, b"HTTP/1.1 200 OK\r\n\r\n", 1_460);
    wire.send(0, b"SSH", 1_460);
    wire.send(0, b"-2.0-x\r\n", 1_460);
    wire.send(1, b"SSH-2.0-y\r\n", 1_460);
    assert_eq!(told(&wire), [("CONNECT".into(), "/".into(), Some(200), vec![])]);
}

/// Whoever accepts the connection asks: a SOCKS relay that was called back, as in Arkime's socks5-reverse, and reverse HTTP.
#[test]
fn the_server_asks() {
    let (request, response) =
        (b"GET /in HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let inner = ("GET".to_owned(), "/in".to_owned(), Some(200), b"ok".to_vec());
    let mut wire = Wire::open(0, [7, 9]);
    wire.handshake();
    wire.send(0, b"NZ\x8d\x08\x87N", 1_460);
    wire.send(1, b"\x05\x01\0", 1_460);
    wire.send(0, b"\x05\0", 1_460);
    wire.send(1, request, 1_460);
    wire.send(0, response, 1_460);
    assert_eq!(told(&wire), std::slice::from_ref(&inner));
    let outcome = run(frames(&wire.packets));
    let [one] = &outcome.exchanges[..] else { panic!("{:?}", outcome.exchanges) };
    assert_eq!(one.server.map(|server| server.port()), Some(wire.client_port), "who answers is the server");

    let mut wire = Wire::open(0, [7, 9]);
    wire.handshake();
    wire.send(0, b"POST /reverse HTTP/1.1\r\nUpgrade: PTTH/1.0\r\nConnection: Upgrade\r\n\r\n", 1_460);
    wire.send(1, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: PTTH/1.0\r\nConnection: Upgrade\r\n\r\n", 1_460);
    wire.send(1, request, 1_460);
    wire.send(0, response, 1_460);
    assert_eq!(told(&wire), [("POST".into(), "/reverse".into(), Some(101), vec![]), inner]);
}

/// The answer to a SYN is seen before it; the data is of the same connection. Found by late packets in loss runs.
#[test]
fn a_syn_overtaken_by_its_answer() {
    let mut wire = Wire::open(0, [7, 9]);
    wire.handshake();
    wire.send(0, &[b"GET /first HTTP/1.1\r\nA: ", &[b'a'; 2_000][..], b"\r\n\r\n"].concat(), 1_000);
    wire.send(1, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 1_460);
    wire.packets.swap(0, 1);
    // The second segment of the request comes before the first.
    wire.packets.swap(3, 4);
    assert_eq!(told(&wire), [("GET".into(), "/first".into(), Some(200), b"ok".to_vec())]);
}

/// The server's first data is seen before the handshake's second packet, and before the request it answers: it is no less of this
/// connection. Found by late packets in loss runs: the ledger did not balance.
#[test]
fn a_handshake_overtaken_by_the_answer() {
    let mut wire = Wire::open(0, [7, 9]);
    wire.handshake();
    wire.send(0, b"GET /first HTTP/1.1\r\n\r\n", 1_460);
    wire.send(1, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 1_460);
    let answer = wire.packets.remove(4);
    wire.packets.insert(1, answer);
    assert_eq!(told(&wire), [("GET".into(), "/first".into(), Some(200), b"ok".to_vec())]);
}

/// A frame of HTTP/2 (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).expect("a short payload");
    [&[0, 0, len, kind, flags, 0, 0, 0, stream], payload].concat()
}

/// The answer to an upgrade is lost: the client's preface shows that there was one. PRI is no method (RFC 9113 §3.4).
#[test]
fn http2_behind_a_lost_answer() {
    for lost in [false, true] {
        let mut wire = Wire::open(0, [7, 9]);
        wire.handshake();
        wire.send(0, b"GET /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", 1_460);
        let at = wire.packets.len();
        wire.send(1, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n", 1_460);
        wire.send(0, &[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(4, 0, 0, &[])[..]].concat(), 1_460);
        wire.send(1, &[frame(4, 0, 0, &[]), frame(1, 4, 1, b"\x88"), frame(0, 1, 1, b"ok")].concat(), 1_460);
        if lost {
            wire.packets.remove(at);
        }
        let first = if lost { None } else { Some(101) };
        let seen = told(&wire);
        let mut expected =
            vec![("GET".into(), "/up".into(), first, vec![]), ("GET".into(), "/up".into(), Some(200), b"ok".to_vec())];
        assert_eq!(seen.len(), 2, "{seen:?}");
        expected.retain(|one| !seen.contains(one));
        assert!(expected.is_empty(), "{lost}: {expected:?} of {seen:?}");
    }
}

/// RTSP, SIP and NATS have methods of HTTP's names. As in nDPI's rtsp and nats, and Arkime's synthetic capture.
#[test]
fn methods_of_other_protocols() {
    let lines: [&[u8]; 4] = [
        b"OPTIONS rtsp://10.2.2.2:8554/ RTSP/1.0\r\nCSeq: 2\r\n\r\n",
        b"OPTIONS sip:probe@edge.test SIP/2.0\r\nCSeq: 1 OPTIONS\r\n\r\n",
        b"CONNECT {\"verbose\":false,\"name\":\"\"}\r\nPING\r\n",
        b"REGISTER sip:a.test SIP/2.0\r\n\r\n",
    ];
    for line in lines {
        let mut wire = Wire::open(0, [7, 9]);
        wire.handshake();
        for _ in 0..2 {
            wire.send(0, line, 1_460);
            wire.send(1, b"RTSP/1.0 200 OK\r\nCSeq: 2\r\n\r\n", 1_460);
        }
        assert_eq!(told(&wire), [], "{}", String::from_utf8_lossy(line));
    }
}

/// Bytes that come again and are others, as in Zeek's qi_internet_SYNACK_curl_jsonip: the first count, the connection says so,
/// and the exchange when it is not through.
#[test]
fn differing_retransmissions() {
    let request = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nsecret";
    let response = [&b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n"[..], &[b'x'; 3_000]].concat();
    // Whose bytes, from where, how many, which of them changes; whether that shows, and whether in the row.
    let cases: [(usize, u64, usize, Option<usize>, bool, bool); 9] = [
        (0, 0, 54, None, false, false),
        (0, 0, 54, Some(6), true, true),
        (0, 20, 10, Some(3), true, true),
        (0, 48, 6, Some(5), true, true),
        // A keep-alive: one byte before what is next, whatever it is.
        (0, 53, 1, Some(0), false, false),
        (1, 0, 1_460, None, false, false),
        (1, 0, 1_460, Some(14), true, true),
        (1, 500, 300, Some(299), true, true),
        (1, 2_999, 41, Some(0), true, false),
    ];
    assert_eq!(request.len(), 54);
    for (from, begin, len, changed, shows, in_row) in cases {
        let mut wire = Wire::open(0, [7, 9]);
        wire.handshake();
        let mut again = if from == 0 { request.to_vec() } else { response.clone() };
        again = again[begin as usize..begin as usize + len].to_vec();
        if let Some(at) = changed {
            again[at] ^= 1;
        }
        wire.send(0, request, 1_460);
        if from == 0 {
            wire.packet_at(0, 0x18, begin, &again);
        }
        wire.send(1, &response[..1_460], 1_460);
        if from == 1 && begin < 1_460 {
            wire.packet_at(1, 0x18, begin, &again);
        }
        wire.send(1, &response[1_460..], 1_460);
        if begin > 1_460 {
            wire.packet_at(1, 0x18, begin, &again);
        }
        let outcome = run(frames(&wire.packets));
        let [one] = &outcome.exchanges[..] else { panic!("{:?}", outcome.exchanges) };
        let case = (from, begin, changed);
        assert_eq!(outcome.figures.overlaps_differing, u64::from(shows), "{case:?}");
        assert_eq!(one.flags.has(Flags::OVERLAP), in_row, "{case:?} {:?}", one.flags);
        assert_eq!(outcome.connections[0].flags.has(Flags::OVERLAP), shows, "{case:?}");
        assert_eq!(&one.request_body.content.to_bytes()[..], b"secret", "the first win");
        assert!(one.response_body.content.to_bytes().iter().all(|byte| *byte == b'x'), "{case:?}");
    }
}

/// A client that cancels a stream may get its response all the same: it was under way. As in Suricata's app-layer-protocol-exact.
#[test]
fn a_response_crosses_the_reset_of_its_stream() {
    for answered in [true, false] {
        let mut wire = Wire::open(0, [7, 9]);
        wire.handshake();
        let settings = frame(4, 0, 0, &[]);
        let ask = frame(1, 5, 1, b"\x82\x86\x84\x01\x03abc");
        wire.send(0, &[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..], &ask].concat(), 1_460);
        wire.send(1, &settings, 1_460);
        wire.send(0, &frame(3, 0, 1, &[0, 0, 0, 8]), 1_460);
        if answered {
            wire.send(1, &[frame(1, 4, 1, b"\x88"), frame(0, 1, 1, b"ok")].concat(), 1_460);
        }
        let outcome = run(frames(&wire.packets));
        let [one] = &outcome.exchanges[..] else { panic!("{:?}", outcome.exchanges) };
        let body = one.response_body.content.to_bytes();
        let expected = if answered { (Some(200), &b"ok"[..], None) } else { (None, &b""[..], Some("stream_reset")) };
        assert_eq!((one.status, &body[..], one.error.map(Fault::as_str)), expected);
    }
}

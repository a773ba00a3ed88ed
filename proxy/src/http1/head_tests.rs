//! Message heads: what is read, what is refused.

use super::*;

fn request(text: &str) -> Result<Request, Failure> {
    Request::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::default())
}

fn forwarded(text: &str) -> String {
    let request = request(text).expect("parses");
    let mut out = Vec::new();
    request.fields.write(&mut out, false, &[]);
    String::from_utf8(out).expect("text")
}

#[test]
fn smuggling_is_refused() {
    let many_options = format!("Connection: {}\r\n", "x, ".repeat(65));
    let table: [(&str, Fault); 23] = [
        ("Content-Length: 5\r\nContent-Length: 6\r\n", Fault::RequestSmuggling),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", Fault::RequestSmuggling),
        ("Content-Length: 5, 5\r\n", Fault::RequestSmuggling),
        ("Content-Length: +5\r\n", Fault::RequestSmuggling),
        ("Content-Length: 0x5\r\n", Fault::RequestSmuggling),
        ("Content-Length: \r\n", Fault::RequestSmuggling),
        ("Content-Length: 99999999999999999999\r\n", Fault::RequestSmuggling),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Fault::RequestSmuggling),
        ("Transfer-Encoding: chunked, gzip\r\n", Fault::RequestSmuggling),
        ("Transfer-Encoding: gzip\r\n", Fault::RequestSmuggling),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", Fault::RequestSmuggling),
        ("Transfer-Encoding: xchunked\r\n", Fault::RequestSmuggling),
        ("Transfer-Encoding: chunked, chunked\r\n", Fault::RequestSmuggling),
        ("Transfer-Encoding : chunked\r\n", Fault::ClientMalformed),
        ("Content-Length : 5\r\n", Fault::ClientMalformed),
        ("X: a\r\n b\r\n", Fault::ClientMalformed),
        (" X: a\r\n", Fault::ClientMalformed),
        ("X: a\nY: b\r\n", Fault::RequestSmuggling),
        ("X: a\rY: b\r\n", Fault::ClientMalformed),
        ("X: a\0b\r\n", Fault::ClientMalformed),
        ("Host: b\r\n", Fault::RequestSmuggling),
        ("nocolon\r\n", Fault::ClientMalformed),
        (&many_options, Fault::ClientMalformed),
    ];
    for (lines, fault) in table {
        let text = format!("POST http://a/ HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        assert_eq!(request(&text).err().map(|failure| failure.fault), Some(fault), "{lines:?}");
    }
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(request(old).err().map(|failure| failure.fault), Some(Fault::RequestSmuggling));
}

#[test]
fn lines_of_this_hop_end_here() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nProxy-Connection: keep-alive\r\nConnection: close, X-Mine, Host\r\n\
                x-MINE: 1\r\nKeep-Alive: 5\r\nTE: gzip\r\nUpgrade: h2c\r\nProxy-Authorization: Basic x\r\n\
                Cookie: b\r\n\r\n";
    assert_eq!(forwarded(text), "Host: a\r\nCookie: b\r\n");
    let parsed = request(text).expect("parses");
    assert!(!parsed.persistent());
    assert!(parsed.fields.headers.get("proxy-authorization").is_none());
    assert_eq!(parsed.fields.headers.len(), 8);
    assert_eq!(forwarded("GET / HTTP/1.1\r\nB: 2\r\na: 1\r\nTE: trailers\r\n\r\n"), "B: 2\r\na: 1\r\nTE: trailers\r\n");
    assert_eq!(forwarded("GET / HTTP/1.1\r\n\r\n"), "");
}

#[test]
fn upgrades_keep_their_lines() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nKeep-Alive: 1\r\n\r\n";
    let request = request(text).expect("parses");
    let mut out = Vec::new();
    request.fields.write(&mut out, true, &[]);
    assert_eq!(out, b"Host: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n");
    assert!(request.fields.upgrade);
    let old = Request::parse(text.replace("1.1", "1.0").into_bytes().into(), &Limits::default());
    assert!(!old.expect("parses").fields.upgrade, "HTTP/1.0 has no upgrades");
}

#[test]
fn framing_of_responses() {
    let framing = |method: &str, head: &str| {
        Response::parse(Bytes::copy_from_slice(head.as_bytes()), method, &Limits::default())
            .map(|response| (response.framing, response.persistent))
            .map_err(|failure| failure.fault)
    };
    assert_eq!(framing("GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"), Ok((Framing::Length(3), true)));
    assert_eq!(framing("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"), Ok((Framing::None, true)));
    assert_eq!(framing("GET", "HTTP/1.1 304 x\r\nContent-Length: 3\r\n\r\n"), Ok((Framing::None, true)));
    assert_eq!(framing("GET", "HTTP/1.1 200\r\n\r\n"), Ok((Framing::Close, false)));
    assert_eq!(framing("GET", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n"), Ok((Framing::Length(3), false)));
    assert_eq!(
        framing("GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n"),
        Ok((Framing::Length(3), true))
    );
    assert_eq!(framing("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), Ok((Framing::Chunked, true)));
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    ] {
        assert_eq!(framing("GET", head), Err(Fault::ResponseSmuggling), "{head}");
    }
    assert_eq!(framing("GET", "garbage\r\n\r\n"), Err(Fault::ServerMalformed));
}

#[test]
fn responses_without_a_body_do_not_announce_one() {
    for status in ["204 No Content", "103 Early Hints"] {
        let head = format!(
            "HTTP/1.1 {status}\r\nA: 1\r\nTransfer-Encoding: chunked\r\nB: 2\r\nContent-Length: 5\r\nC: 3\r\n\r\n"
        );
        let response = Response::parse(head.into_bytes().into(), "GET", &Limits::default()).expect("parses");
        let mut out = Vec::new();
        response.fields.write(&mut out, false, &[]);
        assert_eq!(out, b"A: 1\r\nB: 2\r\nC: 3\r\n", "{status}");
        assert_eq!(response.fields.headers.len(), 5, "the record has what was sent");
    }
}

#[test]
fn ends_are_found() {
    assert_eq!(find_end(b"a\r\nb\r\n\r\nc", 0), Some(8));
    assert_eq!(find_end(b"a\n\nc", 0), Some(3));
    assert_eq!(find_end(b"a\r\n\r", 0), None);
}

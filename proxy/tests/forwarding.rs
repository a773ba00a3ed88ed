//! What HTTP/1.1 lets a client and a server say to each other goes through, and is recorded.

mod support;

use std::{io::Write, sync::mpsc};

use support::*;
use weir_engine::record::{BodyState, Flags, Protocol};

#[test]
fn keep_alive_uses_one_server_connection_and_changes_nothing_but_this_hop() {
    let (heads, seen) = mpsc::channel();
    let server = origin(move |mut stream, number| {
        loop {
            let head = read_head(&mut stream);
            if head.is_empty() {
                return;
            }
            heads.send((number, head)).unwrap();
            send(
                &mut stream,
                "HTTP/1.1 200 Fine\r\nServer: x\r\nConnection: keep-alive\r\ncontent-LENGTH: 5\r\n\r\nhello",
            );
        }
    });
    let harness = start();
    let mut client = harness.client();
    for round in 0..3 {
        let request = format!(
            "GET http://{server}/a?b={round} HTTP/1.1\r\nHost: {server}\r\nX-b: 1\r\nProxy-Connection: keep-alive\r\nx-A: 2\r\n\r\n"
        );
        send(&mut client, &request);
        assert_eq!(read_head(&mut client), "HTTP/1.1 200 Fine\r\nServer: x\r\ncontent-LENGTH: 5\r\n\r\n");
        assert_eq!(read_exactly(&mut client, 5), "hello");
        let (number, head) = seen.recv_timeout(PATIENCE).unwrap();
        assert_eq!(number, 0);
        assert_eq!(head, format!("GET /a?b={round} HTTP/1.1\r\nHost: {server}\r\nX-b: 1\r\nx-A: 2\r\n\r\n"));
    }
    drop(client);
    let records = harness.finish();
    assert_eq!(records.exchanges.len(), 3);
    for (index, exchange) in records.exchanges.iter().enumerate() {
        assert_eq!(exchange.id, index as u64 + 1);
        assert_eq!(exchange.url.as_str(), format!("http://{server}/a?b={index}"));
        assert_eq!((exchange.status, exchange.error), (Some(200), None));
        assert_eq!(exchange.reason.as_deref(), Some("Fine"));
        assert_eq!(exchange.server, Some(server));
        assert_eq!(exchange.response_body.state, BodyState::Stored);
        assert_eq!(&exchange.response_body.content.to_bytes()[..], b"hello");
        assert_eq!(exchange.request_headers.len(), 4);
        assert_eq!(exchange.flags.has(Flags::REUSED), index > 0);
        assert_eq!(exchange.timings.connect_us.is_some(), index == 0);
        assert!(exchange.timings.wait_us.is_some() && exchange.timings.receive_us.is_some());
    }
    let [connection] = &records.connections[..] else { panic!("one connection") };
    assert_eq!((connection.exchanges, connection.error), (3, None));
    assert!(connection.sent_bytes > 0 && connection.received_bytes > 0);
}

#[test]
fn chunks_and_trailers_both_ways() {
    let server = origin(|mut stream, _| {
        let head = read_head(&mut stream);
        assert!(head.contains("Transfer-Encoding: chunked\r\n"));
        assert_eq!(read_until(&mut stream, "0\r\nX-Sum: 7\r\n\r\n"), "5\r\nhello\r\n1\r\n!\r\n0\r\nX-Sum: 7\r\n\r\n");
        send(&mut stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-End: 1\r\n\r\n");
        read_head(&mut stream);
    });
    let harness = start();
    let mut client = harness.client();
    let head = format!("POST http://{server}/ HTTP/1.1\r\nHost: {server}\r\nTransfer-Encoding: chunked\r\n\r\n");
    send(&mut client, &head);
    send(&mut client, "5\r\nhello\r\n1\r\n!");
    send(&mut client, "\r\n0\r\nX-Sum: 7\r\n\r\n");
    assert!(read_head(&mut client).contains("Transfer-Encoding: chunked\r\n"));
    assert_eq!(read_until(&mut client, "\r\n\r\n"), "3\r\nabc\r\n0\r\nX-End: 1\r\n\r\n");
    drop(client);
    let records = harness.finish();
    let exchange = &records.exchanges[0];
    assert_eq!(&exchange.request_body.content.to_bytes()[..], b"hello!");
    assert_eq!(&exchange.response_body.content.to_bytes()[..], b"abc");
    assert!(exchange.flags.has(Flags::TRAILERS));
    assert_eq!(exchange.request_headers.get("x-sum"), Some(&b"7"[..]));
    assert_eq!(exchange.response_headers.get("x-end"), Some(&b"1"[..]));
}

#[test]
fn chunked_goes_on_in_its_one_spelling() {
    let (heads, seen) = mpsc::channel();
    let server = origin(move |mut stream, _| {
        heads.send(read_head(&mut stream)).unwrap();
        assert_eq!(read_until(&mut stream, "0\r\n\r\n"), "2\r\nhi\r\n0\r\n\r\n");
        send(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
    let harness = start();
    for line in ["transfer-encoding:chunked", "Transfer-Encoding: Chunked", "Transfer-Encoding:\tchunked ,"] {
        let mut client = harness.client();
        let head = format!("POST http://{server}/ HTTP/1.1\r\nA: 1\r\n{line}\r\nHost: other\r\nB: 2\r\n\r\n");
        send(&mut client, &format!("{head}2\r\nhi\r\n0\r\n\r\n"));
        assert!(read_head(&mut client).starts_with("HTTP/1.1 200"));
        let head = seen.recv_timeout(PATIENCE).unwrap();
        let lines = format!("Host: {server}\r\nA: 1\r\nB: 2\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(head, format!("POST / HTTP/1.1\r\n{lines}"));
    }
    assert_eq!(harness.finish().exchanges[1].request_headers.get("transfer-encoding"), Some(&b"Chunked"[..]));
}

#[test]
fn continue_and_hints_pass() {
    let server = origin(|mut stream, _| {
        assert!(read_head(&mut stream).contains("Expect: 100-continue"));
        send(&mut stream, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(read_exactly(&mut stream, 4), "body");
        send(&mut stream, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
    });
    let harness = start();
    let mut client = harness.client();
    let head =
        format!("PUT http://{server}/ HTTP/1.1\r\nHost: {server}\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    send(&mut client, &head);
    assert_eq!(read_head(&mut client), "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    assert_eq!(read_head(&mut client), "HTTP/1.1 100 Continue\r\n\r\n");
    send(&mut client, "body");
    assert!(read_head(&mut client).starts_with("HTTP/1.1 201 Created"));
    drop(client);
    let records = harness.finish();
    let exchange = &records.exchanges[0];
    assert_eq!((exchange.status, exchange.error), (Some(201), None));
    assert!(exchange.flags.has(Flags::INTERIM) && !exchange.flags.has(Flags::EARLY_RESPONSE));
    assert_eq!(exchange.request_body.size, 4);
}

#[test]
fn an_early_response_arrives_while_the_request_goes_on() {
    let server = origin(|mut stream, _| {
        read_head(&mut stream);
        send(&mut stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n");
        assert_eq!(read_exactly(&mut stream, 4), "late");
        send(&mut stream, "0\r\n\r\n");
        read_head(&mut stream);
    });
    let harness = start();
    let mut client = harness.client();
    send(&mut client, &format!("POST http://{server}/ HTTP/1.1\r\nHost: {server}\r\nContent-Length: 4\r\n\r\n"));
    read_head(&mut client);
    assert_eq!(read_until(&mut client, "hi\r\n"), "2\r\nhi\r\n");
    send(&mut client, "late");
    assert_eq!(read_until(&mut client, "\r\n\r\n"), "0\r\n\r\n");
    drop(client);
    let records = harness.finish();
    let exchange = &records.exchanges[0];
    assert!(exchange.flags.has(Flags::EARLY_RESPONSE));
    assert_eq!((exchange.error, exchange.request_body.size, exchange.response_body.size), (None, 4, 2));
}

#[test]
fn responses_without_bodies_keep_the_connection() {
    let server = origin(|mut stream, _| {
        for response in [
            "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
        ] {
            read_head(&mut stream);
            send(&mut stream, response);
        }
        read_head(&mut stream);
    });
    let harness = start();
    let mut client = harness.client();
    for (method, status) in [("HEAD", "200"), ("GET", "204"), ("GET", "304")] {
        send(&mut client, &format!("{method} http://{server}/ HTTP/1.1\r\nHost: {server}\r\n\r\n"));
        assert!(read_head(&mut client).starts_with(&format!("HTTP/1.1 {status}")));
    }
    drop(client);
    let records = harness.finish();
    assert!(records.exchanges.iter().all(|exchange| exchange.response_body.state == BodyState::None));
    assert_eq!(records.exchanges.len(), 3);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = origin(|mut stream, _| {
        loop {
            let head = read_head(&mut stream);
            let Some(path) = head.split(' ').nth(1) else { return };
            send(&mut stream, &format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len()));
        }
    });
    let harness = start();
    let mut client = harness.client();
    let requests: String =
        (0..5).map(|number| format!("GET http://{server}/{number} HTTP/1.1\r\nHost: {server}\r\n\r\n")).collect();
    send(&mut client, &requests);
    for number in 0..5 {
        read_head(&mut client);
        assert_eq!(read_exactly(&mut client, 2), format!("/{number}"));
    }
    drop(client);
    let records = harness.finish();
    assert_eq!(records.exchanges.iter().filter(|exchange| exchange.flags.has(Flags::PIPELINED)).count(), 4);
}

#[test]
fn bodies_delimited_by_the_end_of_the_connection() {
    let server = origin(|mut stream, _| {
        read_head(&mut stream);
        send(&mut stream, "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it");
    });
    let harness = start();
    let mut client = harness.client();
    send(&mut client, &format!("GET http://{server}/ HTTP/1.1\r\nHost: {server}\r\n\r\n"));
    let all = read_all(&mut client).unwrap();
    assert!(all.ends_with("Connection: close\r\n\r\nall of it"), "{all}");
    let records = harness.finish();
    assert_eq!((records.exchanges[0].error, records.exchanges[0].response_body.size), (None, 9));
}

#[test]
fn old_clients_get_chunked_responses_unchunked() {
    let server = origin(answer_always("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"));
    let harness = start();
    let mut client = harness.client();
    send(&mut client, &format!("GET http://{server}/ HTTP/1.0\r\n\r\n"));
    assert_eq!(read_all(&mut client).unwrap(), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc");
    let records = harness.finish();
    assert_eq!(records.exchanges[0].protocol, Protocol::Http10);
}

#[test]
fn events_arrive_as_they_are_sent() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let server = origin(move |mut stream, _| {
        read_head(&mut stream);
        send(&mut stream, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        for _ in 0..3 {
            send(&mut stream, "9\r\ndata: x\n\n\r\n");
            // The next one is sent only when the client has this one.
            wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        send(&mut stream, "0\r\n\r\n");
        read_head(&mut stream);
    });
    let harness = start();
    let mut client = harness.client();
    send(&mut client, &format!("GET http://{server}/ HTTP/1.1\r\nHost: {server}\r\n\r\n"));
    read_head(&mut client);
    for _ in 0..3 {
        assert_eq!(read_until(&mut client, "\n\n\r\n"), "9\r\ndata: x\n\n\r\n");
        go.send(()).unwrap();
    }
    assert_eq!(read_until(&mut client, "\r\n\r\n"), "0\r\n\r\n");
    drop(client);
    assert_eq!(harness.finish().exchanges[0].response_body.size, 27);
}

#[test]
fn large_bodies_are_equal_and_bounded_in_the_record() {
    let body: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    let sent = body.clone();
    let server = origin(move |mut stream, _| {
        read_head(&mut stream);
        let received = read_exactly(&mut stream, 1_000_000);
        assert!(received.bytes().all(|byte| byte == b'u'));
        send(&mut stream, &format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", sent.len()));
        stream.write_all(&sent).unwrap();
        read_head(&mut stream);
    });
    let mut config = config();
    config.limits.stored_body_bytes = 2_000_000;
    let harness = start_with(config, 64, weir_engine::pipeline::WhenFull::Wait);
    let mut client = harness.client();
    send(&mut client, &format!("POST http://{server}/ HTTP/1.1\r\nHost: {server}\r\nContent-Length: 1000000\r\n\r\n"));
    client.write_all(&vec![b'u'; 1_000_000]).unwrap();
    read_head(&mut client);
    let mut received = vec![0; body.len()];
    std::io::Read::read_exact(&mut client, &mut received).unwrap();
    assert!(received == body);
    drop(client);
    let budget = harness.budget.clone();
    let records = harness.finish();
    let exchange = &records.exchanges[0];
    assert_eq!(exchange.request_body.state, BodyState::Stored);
    assert_eq!(exchange.response_body.state, BodyState::Truncated);
    assert_eq!(&exchange.response_body.content.to_bytes()[..], &body[..2_000_000]);
    assert!(budget.used() >= 3_000_000);
    drop(records);
    assert_eq!(budget.used(), 0);
}

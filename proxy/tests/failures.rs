//! What goes wrong gets a clear answer and a marked row, and no other exchange suffers.

mod support;

use std::{
    io::{Read, Write},
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

use support::*;
use weir_engine::{
    pipeline::WhenFull,
    record::{BodyState, Fault, Flags},
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_stale_connection_is_replaced_unseen() {
    let server = origin(|mut stream, _| {
        read_head(&mut stream);
        send(&mut stream, OK);
        // The second request is read, and the connection closed without an answer.
        read_head(&mut stream);
    });
    let harness = start();
    let mut client = harness.client();
    for _ in 0..2 {
        send(&mut client, &format!("GET http://{server}/ HTTP/1.1\r\nHost: {server}\r\n\r\n"));
        assert!(read_head(&mut client).starts_with("HTTP/1.1 200"));
        assert_eq!(read_exactly(&mut client, 2), "ok");
    }
    // With a body that was taken from the client already, it is not sent twice.
    send(&mut client, &format!("POST http://{server}/ HTTP/1.1\r\nHost: {server}\r\nContent-Length: 1\r\n\r\nx"));
    assert!(read_head(&mut client).starts_with("HTTP/1.1 502"));
    drop(client);
    let records = harness.finish();
    let errors: Vec<_> = records.exchanges.iter().map(|exchange| exchange.error).collect();
    // It closes with the body unread: that is a reset, or an end, as it happens.
    assert!(matches!(errors[..], [None, None, Some(Fault::ServerClosed | Fault::ServerReset)]), "{errors:?}");
}

#[test]
fn a_truncated_response_looks_truncated() {
    let server = origin(|mut stream, number| {
        read_head(&mut stream);
        let head = ["Content-Length: 10\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"][number];
        send(&mut stream, &format!("HTTP/1.1 200 OK\r\n{head}"));
    });
    let harness = start();
    for _ in 0..2 {
        let mut client = harness.client();
        send(&mut client, &format!("GET http://{server}/ HTTP/1.1\r\nHost: {server}\r\n\r\n"));
        let got = read_all(&mut client).unwrap_or_else(|partial| partial);
        assert!(got.ends_with("half") || got.ends_with("half\r\n") || got.is_empty(), "{got}");
    }
    let records = harness.finish();
    for exchange in &records.exchanges {
        assert_eq!(exchange.error, Some(Fault::ServerClosed));
        assert_eq!(exchange.response_body.state, BodyState::Truncated);
        assert_eq!(exchange.response_body.size, 4);
    }
    assert_eq!(records.exchanges.len(), 2);
}

#[test]
fn requests_that_are_none_are_refused_and_never_forwarded() {
    static REACHED: AtomicUsize = AtomicUsize::new(0);
    let server = origin(|_, _| {
        REACHED.fetch_add(1, SeqCst);
    });
    let harness = start();
    let big = "x".repeat(70 << 10);
    let cases = [
        (
            format!(
                "POST http://{server}/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
            ),
            "400",
            Fault::RequestSmuggling,
        ),
        (format!("GET http://{server}/ HTTP/1.1\r\nX: a\r\n b\r\n\r\n"), "400", Fault::ClientMalformed),
        (format!("GET http://{server}/ HTTP/1.1\r\n\r\n"), "400", Fault::ClientMalformed),
        ("GET / HTTP/1.1\r\nHost: somewhere\r\n\r\n".to_owned(), "400", Fault::ClientMalformed),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), "400", Fault::ClientMalformed),
        ("CONNECT nowhere HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), "400", Fault::ClientMalformed),
        ("\x16\x03\x01garbage".to_owned(), "400", Fault::ClientMalformed),
        (format!("GET http://{server}/ HTTP/1.1\r\nX: {big}\r\n\r\n"), "431", Fault::RequestHeadTooLarge),
        (format!("GET http://{server}/ HTTP/1.1\r\n{}", "A: b\r\n".repeat(12_000)), "431", Fault::RequestHeadTooLarge),
        (
            format!("GET http://{server}/ HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(300)),
            "431",
            Fault::RequestHeadTooLarge,
        ),
    ];
    for (request, status, fault) in &cases {
        let mut client = harness.client();
        let _ = client.write_all(request.as_bytes());
        let head = read_head(&mut client);
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head} to {request:.80}");
        assert!(head.contains(&format!("X-Weir-Error: {fault}")), "{head}");
    }
    let records = harness.finish();
    let mut faults: Vec<_> = records.exchanges.iter().map(|exchange| exchange.error).collect();
    let mut expected: Vec<_> = cases.iter().map(|case| Some(case.2)).collect();
    faults.sort_by_key(|fault| fault.map(Fault::as_str));
    expected.sort_by_key(|fault| fault.map(Fault::as_str));
    assert_eq!(faults, expected);
    assert!(records.exchanges.iter().all(|exchange| exchange.flags.has(Flags::ANSWERED_BY_WEIR)));
    assert_eq!(REACHED.load(SeqCst), 0);
}

#[test]
fn bad_chunks_of_a_request_end_it() {
    let server = origin(|mut stream, _| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let harness = start();
    let mut client = harness.client();
    let head = format!("POST http://{server}/ HTTP/1.1\r\nHost: {server}\r\nTransfer-Encoding: chunked\r\n\r\n");
    send(&mut client, &format!("{head}3\r\nabc\r\nZZ\r\n"));
    assert!(read_head(&mut client).starts_with("HTTP/1.1 400"));
    drop(client);
    assert_eq!(harness.finish().exchanges[0].error, Some(Fault::BadChunk));
}

#[test]
fn responses_that_are_none_become_502() {
    let server = origin(|mut stream, number| {
        read_head(&mut stream);
        let response = [
            "SSH-2.0-OpenSSH\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
            format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(70 << 10)),
            String::new(),
        ];
        let _ = stream.write_all(response[number].as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let harness = start();
    for fault in [Fault::ServerMalformed, Fault::ResponseSmuggling, Fault::ResponseHeadTooLarge, Fault::ServerClosed] {
        let mut client = harness.client();
        send(&mut client, &format!("GET http://{server}/ HTTP/1.1\r\nHost: {server}\r\n\r\n"));
        let head = read_head(&mut client);
        assert!(head.starts_with("HTTP/1.1 502") && head.contains(fault.as_str()), "{head}");
    }
    assert_eq!(harness.finish().exchanges.len(), 4);
}

#[test]
fn servers_that_are_not_there() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let harness = start();
    let mut client = harness.client();
    for (authority, status, fault) in [
        (closed.to_string(), "502", Fault::ConnectRefused),
        ("no-such-name.invalid".to_owned(), "502", Fault::DnsFailed),
    ] {
        let request =
            format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\nAccept: application/json\r\n\r\n");
        send(&mut client, &request);
        let head = read_head(&mut client);
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
        let length = head.split("Content-Length: ").nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap();
        let body = read_exactly(&mut client, length.parse().unwrap());
        assert!(body.contains(&format!("\"error\":\"{fault}\"")), "{body}");
    }
    drop(client);
    let records = harness.finish();
    assert_eq!(records.exchanges[1].error, Some(Fault::DnsFailed));
    assert_eq!(records.exchanges[1].status, Some(502));
}

#[test]
fn the_proxy_does_not_dial_its_own_listeners() {
    let ui = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config();
    config.refuse = vec![ui.local_addr().unwrap()];
    let harness = start_with(config, 64, WhenFull::Wait);
    let own = harness.address.port();
    let ui = ui.local_addr().unwrap().port();
    for authority in [format!("127.0.0.1:{own}"), format!("localhost:{ui}"), format!("0.0.0.0:{ui}")] {
        let mut client = harness.client();
        send(&mut client, &format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n"));
        let head = read_head(&mut client);
        assert!(head.starts_with("HTTP/1.1 403") && head.contains("loop_refused"), "{authority}: {head}");
    }
    assert!(harness.finish().exchanges.iter().all(|exchange| exchange.error == Some(Fault::LoopRefused)));
}

#[test]
fn credentials_are_wanted_and_kept_from_servers_and_records() {
    let server = origin(|mut stream, _| {
        assert!(!read_head(&mut stream).to_ascii_lowercase().contains("proxy-auth"));
        send(&mut stream, OK);
        read_head(&mut stream);
    });
    let mut config = config();
    config.auth = Some(("Aladdin".to_owned(), "open sesame".to_owned()));
    let harness = start_with(config, 64, WhenFull::Wait);
    let mut client = harness.client();
    send(&mut client, &format!("GET http://{server}/ HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n"));
    let refused = read_all(&mut client).unwrap();
    assert!(refused.starts_with("HTTP/1.1 407") && refused.contains("Proxy-Authenticate: Basic"), "{refused}");
    let mut client = harness.client();
    send(
        &mut client,
        &format!(
            "GET http://{server}/ HTTP/1.1\r\nHost: {server}\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"
        ),
    );
    assert!(read_head(&mut client).starts_with("HTTP/1.1 200"));
    drop(client);
    let records = harness.finish();
    assert!(records.exchanges.iter().all(|exchange| exchange.request_headers.get("proxy-authorization").is_none()));
    assert_eq!(records.exchanges[0].error, Some(Fault::ProxyAuthRequired));
}

#[test]
fn clients_that_vanish_or_dawdle() {
    let server = origin(answer_always(OK));
    let mut config = config();
    config.limits.head_read = Duration::from_millis(300);
    config.limits.client_body = Duration::from_millis(300);
    let harness = start_with(config, 64, WhenFull::Wait);
    // Half a head, then gone.
    let mut client = harness.client();
    send(&mut client, "GET http://a/ HT");
    drop(client);
    // Half a head, then silence.
    let mut client = harness.client();
    send(&mut client, "GET http://a/ HT");
    assert!(read_head(&mut client).starts_with("HTTP/1.1 408"));
    // Half a body, then gone.
    let mut client = harness.client();
    send(&mut client, &format!("POST http://{server}/ HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"));
    assert!(read_head(&mut client).starts_with("HTTP/1.1 200"));
    drop(client);
    let records = harness.finish();
    let mut faults: Vec<_> =
        records.exchanges.iter().filter_map(|exchange| exchange.error).map(Fault::as_str).collect();
    faults.sort_unstable();
    assert_eq!(faults, ["client_closed", "client_closed", "client_timeout"]);
}

#[test]
fn a_silent_server_times_out() {
    let server = origin(|mut stream, _| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let mut config = config();
    config.upstream.timeouts.response = Duration::from_millis(300);
    let harness = start_with(config, 64, WhenFull::Wait);
    let mut client = harness.client();
    send(&mut client, &format!("GET http://{server}/ HTTP/1.1\r\nHost: {server}\r\n\r\n"));
    assert!(read_head(&mut client).starts_with("HTTP/1.1 504"));
    drop(client);
    assert_eq!(harness.finish().exchanges[0].error, Some(Fault::ServerTimeout));
}

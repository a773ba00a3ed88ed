//! CONNECT, Upgrade and upstream proxies.

mod support;

use std::io::{Read, Write};

use support::*;
use weir_engine::{
    pipeline::WhenFull,
    record::{ConnectionKind, Direction, Flags, MessageKind},
};
use weir_proxy::config::UpstreamProxy;

fn connected(harness: &Harness, authority: &str) -> std::net::TcpStream {
    let mut client = harness.client();
    send(&mut client, &format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n"));
    assert!(read_head(&mut client).starts_with("HTTP/1.1 200"));
    client
}

#[test]
fn other_protocols_pass_and_are_counted() {
    let server = origin(|mut stream, _| {
        // The server speaks first here.
        send(&mut stream, "220 ready\r\n");
        assert_eq!(read_exactly(&mut stream, 6), "EHLO\r\n");
        send(&mut stream, "250 ok\r\n");
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        send(&mut stream, "bye");
    });
    let harness = start();
    let mut client = connected(&harness, &server.to_string());
    assert_eq!(read_until(&mut client, "\r\n"), "220 ready\r\n");
    send(&mut client, "EHLO\r\n");
    assert_eq!(read_until(&mut client, "\r\n"), "250 ok\r\n");
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut client).unwrap(), "bye");
    let records = harness.finish();
    assert!(records.exchanges.is_empty());
    let connection = &records.connections[0];
    assert_eq!((connection.kind, connection.server, connection.error), (ConnectionKind::Tunnel, Some(server), None));
    assert_eq!(connection.domain.as_deref(), Some("127.0.0.1"));
    // What was inside the tunnel, without the CONNECT.
    assert_eq!((connection.sent_bytes, connection.received_bytes), (6, 22));
}

#[test]
fn http_inside_connect_is_served() {
    let server = origin(answer_always("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    let harness = start();
    let mut client = connected(&harness, &server.to_string());
    send(&mut client, "GET /inside HTTP/1.1\r\nHost: example.test\r\n\r\n");
    assert!(read_head(&mut client).starts_with("HTTP/1.1 200"));
    drop(client);
    let records = harness.finish();
    assert_eq!(records.exchanges[0].url.as_str(), "http://example.test/inside");
    assert_eq!(records.exchanges[0].server, Some(server));
}

#[test]
fn tls_without_an_interceptor_passes_through() {
    let hello = b"\x16\x03\x01\x00\x02hi";
    let server = origin(move |mut stream, _| {
        let mut seen = [0; 7];
        stream.read_exact(&mut seen).unwrap();
        assert_eq!(&seen, hello);
        stream.write_all(&seen).unwrap();
    });
    let harness = start();
    let mut client = connected(&harness, &server.to_string());
    client.write_all(hello).unwrap();
    let mut back = [0; 7];
    client.read_exact(&mut back).unwrap();
    assert_eq!(&back, hello);
    drop(client);
    assert_eq!(harness.finish().connections[0].kind, ConnectionKind::Passthrough);
}

#[test]
fn websocket_messages_are_recorded() {
    let server = origin(|mut stream, _| {
        let head = read_head(&mut stream);
        assert!(head.contains("Connection: Upgrade\r\n") && head.contains("Upgrade: websocket\r\n"), "{head}");
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        stream.write_all(&[head.as_bytes(), b"\x81\x05hello"].concat()).unwrap();
        let mut frame = [0; 8];
        stream.read_exact(&mut frame).unwrap();
        assert_eq!(&frame, b"\x81\x82\x01\x02\x03\x04ik");
    });
    let harness = start();
    let mut client = harness.client();
    send(
        &mut client,
        &format!(
            "GET http://{server}/ws HTTP/1.1\r\nHost: {server}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        ),
    );
    assert!(read_head(&mut client).contains("Upgrade: websocket\r\n"));
    let mut frame = [0; 7];
    client.read_exact(&mut frame).unwrap();
    assert_eq!(&frame, b"\x81\x05hello");
    client.write_all(b"\x81\x82\x01\x02\x03\x04ik").unwrap();
    assert_eq!(read_all(&mut client).unwrap_or_default(), "");
    drop(client);
    let mut records = harness.finish();
    let exchange = &records.exchanges[0];
    assert_eq!((exchange.status, exchange.error), (Some(101), None));
    assert!(exchange.flags.has(Flags::UPGRADED));
    records.messages.sort_by_key(|message| message.direction == Direction::Received);
    let seen: Vec<_> = records
        .messages
        .iter()
        .map(|message| (message.exchange, message.direction, message.kind, message.payload.to_vec()))
        .collect();
    assert_eq!(
        seen,
        [
            (exchange.id, Direction::Sent, MessageKind::Text, b"hi".to_vec()),
            (exchange.id, Direction::Received, MessageKind::Text, b"hello".to_vec()),
        ]
    );
}

#[test]
fn everything_goes_through_an_upstream_proxy() {
    let upstream = origin(|mut stream, number| {
        let head = read_head(&mut stream);
        assert!(head.contains("Proxy-Authorization: Basic dTpw\r\n"), "{head}");
        if number == 0 {
            assert!(head.starts_with("GET http://far.test/x HTTP/1.1\r\nHost: far.test\r\n"), "{head}");
            send(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        } else {
            assert!(head.starts_with("CONNECT far.test:22 HTTP/1.1\r\n"), "{head}");
            send(&mut stream, "HTTP/1.1 200 OK\r\n\r\nSSH-2.0-x\r\n");
            assert_eq!(read_exactly(&mut stream, 2), "\0\0");
        }
    });
    let mut config = config();
    config.upstream.proxy = Some(UpstreamProxy::parse(&format!("http://u:p@{upstream}")).unwrap());
    let harness = start_with(config, 64, WhenFull::Wait);
    let mut client = harness.client();
    send(&mut client, "GET http://far.test/x HTTP/1.1\r\nHost: far.test\r\n\r\n");
    assert!(read_head(&mut client).starts_with("HTTP/1.1 200"));
    let mut client = connected(&harness, "far.test:22");
    client.write_all(b"\0\0").unwrap();
    assert_eq!(read_until(&mut client, "\r\n"), "SSH-2.0-x\r\n");
    drop(client);
    let records = harness.finish();
    assert_eq!(records.exchanges[0].url.as_str(), "http://far.test/x");
}

//! HTTP/2 clients through the whole intercepting proxy: what arrives, and what is recorded.

mod http2_support;

use std::{future::poll_fn, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::FutureExt;
use h2::{RecvStream, SendStream, client::SendRequest};
use http::{HeaderMap, Request, Response};
use http2_support::{Recorded, origin};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;
use weir_engine::record::{BodyState, Direction, Fault, Flags, MessageKind, Protocol};
use weir_proxy::{ProxyConfig, ca::Authority, hooks::Alpn};

async fn read_all(stream: &mut RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut all = Vec::new();
    while let Some(bytes) = stream.data().await {
        let bytes = bytes?;
        all.extend_from_slice(&bytes);
        stream.flow_control().release_capacity(bytes.len())?;
    }
    Ok((all, stream.trailers().await?))
}

async fn send_all(stream: &mut SendStream<Bytes>, mut bytes: Bytes, trailers: Option<HeaderMap>) {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let Some(Ok(room)) = poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
        let piece = bytes.split_to(room.min(bytes.len()));
        stream.send_data(piece, false).expect("sends");
    }
    match trailers {
        None => stream.send_data(Bytes::new(), true).expect("ends"),
        Some(trailers) => stream.send_trailers(trailers).expect("ends"),
    }
}

/// Echoes bodies and trailers; `/reset` resets; `/grpc` answers with two messages.
async fn echo_http2(stream: TlsStream<TcpStream>) {
    let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        tokio::spawn(async move {
            let path = request.uri().path().to_owned();
            let mut response = Response::builder().header("x-path", &path).header("set-cookie", "a=1");
            if path == "/reset" {
                return respond.send_reset(h2::Reason::ENHANCE_YOUR_CALM);
            }
            if path == "/grpc" {
                response = response.header("content-type", "application/grpc");
            }
            if let Some(values) = request.headers().get("x-check") {
                response = response.header("x-seen", values);
            }
            let mut body = request.into_body();
            let mut down = respond.send_response(response.body(()).expect("a response"), false).expect("responds");
            let (bytes, trailers) = read_all(&mut body).await.expect("reads");
            send_all(&mut down, bytes.into(), trailers).await;
        });
    }
}

/// Answers every request with its own bytes, head and body.
async fn mirror_http1(mut stream: TlsStream<TcpStream>) {
    let mut seen = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&seen).into_owned();
        let complete = text.find("\r\n\r\n").is_some_and(|end| {
            !text[..end].contains("transfer-encoding: chunked")
                || text.ends_with("0\r\n\r\n")
                || text.ends_with("\r\nx-up: 1\r\n\r\n")
        });
        if complete {
            let mut answer = format!("HTTP/1.1 200 Fine\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\nX-Case: Kept\r\n\r\n{:x}\r\n", seen.len()).into_bytes();
            answer.append(&mut seen);
            answer.extend_from_slice(b"\r\n0\r\nx-down: 1\r\n\r\n");
            stream.write_all(&answer).await.expect("writes");
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => seen.extend_from_slice(&buffer[..count]),
        }
    }
}

fn http2_origin() -> (Arc<Authority>, SocketAddr) {
    let authority = Arc::new(Authority::ephemeral().expect("an authority"));
    let address = origin(&authority, Alpn::Http2, |stream| echo_http2(stream).boxed());
    (authority, address)
}

fn http1_origin() -> (Arc<Authority>, SocketAddr) {
    let authority = Arc::new(Authority::ephemeral().expect("an authority"));
    let address = origin(&authority, Alpn::Http11, |stream| mirror_http1(stream).boxed());
    (authority, address)
}

async fn exchange(
    send: &SendRequest<Bytes>,
    request: Request<()>,
    body: Option<Bytes>,
    trailers: Option<HeaderMap>,
) -> Result<(http::response::Parts, Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut send = send.clone().ready().await?;
    let (response, mut up) = send.send_request(request, body.is_none())?;
    let upload = async {
        if let Some(body) = body {
            send_all(&mut up, body, trailers).await;
        }
    };
    let download = async {
        let (parts, mut body) = response.await?.into_parts();
        let (bytes, trailers) = read_all(&mut body).await?;
        Ok((parts, bytes, trailers))
    };
    tokio::join!(upload, download).1
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("x-up"), http::HeaderValue::from_static("1"))])
}

#[tokio::test]
async fn http2_stays_http2_and_a_hundred_streams_are_recorded_once_each() {
    let (authority, server) = http2_origin();
    let proxy = Recorded::start(&authority, None);
    let send = proxy.connect(server).await;
    let requests = (0..100).map(|number: usize| {
        let send = send.clone();
        tokio::spawn(async move {
            let uri = format!("https://{server}/n/{number}?q=1");
            let request = Request::post(uri).header("x-check", "yes").body(()).expect("a request");
            let body = Bytes::from(vec![u8::try_from(number).expect("small"); number * 997]);
            let (parts, echoed, ended) =
                exchange(&send, request, Some(body.clone()), Some(trailers())).await.expect("answers");
            assert_eq!(
                (parts.status.as_u16(), &parts.headers["x-seen"]),
                (200, &http::HeaderValue::from_static("yes"))
            );
            assert!(echoed == body && ended == Some(trailers()));
        })
    });
    futures_util::future::join_all(requests).await.into_iter().for_each(|ended| ended.expect("ends well"));
    drop(send);
    let records = proxy.stop();
    assert_eq!(records.exchanges.len(), 100);
    for exchange in &records.exchanges {
        assert_eq!((exchange.protocol, exchange.status, exchange.error), (Protocol::Http2, Some(200), None));
        let number: usize = exchange.url.path()["/n/".len()..].parse().expect("a number");
        assert_eq!(exchange.url.as_str(), format!("https://{server}/n/{number}?q=1"));
        assert_eq!(
            (exchange.request_body.size, exchange.response_body.size),
            (number as u64 * 997, number as u64 * 997)
        );
        assert_eq!(exchange.request_body.content.hash(), exchange.response_body.content.hash());
        assert!(exchange.flags.has(Flags::TRAILERS) && !exchange.flags.has(Flags::TRANSLATED));
        assert_eq!(exchange.response_headers.get("x-up"), Some(&b"1"[..]));
        assert!(exchange.request_headers.iter().all(|(name, _)| !name.starts_with(b":")));
        assert!(
            exchange.timings.duration_us.is_some() && exchange.timings.wait_us.is_some()
                || exchange.flags.has(Flags::EARLY_RESPONSE)
        );
    }
    let fresh = records.exchanges.iter().filter(|exchange| !exchange.flags.has(Flags::REUSED)).count();
    assert_eq!(fresh, 1);
    let [connection] = &records.connections[..] else { panic!("one connection") };
    assert_eq!(
        (connection.exchanges, connection.client_tls.alpn.as_deref(), connection.error),
        (100, Some("h2"), None)
    );
    assert!(connection.sent_bytes > 4_000_000 && connection.received_bytes > 4_000_000);
}

#[tokio::test]
async fn http2_clients_reach_http11_servers_and_nothing_is_smuggled() {
    let (authority, server) = http1_origin();
    let proxy = Recorded::start(&authority, Some(Alpn::Http2));
    let send = proxy.connect(server).await;
    let request = Request::post(format!("https://{server}/up?x=1"))
        .header("cookie", "a=1")
        .header("x-one", "1")
        .header("cookie", "b=2")
        .body(())
        .expect("a request");
    let (parts, mirrored, ended) =
        exchange(&send, request, Some(Bytes::from_static(b"hello")), Some(trailers())).await.expect("answers");
    assert_eq!(
        String::from_utf8_lossy(&mirrored),
        format!(
            "POST /up?x=1 HTTP/1.1\r\nhost: {server}\r\ncookie: a=1; b=2\r\nx-one: 1\r\n\
             transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-up: 1\r\n\r\n"
        )
    );
    assert_eq!(ended.expect("trailers")["x-down"], "1");
    assert!(!parts.headers.contains_key("connection") && !parts.headers.contains_key("transfer-encoding"));
    // Without a body there is no framing, and the connection is used again.
    let request = Request::get(format!("https://{server}/again")).body(()).expect("a request");
    let (_, mirrored, _) = exchange(&send, request, None, None).await.expect("answers");
    assert_eq!(String::from_utf8_lossy(&mirrored), format!("GET /again HTTP/1.1\r\nhost: {server}\r\n\r\n"));
    // Two readings of one request are refused before they reach the server.
    let request =
        Request::get(format!("https://{server}/x")).header("host", "other.example").body(()).expect("a request");
    assert_eq!(exchange(&send, request, None, None).await.expect("answers").0.status, 400);
    drop(send);
    let records = proxy.stop();
    let [first, second, third] = &records.exchanges[..] else { panic!("three exchanges") };
    assert!(
        first.flags.has(Flags::TRANSLATED) && second.flags.has(Flags::TRANSLATED) && second.flags.has(Flags::REUSED)
    );
    assert_eq!((first.reason.as_deref(), first.error), (Some("Fine"), None));
    assert_eq!(first.response_headers.get("x-down"), Some(&b"1"[..]));
    assert_eq!((third.error, third.status), (Some(Fault::RequestSmuggling), Some(400)));
    assert!(third.flags.has(Flags::ANSWERED_BY_WEIR));
}

#[tokio::test]
async fn resets_and_grpc_messages_are_recorded() {
    let (authority, server) = http2_origin();
    let proxy = Recorded::start(&authority, None);
    let send = proxy.connect(server).await;
    let request = Request::get(format!("https://{server}/reset")).body(()).expect("a request");
    let error = exchange(&send, request, None, None).await.expect_err("reset");
    assert_eq!(error.reason(), Some(h2::Reason::ENHANCE_YOUR_CALM));
    let request = Request::post(format!("https://{server}/grpc"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a request");
    let body = Bytes::from_static(b"\0\0\0\0\x03one\x01\0\0\0\x03two");
    exchange(&send, request, Some(body), Some(trailers())).await.expect("answers");
    drop(send);
    let records = proxy.stop();
    assert_eq!((records.exchanges[0].error, records.exchanges[0].status), (Some(Fault::StreamReset), None));
    let messages: Vec<_> = records
        .messages
        .iter()
        .map(|message| (message.direction, message.kind, &*message.payload, message.state, message.compressed))
        .collect();
    let expected = |direction| {
        [
            (direction, MessageKind::Grpc, &b"one"[..], BodyState::Stored, false),
            (direction, MessageKind::Grpc, &b"two"[..], BodyState::Stored, true),
        ]
    };
    let of = |direction| messages.iter().copied().filter(|message| message.0 == direction).collect::<Vec<_>>();
    assert_eq!(of(Direction::Sent), expected(Direction::Sent));
    assert_eq!(of(Direction::Received), expected(Direction::Received));
    assert!(records.messages.iter().all(|message| message.exchange == records.exchanges[1].id));
}

#[tokio::test]
async fn who_stalls_is_who_is_recorded() {
    let (authority, server) = http2_origin();
    let mut config = ProxyConfig::default();
    config.upstream.timeouts.response = Duration::from_millis(400);
    let proxy = Recorded::start_with(&authority, None, config.clone());
    let send = proxy.connect(server).await;
    // The response does not fit into the window, which is never opened.
    let request = Request::post(format!("https://{server}/echo")).body(()).expect("a request");
    let (response, mut stream) = send.clone().ready().await.expect("ready").send_request(request, false).expect("sent");
    send_all(&mut stream, Bytes::from(vec![7; 200 << 10]), None).await;
    let mut body = response.await.expect("answers").into_body();
    let error = loop {
        match body.data().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break error,
            None => panic!("the response passed whole"),
        }
    };
    assert!(error.is_reset(), "{error}");
    drop(send);
    assert_eq!(proxy.stop().exchanges[0].error, Some(Fault::ClientTimeout));

    // The server waits for the end of the request, and so does the proxy.
    let (authority, server) = http1_origin();
    let proxy = Recorded::start_with(&authority, Some(Alpn::Http2), config);
    let send = proxy.connect(server).await;
    let request = Request::post(format!("https://{server}/")).body(()).expect("a request");
    let (response, stream) = send.clone().ready().await.expect("ready").send_request(request, false).expect("sent");
    assert_eq!(response.await.expect("answers").status(), 408);
    drop((stream, send));
    assert_eq!(proxy.stop().exchanges[0].error, Some(Fault::ClientTimeout));
}

#[tokio::test]
async fn an_unreachable_server_is_answered_with_a_page() {
    let authority = Arc::new(Authority::ephemeral().expect("an authority"));
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let proxy = Recorded::start(&authority, None);
    let send = proxy.connect(closed).await;
    let request = Request::get(format!("https://{closed}/")).body(()).expect("a request");
    let (parts, body, _) = exchange(&send, request, None, None).await.expect("answers");
    assert_eq!(parts.status, 502);
    assert!(String::from_utf8_lossy(&body).contains("connect_refused"));
    drop(send);
    let records = proxy.stop();
    assert_eq!((records.exchanges[0].error, records.exchanges[0].status), (Some(Fault::ConnectRefused), Some(502)));
}

#[tokio::test]
async fn curl_speaks_http2_through_the_proxy() {
    let (authority, server) = http2_origin();
    let proxy = Recorded::start(&authority, None);
    let folder = tempfile::tempdir().expect("a folder");
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, proxy.authority.certificate_pem()).expect("writes");
    let address = format!("http://{}", proxy.address());
    let output = tokio::task::spawn_blocking(move || {
        std::process::Command::new("curl")
            .args(["-sS", "--http2", "--max-time", "20", "--noproxy", "", "-x", &address, "--cacert"])
            .arg(&ca)
            .args(["-w", "%{http_version} %{http_code}", "--data-binary", "body", &format!("https://{server}/curl")])
            .output()
    });
    let output = output.await.expect("runs").expect("curl is there");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "body2 200", "{}", String::from_utf8_lossy(&output.stderr));
    let records = proxy.stop();
    assert_eq!((records.exchanges.len(), records.exchanges[0].protocol), (1, Protocol::Http2));
    assert_eq!(records.exchanges[0].request_headers.get("content-length"), Some(&b"4"[..]));
}

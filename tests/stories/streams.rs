//! What does not end soon flows as without weir: event streams, WebSockets, long polls, early answers, trailers.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_tests::{
    Home, Nginx, Origin, Weir,
    checks::{has_flag, header, only},
    client::{Raw, curl, curl_without_proxy, helper},
    nginx::Listener,
};

// Bits of `flags` (DESIGN §5).
const TRAILERS: u32 = 7;
const EARLY_RESPONSE: u32 = 8;
const UPGRADED: u32 = 9;
const INTERIM: u32 = 11;

fn start(arguments: &[&str]) -> Result<(Home, Nginx, Origin, Weir)> {
    let (home, nginx) = (Home::new()?, Nginx::start()?);
    let origin = Origin::start(&nginx.certificates)?;
    let weir = Weir::start_trusting(&home, &nginx.certificates.authority(), arguments)?;
    Ok((home, nginx, origin, weir))
}

fn release(origin: &Origin, what: &str) -> Result<()> {
    let got = curl_without_proxy(&[], &origin.url(&format!("/release?{what}")))?;
    ensure!(got.status() == 200, "{got:?}");
    Ok(())
}

/// The messages of one exchange, in order.
fn messages(home: &Home, session: &str, exchange: &Value) -> Result<Vec<Value>> {
    let all = home.table("messages", session)?;
    Ok(all.into_iter().filter(|message| message["exchange"] == exchange["id"]).collect())
}

#[test]
fn server_sent_events_arrive_as_they_are_sent() -> Result<()> {
    let (home, _nginx, origin, weir) = start(&[])?;
    let port = origin.port("http");
    let url = origin.url("/events?sse");
    let mut client = Raw::connect(weir.proxy())?;
    client.send(format!("GET {url} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/event-stream\r\n\r\n"));
    // The origin sends the next event only when told that the one before was seen.
    for number in 0..3 {
        let seen = client.until(&format!("data: number {number}\n\n"))?;
        ensure!(seen.contains(&format!("id: {number}")), "{seen}");
        release(&origin, &format!("sse-{}", number + 1))?;
    }
    client.until("0\r\n\r\n")?;
    drop(client);
    // Over HTTP/2 towards nobody, but through TLS: the same.
    let tls = origin.tls_url("/events?sse");
    ensure!(curl(&weir, &[], &tls)?.text().matches("event: tick").count() == 3, "events through TLS");

    let session = weir.session().to_owned();
    weir.stop()?;
    let rows = home.requests(&session)?;
    for url in [url, tls] {
        let row = only(&rows, &url)?;
        ensure!(row["type"] == "text/event-stream" && row["error"].is_null(), "{row}");
        let events = messages(&home, &session, row)?;
        ensure!(events.len() == 3 && events.iter().all(|event| event["kind"] == "event"), "{events:?}");
        ensure!(events.iter().all(|event| event["direction"] == "received"), "{events:?}");
    }
    Ok(())
}

#[test]
fn websockets_pass_and_their_messages_are_kept() -> Result<()> {
    let (home, _nginx, origin, weir) = start(&[])?;
    let (proxy, ca) = (weir.proxy().to_string(), weir.ca());
    let ca = ca.to_str().context("path")?;
    let urls = [format!("ws://127.0.0.1:{}", origin.port("ws")), format!("wss://localhost:{}", origin.port("wss"))];
    for url in &urls {
        let got = helper("clients.py", &["websocket", &proxy, ca, url])?;
        let same = json!({"same": [true, true, true, true, true], "code": 1000, "reason": "as you wish"});
        ensure!(got == json!({"plain": same, "deflate": same}), "{got}");
    }
    let session = weir.session().to_owned();
    weir.stop()?;
    let rows = home.requests(&session)?;
    ensure!(rows.len() == 4, "{rows:?}");
    for row in &rows {
        ensure!(row["status"] == 101 && row["error"].is_null() && has_flag(row, UPGRADED), "{row}");
        let all = messages(&home, &session, row)?;
        let deflate = row["path"] == "/deflate";
        for direction in ["sent", "received"] {
            let kinds = |kind: &str| {
                all.iter().filter(|m| m["direction"] == direction && m["kind"] == kind).collect::<Vec<_>>()
            };
            let texts = kinds("text");
            let expected = if direction == "sent" { 5 } else { 4 };
            ensure!(texts.len() == expected, "{direction}: {} texts of {all:?}", texts.len());
            ensure!(texts[0]["payload"] == "68656c6c6f", "hello, inflated: {}", texts[0]);
            ensure!(texts[0]["compressed"] == deflate, "{}", texts[0]);
            ensure!(kinds("binary").len() == 1 && kinds("close").len() == 1, "{direction}: {all:?}");
        }
        ensure!(all.iter().any(|m| m["kind"] == "ping") && all.iter().any(|m| m["kind"] == "pong"), "{all:?}");
    }
    Ok(())
}

#[test]
fn half_a_body_is_passed_on_before_the_rest_exists() -> Result<()> {
    let (home, _nginx, origin, weir) = start(&[])?;
    let url = origin.url("/slow?rest");
    let mut client = Raw::connect(weir.proxy())?;
    client.send(format!("GET {url} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")).until("\r\n\r\n12345")?;
    release(&origin, "rest")?;
    client.until("67890")?;
    // A long poll: nothing for a while, then the answer.
    let poll = origin.url("/hold?poll");
    client.send(format!("GET {poll} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"));
    ensure!(origin.report(Duration::from_secs(20))?["held"] == "poll", "the request reached the origin");
    release(&origin, "poll")?;
    client.until("{\"released\": \"poll\"}")?;
    drop(client);
    let session = weir.session().to_owned();
    weir.stop()?;
    let rows = home.requests(&session)?;
    ensure!(only(&rows, &url)?["response_size"] == 10 && only(&rows, &poll)?["status"] == 200, "{rows:?}");
    Ok(())
}

#[test]
fn early_and_interim_answers_and_trailers_pass() -> Result<()> {
    let (home, nginx, origin, weir) = start(&[])?;
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), nginx.file("/huge.bin")?.repeat(8))?;
    let from_file = format!("@{}", file.path().display());
    let early = origin.url("/early");
    let got = curl(&weir, &["--http1.1", "--header", "Expect:", "--data-binary", &from_file], &early)?;
    ensure!(got.status() == 413 && got.text() == "{\"early\": true}", "{got:?}");

    let hints = origin.url("/hints");
    let mut client = Raw::connect(weir.proxy())?;
    let answer = client.send(format!("GET {hints} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")).rest()?;
    ensure!(answer.starts_with("HTTP/1.1 103") && answer.contains("Link: </style.css>"), "{answer}");
    ensure!(answer.ends_with("{\"hinted\": true}"), "{answer}");

    let trailers = origin.url("/trailers");
    let mut client = Raw::connect(weir.proxy())?;
    let answer = client
        .send(format!("GET {trailers} HTTP/1.1\r\nHost: 127.0.0.1\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n"))
        .rest()?;
    ensure!(answer.contains("\r\n0\r\nX-Checksum: abc\r\n\r\n"), "{answer}");

    // A chunked request with trailers reaches the server with them.
    let echo = origin.url("/echo?trailers");
    let mut client = Raw::connect(weir.proxy())?;
    let answer = client
        .send(format!(
            "POST {echo} HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\
             Connection: close\r\n\r\n3;ext=1\r\nabc\r\n0\r\nX-Sum: 3\r\n\r\n"
        ))
        .rest()?;
    ensure!(answer.contains("[\"X-Sum\", \"3\"]"), "{answer}");

    let session = weir.session().to_owned();
    weir.stop()?;
    let rows = home.requests(&session)?;
    let early = only(&rows, &early)?;
    ensure!(early["status"] == 413 && has_flag(early, EARLY_RESPONSE), "{early}");
    ensure!(has_flag(only(&rows, &hints)?, INTERIM), "{rows:?}");
    let row = only(&rows, &trailers)?;
    ensure!(has_flag(row, TRAILERS) && header(row, "response", "x-checksum") == ["abc"], "{row}");
    ensure!(row["response_size"] == 11, "chunk framing is no body: {row}");
    Ok(())
}

#[test]
fn tunnels_that_are_not_http_pass_and_are_counted() -> Result<()> {
    let (home, nginx, _origin, weir) = start(&[])?;
    let (proxy, ca) = (weir.proxy().to_string(), weir.ca());
    let got = helper("clients.py", &["tunnel", &proxy, ca.to_str().context("path")?])?;
    ensure!(got["greeting"] == "220 welcome\r\n" && got["same"] == true, "{got}");
    // Plain HTTP inside CONNECT is HTTP all the same.
    let url = nginx.url(Listener::Plain, "/data.json");
    ensure!(curl(&weir, &["--proxytunnel"], &url)?.body == nginx.file("/data.json")?, "HTTP in a tunnel");
    let session = weir.session().to_owned();
    weir.stop()?;
    let connections = home.table("connections", &session)?;
    let tunnel = connections.iter().find(|row| row["kind"] == "tunnel").with_context(|| format!("{connections:?}"))?;
    let sent = got["sent"].as_u64().context("sent")?;
    ensure!(tunnel["sent_bytes"] == sent && tunnel["received_bytes"] == sent + 13, "{tunnel}");
    ensure!(only(&home.requests(&session)?, &url)?["status"] == 200, "HTTP in a tunnel is recorded");
    Ok(())
}

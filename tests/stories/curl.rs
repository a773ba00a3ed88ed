//! curl browses HTTP and HTTPS through weir: every request is found once, bodies are equal, numbers agree with
//! what nginx says.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use weir_tests::{
    Home, Nginx, Origin, Weir,
    checks::{ensure_sane_timings, header, hex, only},
    client::{Raw, curl},
    nginx::{FILES, Listener},
};

#[test]
fn browses_every_protocol_and_finds_each_request_once() -> Result<()> {
    let (home, nginx) = (Home::new()?, Nginx::start()?);
    let weir = Weir::start_trusting(&home, &nginx.certificates.authority(), &[])?;

    // Each way to ask, with what curl must see and what the row must say.
    let ways: [(Listener, &[&str], &str, &str); 6] = [
        (Listener::Plain, &["--http1.1"], "1.1", "HTTP/1.1"),
        (Listener::Tls, &["--http1.1"], "1.1", "HTTP/1.1"),
        (Listener::Tls, &["--http2"], "2", "HTTP/2"),
        (Listener::Tls, &["--http2", "--tls-max", "1.2"], "2", "HTTP/2"),
        (Listener::Tls12, &["--http2"], "2", "HTTP/2"),
        // The server has no h2, so the client is not promised it.
        (Listener::Tls13Http1, &["--http2", "--tlsv1.3"], "1.1", "HTTP/1.1"),
    ];
    let mut asked = Vec::new();
    for (number, (listener, arguments, version, protocol)) in ways.into_iter().enumerate() {
        for &(path, size) in FILES {
            let url = nginx.url(listener, &format!("{path}?way={number}"));
            let got = curl(&weir, arguments, &url)?;
            ensure!(got.status() == 200 && got.version() == version, "{url}: {:?} {}", got.facts, weir.errors());
            let file = nginx.file(path)?;
            ensure!(got.body == file, "{url}: {} bytes differ from {size}", got.body.len());
            asked.push((url, path, protocol, size, hex(&file)));
        }
    }
    let session = weir.session().to_owned();
    let stopped = weir.stop()?;
    let log = nginx.stop()?;
    ensure!(log.len() == asked.len() && stopped["exchanges"] == asked.len(), "{} {stopped}", log.len());

    let rows = home.requests(&session)?;
    ensure!(rows.len() == asked.len(), "{} rows for {} requests", rows.len(), asked.len());
    let mut types = BTreeMap::new();
    for (url, path, protocol, size, hash) in &asked {
        let row = only(&rows, url)?;
        ensure!(row["status"] == 200 && row["method"] == "GET" && row["protocol"] == *protocol, "{row}");
        ensure!(row["error"].is_null() && row["response_size"] == *size, "{row}");
        ensure!(row["path"] == *path && row["query"].as_str().is_some_and(|query| query.starts_with("way=")), "{row}");
        let media = ["image", "video", "audio"].iter().any(|kind| row["category"] == *kind);
        let state = match (size, media) {
            (0, _) => "none",
            (_, true) => "skipped_media",
            (_, false) => "stored",
        };
        ensure!(row["response_body_state"] == state, "{state}: {row}");
        // Media are hashed too, though not stored.
        ensure!(*size == 0 || row["response_body"] == *hash, "{hash}: {row}");
        ensure_sane_timings(row)?;
        *types.entry(row["type"].as_str().unwrap_or_default()).or_insert(0_u64) += 1;
    }

    // The overview counts what nginx counted.
    let overview = home.json(&["overview", &session])?;
    ensure!(overview["exchanges"] == log.len(), "{overview}");
    let groups = overview["by"]["type"].as_array().context("by type")?;
    for (kind, count) in types {
        ensure!(
            groups.iter().any(|group| group["key"] == kind && group["count"] == count),
            "{kind} {count}: {groups:?}"
        );
    }
    let bytes: u64 = log.iter().filter_map(|line| line["bytes"].as_u64()).sum();
    ensure!(overview["response_bytes"] == bytes, "nginx sent {bytes}: {overview}");
    Ok(())
}

#[test]
fn asks_in_every_manner_http_has() -> Result<()> {
    let (home, nginx) = (Home::new()?, Nginx::start()?);
    let origin = Origin::start(&nginx.certificates)?;
    let weir = Weir::start_trusting(&home, &nginx.certificates.authority(), &[])?;

    let head = curl(&weir, &["--head"], &nginx.url(Listener::Tls, "/data.json?head"))?;
    ensure!(head.status() == 200 && head.facts["size_download"] == 0, "{head:?}");
    for status in [204, 304, 404, 500, 503] {
        let got = curl(&weir, &["--http2"], &nginx.url(Listener::Tls, &format!("/status/{status}")))?;
        ensure!(got.status() == status, "{got:?}");
        let got = curl(&weir, &[], &nginx.url(Listener::Plain, &format!("/status/{status}")))?;
        ensure!(got.status() == status, "{got:?}");
    }
    let part = curl(&weir, &["--range", "100-199"], &nginx.url(Listener::Plain, "/large.bin?range"))?;
    ensure!(part.status() == 206 && part.body == nginx.file("/large.bin")?[100..200], "{:?}", part.facts);
    let zipped = curl(&weir, &["--compressed", "--http2"], &nginx.url(Listener::Tls, "/gzip/script.js"))?;
    ensure!(zipped.body == nginx.file("/script.js")?, "{:?}", zipped.facts);
    let moved = curl(&weir, &["--location"], &nginx.url(Listener::Plain, "/moved"))?;
    ensure!(moved.body == nginx.file("/data.json")?, "{:?}", moved.facts);
    let odd = curl(&weir, &["--http1.1"], &origin.tls_url("/odd-headers"))?;
    let names: Vec<_> = odd.head.lines().skip(1).filter_map(|line| line.split(':').next()).collect();
    let sent = ["zEBRA", "Content-Length", "X-Multi", "Alpha", "X-Multi", "Set-Cookie", "Set-Cookie", "X-Empty"];
    ensure!(names == sent && odd.head.starts_with("HTTP/1.1 200 Fine By Me"), "{}", odd.head);
    let old = curl(&weir, &["--http1.0"], &origin.url("/close-delimited"))?;
    ensure!(old.text() == "until the end".repeat(100), "{old:?}");
    let absent = curl(&weir, &["--http1.1"], &origin.url("/no-content"))?;
    ensure!(absent.status() == 204 && absent.head.contains("X-Kept: yes"), "{absent:?}");
    let unchanged = curl(&weir, &["--http1.1"], &origin.url("/not-modified"))?;
    ensure!(unchanged.status() == 304 && unchanged.body.is_empty(), "{unchanged:?}");

    // Pipelining: three requests in one segment, three answers in order.
    let port = origin.port("http");
    let ask = |n: u32| format!("GET http://127.0.0.1:{port}/sized?{n} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n");
    let mut pipeline = Raw::connect(weir.proxy())?;
    let answers = pipeline.send(format!("{}\r\n{}\r\n{}Connection: close\r\n\r\n", ask(3), ask(1), ask(2))).rest()?;
    let bodies: Vec<_> = answers.split("\r\n\r\n").skip(1).map(|part| part.split("HTTP/").next()).collect();
    ensure!(bodies == [Some("xxx"), Some("x"), Some("xx")], "{answers}");

    let session = weir.session().to_owned();
    weir.stop()?;
    let rows = home.requests(&session)?;
    let zipped = only(&rows, &nginx.url(Listener::Tls, "/gzip/script.js"))?;
    ensure!(header(zipped, "response", "content-encoding") == ["gzip"], "{zipped}");
    let odd = only(&rows, &origin.tls_url("/odd-headers"))?;
    let kept = odd["response_headers"].as_array().context("headers")?;
    ensure!(kept.iter().map(|field| &field["name"]).eq(sent), "{odd}");
    ensure!(odd["reason"] == "Fine By Me", "{odd}");
    let head = only(&rows, &nginx.url(Listener::Tls, "/data.json?head"))?;
    ensure!(head["method"] == "HEAD" && head["response_size"] == 0 && head["response_body_state"] == "none", "{head}");
    let unchanged = only(&rows, &origin.url("/not-modified"))?;
    ensure!(unchanged["status"] == 304 && unchanged["response_size"] == 0, "{unchanged}");
    for n in 1..=3 {
        ensure!(only(&rows, &origin.url(&format!("/sized?{n}")))?["response_size"] == n, "sized {n}");
    }
    Ok(())
}

#[test]
fn uploads_arrive_whole() -> Result<()> {
    let (home, nginx) = (Home::new()?, Nginx::start()?);
    let origin = Origin::start(&nginx.certificates)?;
    let weir = Weir::start_trusting(&home, &nginx.certificates.authority(), &[])?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("upload");
    let bytes = nginx.file("/huge.bin")?;
    std::fs::write(&file, &bytes)?;
    let from_file = format!("@{}", file.display());

    let chunked = "Transfer-Encoding: chunked";
    let ways: [(&str, Vec<&str>); 4] = [
        ("length", vec!["--http1.1", "--data-binary", &from_file]),
        ("expect", vec!["--http1.1", "--data-binary", &from_file, "--header", "Expect: 100-continue"]),
        ("chunked", vec!["--http1.1", "--data-binary", &from_file, "--header", chunked]),
        ("small", vec!["--http1.1", "--data-binary", "{\"a\":1}", "--header", "Content-Type: application/json"]),
    ];
    for (name, arguments) in &ways {
        for url in [origin.url("/echo"), origin.tls_url("/echo")] {
            let got = curl(&weir, arguments, &format!("{url}?{name}"))?;
            let size = if *name == "small" { 7 } else { bytes.len() };
            ensure!(got.status() == 200 && got.text().contains(&format!("\"size\": {size},")), "{name}: {got:?}");
        }
    }
    // HTTP/2 from the client; nginx stores what arrives.
    let put = nginx.url(Listener::Tls, "/put/new.bin");
    let got = curl(&weir, &["--http2", "--upload-file", file.to_str().context("path")?], &put)?;
    ensure!(got.status() == 201, "{got:?}");
    let back = curl(&weir, &["--http2"], &nginx.url(Listener::Tls, "/put/new.bin?back"))?;
    ensure!(back.body == bytes, "{:?}", back.facts);
    let asked = curl(&weir, &["--http1.1", "--data-binary", &from_file], &origin.url("/continue"))?;
    ensure!(asked.text().contains("\"asked\": true"), "Expect must reach the server: {asked:?}");

    let session = weir.session().to_owned();
    weir.stop()?;
    let rows = home.requests(&session)?;
    for (name, _) in &ways {
        let (size, hash) = if *name == "small" { (7, hex(b"{\"a\":1}")) } else { (bytes.len(), hex(&bytes)) };
        for url in [origin.url("/echo"), origin.tls_url("/echo")] {
            let row = only(&rows, &format!("{url}?{name}"))?;
            ensure!(row["request_size"] == size && row["request_body"] == hash, "{row}");
            ensure!(row["request_body_state"] == "stored", "{row}");
        }
    }
    let put = only(&rows, &put)?;
    ensure!(put["method"] == "PUT" && put["protocol"] == "HTTP/2" && put["request_body"] == hex(&bytes), "{put}");
    Ok(())
}

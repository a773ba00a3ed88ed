//! Bad input from either side: a clear answer or a marked row; the capture goes on and no other exchange suffers.

use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_tests::{
    Home, Nginx, Origin, Weir,
    checks::only,
    client::{Raw, curl},
    nginx::Listener,
    process::eventually,
};

fn start() -> Result<(Home, Nginx, Origin, Weir)> {
    let (home, nginx) = (Home::new()?, Nginx::start()?);
    let origin = Origin::start(&nginx.certificates)?;
    let weir = Weir::start_trusting(&home, &nginx.certificates.authority(), &[])?;
    Ok((home, nginx, origin, weir))
}

/// Every `error` of the session, over exchanges and connections.
fn errors(home: &Home, session: &str) -> Result<BTreeSet<String>> {
    let rows = home.requests(session)?.into_iter().chain(home.table("connections", session)?);
    Ok(rows.filter_map(|row| row["error"].as_str().map(str::to_owned)).collect())
}

#[test]
fn clients_that_send_nonsense_are_refused() -> Result<()> {
    let (home, nginx, origin, weir) = start()?;
    let host = format!("127.0.0.1:{}", origin.port("http"));
    let echo = origin.url("/echo");
    let post = |fields: &str, body: &str| format!("POST {echo} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n\r\n{body}");
    let smuggled = format!("GET http://{host}/smuggled HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let giant = format!("GET {echo} HTTP/1.1\r\nHost: {host}\r\nX-Giant: {}\r\n\r\n", "g".repeat(4_000_000));
    let mut endless = format!("GET {echo} HTTP/1.1\r\nHost: {host}\r\n");
    for number in 0..100_000 {
        write!(endless, "X-{number}: y\r\n")?;
    }
    let long_target = format!("GET http://{host}/{} HTTP/1.1\r\nHost: {host}\r\n\r\n", "t".repeat(2_000_000));
    // What is sent, the status codes that answer it, and the error that is recorded.
    let table: Vec<(&str, String, &[&str], &str)> = vec![
        ("garbage", "\u{1}\u{2}\u{3} what is this\r\n\r\n\r\n".to_owned(), &["400"], "client_malformed"),
        ("no colon", format!("GET {echo} HTTP/1.1\r\nHost: {host}\r\nnonsense\r\n\r\n"), &["400"], "client_malformed"),
        (
            "space before the colon",
            format!("GET {echo} HTTP/1.1\r\nHost : {host}\r\n\r\n"),
            &["400"],
            "client_malformed",
        ),
        (
            "NUL in a value",
            format!("GET {echo} HTTP/1.1\r\nHost: {host}\r\nX: \0\r\n\r\n"),
            &["400"],
            "client_malformed",
        ),
        (
            "a method that is none",
            format!("G@T {echo} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            &["400", "501"],
            "client_malformed",
        ),
        (
            "a version from elsewhere",
            format!("GET {echo} HTTP/7.1\r\nHost: {host}\r\n\r\n"),
            &["400", "505"],
            "client_malformed",
        ),
        ("CONNECT to nothing", "CONNECT nothing HTTP/1.1\r\n\r\n".to_owned(), &["400"], "client_malformed"),
        ("giant head", giant, &["431", "400"], "request_head_too_large"),
        ("endless head", endless, &["431", "400"], "request_head_too_large"),
        ("long target", long_target, &["414", "431", "400"], "request_head_too_large"),
        (
            "both lengths",
            post("Content-Length: 5\r\nTransfer-Encoding: chunked", &format!("0\r\n\r\n{smuggled}")),
            &["400"],
            "request_smuggling",
        ),
        ("two lengths", post("Content-Length: 0\r\nContent-Length: 90", &smuggled), &["400"], "request_smuggling"),
        ("lengths in a list", post("Content-Length: 0, 90", &smuggled), &["400"], "request_smuggling"),
        ("a signed length", post("Content-Length: +0", &smuggled), &["400"], "request_smuggling"),
        ("an unknown coding", post("Transfer-Encoding: xchunked", &smuggled), &["400", "501"], "request_smuggling"),
        ("chunked not last", post("Transfer-Encoding: chunked, gzip", &smuggled), &["400", "501"], "request_smuggling"),
        ("bad chunk size", post("Transfer-Encoding: chunked", "xyz\r\nabc\r\n0\r\n\r\n"), &["400"], "bad_chunk"),
        ("huge chunk size", post("Transfer-Encoding: chunked", "fffffffffffffffff\r\nabc"), &["400"], "bad_chunk"),
        ("chunk without an end", post("Transfer-Encoding: chunked", "3\r\nabcdef\r\n0\r\n\r\n"), &["400"], "bad_chunk"),
    ];
    for (name, bytes, codes, _) in &table {
        let answer = Raw::connect(weir.proxy())?.send(bytes).finish().rest().with_context(|| (*name).to_owned())?;
        let code = answer.split(' ').nth(1).unwrap_or_default();
        // A client that still sends when it is refused may see a reset in place of the answer.
        ensure!(codes.contains(&code) || (bytes.len() > 100_000 && answer.is_empty()), "{name}: {answer:?}");
        ensure!(!answer.contains("smuggled"), "{name}: {answer}");
        let good = curl(&weir, &[], &nginx.url(Listener::Plain, "/data.json"))?;
        ensure!(good.status() == 200, "after {name}: {good:?}");
    }
    let session = weir.session().to_owned();
    weir.stop()?;
    let errors = errors(&home, &session)?;
    for (name, _, _, error) in &table {
        ensure!(errors.contains(*error), "{name} should leave {error}, there are {errors:?}");
    }
    let rows = home.requests(&session)?;
    let smuggled: Vec<_> = rows.iter().filter(|row| row["path"] == "/smuggled").collect();
    ensure!(smuggled.is_empty(), "{smuggled:?}");
    ensure!(rows.iter().filter(|row| row["status"] == 200).count() == table.len(), "the good ones are all there");
    Ok(())
}

#[test]
fn clients_that_vanish_leave_marked_rows() -> Result<()> {
    let (home, nginx, origin, weir) = start()?;
    let host = format!("127.0.0.1:{}", origin.port("http"));
    // Inside the head, inside a body, inside a chunked body, before the answer, inside the answer, inside TLS.
    Raw::connect(weir.proxy())?.send(format!("GET http://{host}/echo HTTP/1.1\r\nHo"));
    let short = origin.url("/echo?short");
    Raw::connect(weir.proxy())?
        .send(format!("POST {short} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100\r\n\r\nten bytes."));
    let chunked = origin.url("/echo?chunked");
    Raw::connect(weir.proxy())?
        .send(format!("POST {chunked} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"));
    let never = origin.url("/never");
    let mut waiting = Raw::connect(weir.proxy())?;
    waiting.send(format!("GET {never} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    ensure!(origin.report(Duration::from_secs(20))?["never"] == "/never", "the request reached the origin");
    drop(waiting);
    let huge = nginx.url(Listener::Plain, "/huge.bin");
    let mut taking = Raw::connect(weir.proxy())?;
    taking.send(format!("GET {huge} HTTP/1.1\r\nHost: x\r\n\r\n")).until("\r\n\r\n")?;
    drop(taking);
    Raw::connect(weir.proxy())?
        .send(format!("CONNECT localhost:{} HTTP/1.1\r\n\r\n", nginx.port(Listener::Tls)))
        .send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and no more")
        .finish()
        .rest()?;

    let session = weir.session().to_owned();
    let wanted =
        [(&short, "client_closed"), (&chunked, "client_closed"), (&never, "client_aborted"), (&huge, "client_aborted")];
    // A vanished client is noticed without another byte being sent.
    eventually("the rows are there while the capture runs", Duration::from_secs(20), || {
        let rows = home.requests(&session)?;
        Ok(wanted.iter().all(|(url, _)| rows.iter().any(|row| row["url"] == url.as_str())))
    })?;
    ensure!(curl(&weir, &[], &nginx.url(Listener::Tls, "/data.json"))?.status() == 200, "the capture goes on");
    weir.stop()?;
    let rows = home.requests(&session)?;
    for (url, error) in wanted {
        let row = only(&rows, url)?;
        ensure!(row["error"] == error, "{url} should be {error}: {row}");
    }
    let short = only(&rows, &short)?;
    ensure!(short["request_body_state"] == "truncated" && short["request_size"] == 10, "{short}");
    let huge = only(&rows, &huge)?;
    ensure!(huge["response_body_state"] == "truncated" && huge["status"] == 200, "{huge}");
    let tls = errors(&home, &session)?;
    ensure!(tls.contains("client_tls_failed") || tls.contains("client_closed"), "{tls:?}");
    Ok(())
}

#[test]
fn servers_that_break_off_or_lie_are_told_apart() -> Result<()> {
    let (home, nginx, origin, weir) = start()?;
    // Path, status the client sees, errors that fit.
    let table: [(&str, u64, &[&str]); 11] = [
        ("short", 200, &["server_closed"]),
        ("short-chunk", 200, &["server_closed"]),
        ("chunk-size", 200, &["bad_chunk"]),
        ("reset", 200, &["server_reset", "server_closed"]),
        ("both-lengths", 502, &["response_smuggling"]),
        ("two-lengths", 502, &["response_smuggling"]),
        ("garbage", 502, &["server_malformed"]),
        ("silence", 502, &["server_closed"]),
        ("half-head", 502, &["server_closed"]),
        ("giant-head", 502, &["response_head_too_large"]),
        ("endless-head", 502, &["response_head_too_large"]),
    ];
    let mut asked = Vec::new();
    for (name, status, errors) in table {
        for url in [origin.url(&format!("/bad/{name}")), origin.tls_url(&format!("/bad/{name}"))] {
            let got = curl(&weir, &["--http1.1"], &url)?;
            ensure!(got.status() == status, "{url}: {got:?}");
            ensure!(status != 200 || got.code != 0, "curl must notice that the body of {url} is cut: {got:?}");
            asked.push((url, status, errors));
        }
        let good = curl(&weir, &["--http2"], &nginx.url(Listener::Tls, "/data.json"))?;
        ensure!(good.status() == 200, "after {name}: {good:?}");
    }
    let session = weir.session().to_owned();
    weir.stop()?;
    let rows = home.requests(&session)?;
    for (url, status, errors) in &asked {
        let row: &Value = only(&rows, url)?;
        ensure!(errors.iter().any(|error| row["error"] == *error), "{url} should be one of {errors:?}: {row}");
        ensure!(*status != 200 || row["response_body_state"] == "truncated", "{row}");
    }
    ensure!(only(&rows, &origin.url("/bad/short"))?["response_size"] == 9, "what came is counted");
    Ok(())
}

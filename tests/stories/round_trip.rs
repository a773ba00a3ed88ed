//! Out of weir and back: a HAR that is imported again holds the same exchanges, and a browser lives from it.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use weir_tests::{
    Home, Nginx, Origin, Weir,
    client::{curl, helper},
    nginx::Listener,
    node,
};

/// Columns that a HAR carries as they are.
const CARRIED: [&str; 24] = [
    "started",
    "method",
    "url",
    "scheme",
    "domain",
    "port",
    "path",
    "query",
    "endpoint",
    "protocol",
    "status",
    "reason",
    "error",
    "type",
    "category",
    "request_headers",
    "response_headers",
    "request_size",
    "response_size",
    "connection",
    "duration_us",
    "dns_us",
    "connect_us",
    "tls_us",
];
/// Columns that a HAR has no absence for: zero means none as well.
const ZERO_OR_NONE: [&str; 2] = ["wait_us", "receive_us"];

/// A session with everything a HAR can carry.
fn capture(home: &Home, nginx: &Nginx, origin: &Origin, folder: &TempDir) -> Result<String> {
    let weir = Weir::start_trusting(home, &nginx.certificates.authority(), &["--name", "captured"])?;
    let binary = folder.path().join("binary.dat");
    fs::write(&binary, b"\x00\xff\r\n--\x80")?;
    let data = format!("@{}", binary.display());
    let part = format!("file=@{};type=image/png", binary.display());
    let asks: [(&[&str], String); 14] = [
        (&["-H", "X-Empty;"], origin.url("/echo?x=1&x=2&y&z=%7B&&k=1")),
        (&["--data", "a=1&a=%C3%A9&b=two%20words"], origin.url("/echo/form")),
        (&["--json", r#"{"n":[1,2.5,null]}"#], origin.url("/echo/users/17")),
        (&["-F", "field=va'l%ue", "-F", &part], origin.url("/echo/multipart")),
        (&["--data-binary", &data, "-X", "PUT"], origin.url("/echo/binary")),
        (&["-H", "Authorization: Bearer x", "-H", "Cookie: a=1; b=2", "-X", "DELETE"], origin.url("/echo/users/19")),
        (&["--head"], origin.url("/echo/head")),
        (&[], origin.url("/odd-headers")),
        (&[], origin.url("/trailers")),
        (&[], origin.url("/bad/short")),
        (&["--compressed", "--http2"], nginx.url(Listener::Tls, "/gzip/script.js")),
        (&["--compressed", "--http1.1"], nginx.url(Listener::Tls, "/gzip/script.js")),
        (&[], nginx.url(Listener::Tls, "/status/503")),
        // Nobody listens there.
        (&[], "http://127.0.0.1:1/refused".to_owned()),
    ];
    for (arguments, url) in asks {
        curl(&weir, arguments, &url)?;
    }
    let (proxy, ca) = (weir.proxy().to_string(), weir.ca());
    let socket = format!("ws://127.0.0.1:{}", origin.port("ws"));
    helper("clients.py", &["websocket", &proxy, ca.to_str().context("path")?, &socket])?;
    let session = weir.session().to_owned();
    weir.stop()?;
    Ok(session)
}

fn exported(home: &Home, session: &str, folder: &TempDir, name: &str) -> Result<String> {
    let place = folder.path().join(name).to_str().context("path")?.to_owned();
    home.output(&["export", session, "--to", "har", "--with-secrets", "-o", &place])?;
    Ok(place)
}

/// What a row and its bodies have in common before and after.
fn essence(home: &Home, session: &str, row: &Value) -> Result<Value> {
    let mut essence = serde_json::Map::new();
    for column in CARRIED {
        essence.insert(column.to_owned(), row[column].clone());
    }
    for column in ZERO_OR_NONE {
        essence.insert(column.to_owned(), row[column].as_u64().unwrap_or(0).into());
    }
    let own = |half: &str| -> Vec<Value> {
        let lines = row[half].as_array().cloned().unwrap_or_default();
        lines.into_iter().filter(|line| !line["name"].as_str().is_some_and(|name| name.starts_with(':'))).collect()
    };
    for half in ["request_headers", "response_headers"] {
        essence.insert(half.to_owned(), own(half).into());
    }
    for half in ["request", "response"] {
        let output = home.run(&["show", session, &row["id"].to_string(), "--body", half])?;
        let body: Vec<Value> = output.stdout.into_iter().map(Value::from).collect();
        essence.insert(format!("{half}_content"), body.into());
    }
    Ok(essence.into())
}

/// The messages of WebSockets, without what a HAR has no place for.
fn messages(home: &Home, session: &str) -> Result<Vec<Value>> {
    let rows = home.table("messages", session)?;
    let of = |row: &Value| {
        ["exchange", "at", "direction", "kind", "payload"].map(|column| row[column].clone()).to_vec().into()
    };
    Ok(rows.iter().map(of).collect())
}

#[test]
fn a_har_that_is_imported_again_holds_the_same_exchanges() -> Result<()> {
    let (home, nginx, folder) = (Home::new()?, Nginx::start()?, TempDir::new()?);
    let origin = Origin::start(&nginx.certificates)?;
    let session = capture(&home, &nginx, &origin, &folder)?;
    let har = exported(&home, &session, &folder, "first.har")?;
    home.output(&["import", &har, "--name", "imported"])?;
    let (before, after) = (home.requests(&session)?, home.requests("imported")?);
    ensure!(before.len() == 16 && after.len() == before.len(), "{} and {}", before.len(), after.len());
    for (one, other) in before.iter().zip(&after) {
        let (one, other) = (essence(&home, &session, one)?, essence(&home, "imported", other)?);
        for (column, value) in one.as_object().context("an object")? {
            ensure!(value == &other[column], "{column} of {}: {value} and {}", one["url"], other[column]);
        }
    }
    let errors: Vec<_> = before.iter().filter_map(|row| row["error"].as_str()).collect();
    ensure!(errors.len() == 2, "the two that failed: {errors:?}");
    let imported = home.json(&["session", "show", "imported"])?["id"].as_str().context("an id")?.to_owned();
    let (sent, back) = (messages(&home, &session)?, messages(&home, &imported)?);
    ensure!(sent.len() > 20 && sent == back, "{sent:?}\n{back:?}");
    // What was imported makes the same file again, but for the session's name.
    let again = exported(&home, "imported", &folder, "second.har")?;
    let log = |place: &str| -> Result<Value> { Ok(serde_json::from_slice::<Value>(&fs::read(place)?)?["log"].take()) };
    let (first, second) = (log(&har)?, log(&again)?);
    for (one, other) in
        first["entries"].as_array().into_iter().flatten().zip(second["entries"].as_array().into_iter().flatten())
    {
        for part in ["startedDateTime", "request", "response", "timings", "_webSocketMessages"] {
            ensure!(one[part] == other[part], "{part}: {}\n{}", one[part], other[part]);
        }
    }
    Ok(())
}

#[test]
fn a_browser_lives_from_an_exported_har() -> Result<()> {
    if !node::has_package("playwright-core", "Chromium on a HAR") {
        return Ok(());
    }
    let (home, nginx, folder) = (Home::new()?, Nginx::start()?, TempDir::new()?);
    let origin = Origin::start(&nginx.certificates)?;
    nginx.add("/answer.json", br#"{"n":41}"#)?;
    nginx.add(
        "/alive.html",
        b"<!doctype html><title>alive</title><script src=/script.js></script><body><script>
          fetch('/answer.json').then(r => r.json()).then(a => document.body.innerHTML = `<p id=done>${a.n + 1}</p>`)
          </script></body>",
    )?;
    let weir = Weir::start_trusting(&home, &nginx.certificates.authority(), &["--name", "page"])?;
    for path in ["/alive.html", "/gzip/script.js", "/script.js", "/answer.json"] {
        curl(&weir, &["--compressed", "--http2"], &nginx.url(Listener::Tls, path))?;
    }
    curl(
        &weir,
        &["-X", "POST", "--data-raw", "asked", "-H", "Content-Type: text/plain"],
        &nginx.url(Listener::Tls, "/put/x"),
    )?;
    curl(&weir, &[], &origin.url("/echo"))?;
    let (session, url) = (weir.session().to_owned(), nginx.url(Listener::Tls, "/alive.html"));
    weir.stop()?;
    let har = exported(&home, &session, &folder, "page.har")?;
    let answers = home.output(&["show", &session, "5", "--body", "response"])?;
    // From here on there is nothing but the file.
    drop((nginx, origin));
    let found = node::from_har(har.as_ref(), &url, &["GET", "/gzip/script.js", "", "POST", "/put/x", "asked"])?;
    ensure!(found["status"] == 200 && found["text"] == "42", "{found}");
    ensure!(found["answers"][0]["status"] == 200, "{found}");
    ensure!(found["answers"][1]["text"] == String::from_utf8_lossy(&answers).into_owned(), "{found}");
    Ok(())
}

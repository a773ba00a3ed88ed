//! Python programs browse through weir: requests with keep-alive, httpx with many HTTP/2 streams at once.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_tests::{
    Home, Nginx, Weir,
    checks::{ensure_sane_timings, hex, only},
    client::helper,
    nginx::Listener,
};

const PATHS: [&str; 6] = ["/data.json", "/style.css", "/script.js", "/gzip/page.html", "/large.bin", "/empty.txt"];

fn browse(client: &str, listeners: &[Listener], version: &str) -> Result<()> {
    let (home, nginx) = (Home::new()?, Nginx::start()?);
    let weir = Weir::start_trusting(&home, &nginx.certificates.authority(), &[])?;
    let urls: Vec<String> = (0..5)
        .flat_map(|round| PATHS.map(|path| (round, path)))
        .flat_map(|(round, path)| listeners.iter().map(move |&listener| (listener, format!("{path}?round={round}"))))
        .map(|(listener, path)| nginx.url(listener, &path))
        .collect();
    let (proxy, ca) = (weir.proxy().to_string(), weir.ca());
    let mut arguments = vec![client, &proxy, ca.to_str().context("path")?];
    arguments.extend(urls.iter().map(String::as_str));
    let answers = helper("clients.py", &arguments)?;
    for (url, answer) in urls.iter().zip(answers.as_array().context("answers")?) {
        let path = url.split(['?', ':']).nth(2).and_then(|rest| rest.split_once('/')).context("path")?.1;
        let file = nginx.file(&format!("/{}", path.trim_start_matches("gzip/")))?;
        ensure!(answer["status"] == 200 && answer["size"] == file.len(), "{url}: {answer}");
    }
    let session = weir.session().to_owned();
    let stopped = weir.stop()?;
    let rows = home.requests(&session)?;
    let gets: Vec<Value> = rows.into_iter().filter(|row| row["method"] == "GET").collect();
    ensure!(gets.len() == urls.len(), "{} rows for {}: {stopped}", gets.len(), urls.len());
    for url in &urls {
        let row = only(&gets, url)?;
        ensure!(row["status"] == 200 && row["protocol"] == version && row["error"].is_null(), "{row}");
        ensure_sane_timings(row)?;
        if url.contains("/large.bin") {
            ensure!(row["response_body"] == hex(&nginx.file("/large.bin")?), "{row}");
        }
    }
    Ok(())
}

#[test]
fn requests_with_keep_alive() -> Result<()> {
    browse("requests", &[Listener::Plain, Listener::Tls, Listener::Tls12], "HTTP/1.1")
}

#[test]
fn httpx_with_many_streams_at_once() -> Result<()> {
    browse("httpx", &[Listener::Tls], "HTTP/2")
}

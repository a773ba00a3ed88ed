//! A session from its start to its end: read while it runs, filtered, stopped under load, renamed, deleted.

use std::{collections::BTreeMap, thread, time::Duration};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;
use weir_tests::{
    Home, Nginx, Weir,
    client::{curl, helper},
    nginx::Listener,
    process::eventually,
    weir::ensure_balanced,
};

/// The document of `weir sessions`, whether it is an array or a line each.
fn sessions(home: &Home) -> Result<Vec<Value>> {
    let rows = home.rows(&["sessions"])?;
    Ok(match rows.as_slice() {
        [Value::Array(all)] => all.clone(),
        _ => rows,
    })
}

#[test]
fn stopping_under_load_loses_nothing() -> Result<()> {
    let (home, nginx) = (Home::new()?, Nginx::start()?);
    let weir = Weir::start(&home, &["--flush-interval", "10m"])?;
    let (proxy, url) = (weir.proxy().to_string(), nginx.url(Listener::Plain, "/items?n="));
    let load = thread::spawn(move || helper("clients.py", &["load", &proxy, "-", &url, "0", "30"]));
    let session = weir.session().to_owned();
    eventually("the load is under way", Duration::from_secs(30), || Ok(nginx.answered()? > 300))?;
    let stopped = weir.stop()?;
    let load = load.join().map_err(|_| anyhow!("the load panicked"))??;
    let done = load["done"].as_array().context("done")?;
    ensure!(done.len() > 50, "only {} requests before the stop", done.len());
    let mut seen = BTreeMap::new();
    for row in home.requests(&session)? {
        *seen.entry(row["query"].as_str().unwrap_or_default().to_owned()).or_insert(0) += 1;
    }
    for number in done {
        let key = format!("n={}", number[0]);
        ensure!(seen.get(&key) == Some(&1), "{key} is there {:?} times; {stopped}", seen.get(&key));
    }
    ensure!(seen.values().all(|&count| count == 1), "nothing twice");
    ensure!(stopped["exchanges"] == seen.len(), "{stopped}");
    Ok(())
}

#[test]
fn a_running_session_is_read_and_steered_from_another_terminal() -> Result<()> {
    let (home, nginx) = (Home::new()?, Nginx::start()?);
    let weir = Weir::start_trusting(&home, &nginx.certificates.authority(), &["--name", "first steps"])?;
    let session = weir.session().to_owned();
    for n in 0..20 {
        curl(&weir, &[], &nginx.url(Listener::Plain, &format!("/items?n={n}")))?;
    }
    eventually("the rows are visible while it runs", Duration::from_secs(20), || {
        Ok(home.requests("first steps")?.len() == 20)
    })?;
    let all = sessions(&home)?;
    ensure!(all.len() == 1 && all[0]["id"] == session && all[0]["state"] == "running", "{all:?}");
    let overview = home.json(&["overview"])?;
    ensure!(overview["state"] == "running" && overview["exchanges"] == 20, "{overview}");
    ensure!(!home.run(&["session", "delete", &session])?.status.success(), "a running session is not deleted");

    home.output(&["pause"])?;
    curl(&weir, &[], &nginx.url(Listener::Plain, "/items?paused"))?;
    home.output(&["resume"])?;
    home.output(&["filter", "--method", "POST"])?;
    curl(&weir, &[], &nginx.url(Listener::Plain, "/items?filtered"))?;
    curl(&weir, &["--request", "POST"], &nginx.url(Listener::Plain, "/items?posted"))?;
    home.output(&["session", "rename", &session, "renamed"])?;
    home.output(&["stop"])?;
    drop(weir);

    eventually("it is stopped", Duration::from_secs(20), || Ok(sessions(&home)?[0]["state"] == "stopped"))?;
    let rows = home.requests("renamed")?;
    ensure!(rows.len() == 21 && rows[20]["query"] == "posted", "{} rows, the last {:?}", rows.len(), rows.last());
    let ledger = home.json(&["ledger", &session[..10]])?;
    let ledger = if ledger["ledger"].is_object() { &ledger["ledger"] } else { &ledger };
    ensure_balanced(ledger)?;
    ensure!(ledger["exchanges"]["dropped"]["filter:method"] == 1, "{ledger}");
    home.output(&["session", "delete", "renamed"])?;
    ensure!(sessions(&home)?.is_empty(), "deleted");
    ensure!(weir_files(&home) == 0, "no file of it is left");
    Ok(())
}

fn weir_files(home: &Home) -> usize {
    let found = std::process::Command::new("find").arg(home.path()).args(["-name", "*.parquet"]).output();
    found.map_or(usize::MAX, |output| output.stdout.split(|&byte| byte == b'\n').count() - 1)
}

#[test]
fn the_same_filters_choose_at_capture_and_in_queries() -> Result<()> {
    let (home, nginx) = (Home::new()?, Nginx::start()?);
    let filters: [&[&str]; 7] = [
        &["--method", "POST"],
        &["--status", "4xx,503"],
        &["--type", "json"],
        &["--url", "STYLE", "--not-url", "n=1"],
        &["--url", "/items\\?n=[0-4]$/"],
        &["--where", "response_size > 600 AND path LIKE '/s%'"],
        &["--domain", "127.0.0.1", "--where", "status IS NOT NULL AND NOT url ~ 'items'"],
    ];
    let browse = |weir: &Weir| -> Result<()> {
        for n in 0..10 {
            curl(weir, &[], &nginx.url(Listener::Plain, &format!("/items?n={n}")))?;
        }
        for path in ["/style.css?n=1", "/style.css?n=2", "/data.json", "/status/404", "/status/503", "/script.js"] {
            curl(weir, &[], &nginx.url(Listener::Plain, path))?;
        }
        curl(weir, &["--data", "x=1"], &nginx.url(Listener::Plain, "/items?posted"))?;
        Ok(())
    };
    let everything = Weir::start(&home, &["--name", "everything"])?;
    browse(&everything)?;
    everything.stop()?;
    for filter in filters {
        let weir = Weir::start(&home, filter)?;
        browse(&weir)?;
        let session = weir.session().to_owned();
        let stopped = weir.stop()?;
        let kept: Vec<_> = home.requests(&session)?.into_iter().map(|row| row["url"].clone()).collect();
        let chosen = home.rows(&[&["requests", "everything", "--sort", "id"], filter].concat())?;
        let chosen: Vec<_> = chosen.into_iter().map(|row| row["url"].clone()).collect();
        ensure!(!kept.is_empty() && kept.len() < 17 && kept == chosen, "{filter:?}: {kept:?} and {chosen:?}");
        ensure!(stopped["ledger"]["exchanges"]["seen"] == 17, "{stopped}");
    }
    let output = home.run(&["requests", "everything", "--where", "stauts = 200"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(2) && said.starts_with("error: ") && said.contains("`status`"), "{output:?}");
    Ok(())
}

#[test]
fn one_request_is_shown_in_full() -> Result<()> {
    let (home, nginx) = (Home::new()?, Nginx::start()?);
    let weir = Weir::start_trusting(&home, &nginx.certificates.authority(), &["--duration", "5m"])?;
    curl(&weir, &["--compressed", "--http2"], &nginx.url(Listener::Tls, "/gzip/script.js"))?;
    curl(&weir, &["--request", "PUT", "--data", "the body"], &nginx.url(Listener::Tls, "/put/x"))?;
    weir.stop()?;
    let body = home.output(&["show", "1", "--body", "response"])?;
    ensure!(body == nginx.file("/script.js")?, "the body, decoded");
    ensure!(home.output(&["show", "2", "--body", "request"])? == b"the body", "the request's body");
    let text = String::from_utf8(home.output(&["show", "2"])?)?;
    ensure!(text.contains("PUT") && text.contains("/put/x") && text.contains("the body"), "{text}");
    ensure!(home.run(&["show", "99"])?.status.code() == Some(1), "a request that is not there");
    Ok(())
}

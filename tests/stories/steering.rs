//! A capture steered from other processes while traffic goes through it: kept and left out are what passed, exactly.

use std::{thread, time::Duration};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;
use weir_tests::{
    Home, Nginx, Weir,
    client::{curl, curl_without_proxy, helper},
    nginx::Listener,
    process::eventually,
    weir::ensure_balanced,
};

const PATIENCE: Duration = Duration::from_secs(60);

fn tally<'a>(ledger: &'a Value, layer: &str) -> &'a Value {
    &ledger[layer]
}

fn dropped(tally: &Value) -> u64 {
    tally["dropped"].as_object().map_or(0, |reasons| reasons.values().filter_map(Value::as_u64).sum())
}

#[test]
fn pauses_filters_and_toggles_under_load_lose_nothing() -> Result<()> {
    let (home, nginx) = (Home::new()?, Nginx::start()?);
    let weir = Weir::start(&home, &["--name", "steered"])?;
    let (proxy, url) = (weir.proxy().to_string(), nginx.url(Listener::Plain, "/items?n="));
    let steps: [&[&str]; 9] = [
        &["sessions"],
        &["pause"],
        &["resume"],
        &["filter", "--where", "url ~ '[02468]$'"],
        &["filter", "--not-url", "7"],
        &["filter", "--clear", "--bodies", "none", "--cookies", "off"],
        &["filter", "--responses", "off", "--bodies", "all"],
        &["filter", "--bodies", "media-off", "--responses", "on", "--cookies", "on"],
        &["session", "rename", "steered", "renamed"],
    ];
    let mut done = 0;
    for step in steps {
        // Each step falls into the middle of a hundred and fifty requests.
        let (proxy, url, first) = (proxy.clone(), url.clone(), done.to_string());
        let load = thread::spawn(move || helper("clients.py", &["count", &proxy, "-", &url, &first, "150"]));
        let before = nginx.answered()?;
        eventually("traffic passes", PATIENCE, || Ok(nginx.answered()? >= before + 30))?;
        home.output(step)?;
        let load = load.join().map_err(|_| anyhow!("the load panicked"))??;
        ensure!(load["answered"].as_u64().is_some_and(|answered| answered >= 150), "{load}");
        done += 150;
    }
    let session = weir.session().to_owned();
    let stopped = weir.stop()?;
    let ledger = &stopped["ledger"];
    ensure_balanced(ledger)?;
    let exchanges = tally(ledger, "exchanges");
    // The third witness: what nginx answered.
    let answered = nginx.stop()?.len() as u64;
    ensure!(exchanges["seen"] == answered && answered >= done, "{answered} answered, {done} asked: {ledger}");
    let rows = home.requests(&session)?;
    ensure!(rows.len() as u64 + dropped(exchanges) == answered, "{} rows: {ledger}", rows.len());
    for reason in ["policy:paused", "filter:where", "filter:not-url"] {
        ensure!(exchanges["dropped"][reason].as_u64().is_some_and(|count| count > 0), "{reason}: {ledger}");
    }
    // Every answer has a body: each is stored or left out, and counted as such.
    let bodies = tally(ledger, "bodies");
    let kept = rows.iter().filter(|row| row["response_body_state"] == "stored").count() as u64;
    let skipped = rows.iter().filter(|row| row["response_body_state"] == "skipped_policy").count() as u64;
    ensure!(kept + skipped == rows.len() as u64 && kept > 0 && skipped > 0, "{kept} {skipped}");
    ensure!(bodies["kept"] == kept && bodies["dropped"]["policy:skipped_policy"] == skipped, "{bodies}");
    let shown = home.json(&["session", "show", "renamed"])?;
    let (duration, wall) = (shown["duration_s"].as_f64(), shown["wall_s"].as_f64());
    let paused = shown["paused_us"].as_f64().context("paused_us")? / 1e6;
    ensure!(paused > 0.0 && wall.zip(duration).is_some_and(|(wall, duration)| wall > duration), "{shown}");
    Ok(())
}

#[test]
fn a_capture_ends_at_its_limit_and_counts_what_came_after() -> Result<()> {
    let (home, nginx) = (Home::new()?, Nginx::start()?);
    let weir = Weir::start(&home, &["--max-exchanges", "20"])?;
    let (proxy, url) = (weir.proxy().to_string(), nginx.url(Listener::Plain, "/items?n="));
    // Until the capture has ended by itself.
    helper("clients.py", &["load", &proxy, "-", &url, "0", "120"])?;
    let session = weir.session().to_owned();
    eventually("it stops by itself", PATIENCE, || Ok(home.rows(&["sessions"])?[0]["state"] == "stopped"))?;
    ensure!(home.requests(&session)?.len() == 20, "as many as were asked for");
    let entry = home.json(&["session", "show", &session])?;
    ensure_balanced(&entry["ledger"])?;
    ensure!(entry["lost"] == 0, "{entry}");
    ensure!(entry["disk_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{entry}");

    for _ in 0..2 {
        Weir::start(&home, &[])?.stop()?;
    }
    let all = home.rows(&["sessions"])?;
    let would = home.rows(&["sessions", "prune", "--keep", "2", "--dry-run"])?;
    ensure!(would.len() == 1 && would[0]["session"] == session && home.rows(&["sessions"])?.len() == 3, "{would:?}");
    home.output(&["sessions", "prune", "--keep", "2"])?;
    let left = home.rows(&["sessions"])?;
    ensure!(left.len() == 2 && left[0]["id"] == all[0]["id"], "{left:?}");
    ensure!(home.rows(&["sessions", "prune", "--keep", "30d"])?.is_empty(), "nothing is that old");
    Ok(())
}

#[test]
fn devices_have_names_trust_and_sessions_of_their_own() -> Result<()> {
    let (home, nginx) = (Home::new()?, Nginx::start()?);
    home.output(&["device", "label", "127.0.0.1", "this machine"])?;
    let authority = nginx.certificates.authority();
    let weir = Weir::start_trusting(&home, &authority, &["--name", "lab", "--session-per-device"])?;
    curl(&weir, &[], &nginx.url(Listener::Tls, "/data.json"))?;
    curl(&weir, &["--proxy-user", "Pixel 8:x"], &nginx.url(Listener::Tls, "/data.json"))?;
    curl(&weir, &["--proxy-user", "Pixel 8:x"], &nginx.url(Listener::Plain, "/style.css"))?;
    // A client that does not trust the CA.
    let proxy = format!("http://{}", weir.proxy());
    let refusing = ["--proxy", &proxy, "--proxy-user", "Old phone:x"];
    ensure!(curl_without_proxy(&refusing, &nginx.url(Listener::Tls, "/data.json"))?.code == 60, "curl refuses");
    let stopped = weir.stop()?;
    ensure!(stopped["exchanges"] == 0, "{stopped}");
    ensure!(stopped["ledger"]["exchanges"]["dropped"]["policy:device_session"] == 3, "{stopped}");
    for (session, requests) in [("lab: this machine", 1), ("lab: Pixel 8", 2), ("lab: Old phone", 0)] {
        let entry = home.json(&["session", "show", session])?;
        ensure_balanced(&entry["ledger"])?;
        ensure!(entry["exchanges"] == requests && entry["state"] == "stopped", "{entry}");
    }
    let rows = home.requests("lab: Pixel 8")?;
    ensure!(rows.iter().all(|row| row["device"] == "Pixel 8"), "{rows:?}");
    let devices = home.rows(&["devices", "lab: Pixel 8"])?;
    ensure!(devices.len() == 1 && devices[0]["requests"].is_null() && devices[0]["exchanges"] == 2, "{devices:?}");
    ensure!(devices[0]["trusts_ca"] == true, "{devices:?}");
    let devices = home.rows(&["devices", "lab: Old phone"])?;
    ensure!(devices[0]["trusts_ca"] == false && devices[0]["refused_handshakes"] == 1, "{devices:?}");
    Ok(())
}

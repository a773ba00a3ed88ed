//! A capture steered by its control API alone: sessions that follow one another, requests sent again, devices apart.

use std::{thread, time::Duration};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use weir_tests::{
    Home, Nginx, Weir,
    client::{curl, curl_without_proxy, helper},
    nginx::Listener,
    node,
    process::{self, Process, eventually},
    weir::{binary, ensure_balanced},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Asks the control API: the status, and the document.
fn ask(weir: &Weir, method: &str, path: &str, body: Option<&Value>) -> Result<(u64, Value)> {
    let link = weir.ready()["ui"].as_str().context("a link")?;
    let (address, token) = link.split_once("/?token=").context("a token")?;
    let bearer = format!("Authorization: Bearer {token}");
    let body = body.map(Value::to_string);
    let mut arguments = vec!["-X", method, "-H", &bearer, "-H", "Content-Type: application/json"];
    if let Some(body) = &body {
        arguments.extend(["--data-raw", body]);
    }
    let got = curl_without_proxy(&arguments, &format!("{address}{path}"))?;
    Ok((got.status(), serde_json::from_str(&got.text()).with_context(|| got.text())?))
}

fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str> {
    value[field].as_str().with_context(|| format!("{field}: {value}"))
}

#[test]
fn sessions_follow_one_another_under_load() -> Result<()> {
    let (home, nginx) = (Home::new()?, Nginx::start()?);
    let weir = Weir::start(&home, &["--name", "first", "--flush-interval", "100ms"])?;
    let (proxy, url) = (weir.proxy().to_string(), nginx.url(Listener::Plain, "/items?n="));
    let load = thread::spawn(move || helper("clients.py", &["count", &proxy, "-", &url, "0", "1500"]));
    let mut sessions = vec![weir.session().to_owned()];
    let started = [(json!({"name": "second"}), "second"), (json!({"name": "third", "rules": []}), "third")];
    for (next, name) in started {
        let before = nginx.answered()?;
        eventually("traffic passes", PATIENCE, || Ok(nginx.answered()? >= (before + 50).min(1000)))?;
        eventually("some of it is recorded", PATIENCE, || Ok(!home.requests(&sessions[0])?.is_empty()))?;
        let (code, status) = ask(&weir, "POST", "/api/v1/sessions", Some(&next))?;
        ensure!(code == 201 && status["name"] == name && status["state"] == "running", "{code} {status}");
        sessions.push(text(&status, "session")?.to_owned());
    }
    // From another terminal, and the command line finds the session that runs now.
    let status = home.json(&["session", "start", "--name", "fourth"])?;
    sessions.push(text(&status, "session")?.to_owned());
    ensure!(home.run(&["session", "start", "--name", ""])?.status.code() == Some(1), "no name");
    let load = load.join().map_err(|_| anyhow!("the load panicked"))??;
    curl(&weir, &[], &nginx.url(Listener::Plain, "/items?last"))?;
    ensure!(home.json(&["filter"])?["session"] == sessions[3], "the running one is the fourth");
    home.output(&["stop"])?;
    drop(weir);
    let answered = nginx.stop()?.len() as u64;
    ensure!(load["answered"].as_u64().is_some_and(|count| count < answered), "{load}");
    let (mut seen, mut kept) = (0, 0);
    for session in &sessions {
        let entry = home.json(&["session", "show", session])?;
        ensure!(entry["state"] == "stopped" && entry["proxy"].is_null() && entry["ui"].is_null(), "{entry}");
        ensure_balanced(&entry["ledger"])?;
        let rows = home.requests(session)?.len() as u64;
        ensure!(entry["exchanges"] == rows && entry["lost"] == 0, "{rows}: {entry}");
        seen += entry["ledger"]["exchanges"]["seen"].as_u64().unwrap_or_default();
        kept += rows;
    }
    ensure!((seen, kept) == (answered, answered), "{seen} seen, {kept} kept, {answered} answered");
    ensure!(
        !home.requests(&sessions[0])?.is_empty() && !home.requests(&sessions[3])?.is_empty(),
        "both ends have some"
    );
    Ok(())
}

#[test]
fn a_request_is_sent_again_by_the_api() -> Result<()> {
    let (home, nginx) = (Home::new()?, Nginx::start()?);
    let weir = Weir::start_trusting(&home, &nginx.certificates.authority(), &["--name", "live"])?;
    curl(&weir, &["--data", "first"], &nginx.url(Listener::Tls, "/put/x"))?;
    let mut sent = (0, Value::Null);
    // As soon as the row is on disk; straight to the server, which the capture's own authorities vouch for.
    let recorded = eventually("it is recorded", PATIENCE, || {
        sent = ask(&weir, "POST", "/api/v1/requests/1/send", Some(&json!({"diff": true})))?;
        Ok(sent.0 != 400)
    });
    recorded.with_context(|| format!("the last answer: {sent:?}"))?;
    ensure!(sent.0 == 200 && sent.1["request"]["method"] == "POST", "{sent:?}");
    ensure!(sent.1["diff"]["status"].is_null() && sent.1["warnings"] == json!([]), "{sent:?}");
    let own = text(&sent.1, "session")?;
    ensure!(own != weir.session() && home.requests(own)?.len() == 1, "a session of its own");

    let change = json!({
        "method": "PUT", "url": nginx.url(Listener::Tls, "/put/again"), "set_headers": ["X-Again: yes"],
        "body_base64": "AP8=", "proxy": "running", "name": "again",
    });
    let (code, sent) = ask(&weir, "POST", "/api/v1/requests/1/send", Some(&change))?;
    ensure!(code == 200 && sent["request"]["path"] == "/put/again" && sent["request"]["request_size"] == 2, "{sent}");
    eventually("the capture has it too", PATIENCE, || {
        Ok(home.rows(&["requests", "live", "--method", "PUT"])?.len() == 1)
    })?;
    for (wrong, code) in [
        (json!({"url": "ftp://a/"}), 400),
        (json!({"body": "", "body_base64": ""}), 400),
        (json!({"proxy": "socks5://a"}), 400),
        (json!({"session": "nowhere"}), 404),
    ] {
        let (got, answer) = ask(&weir, "POST", "/api/v1/requests/1/send", Some(&wrong))?;
        ensure!(got == code, "{wrong}: {got} {answer}");
    }
    ensure!(ask(&weir, "POST", "/api/v1/requests/77/send", Some(&json!({})))?.0 == 400, "no such request");
    weir.stop().map(drop)
}

#[test]
fn the_sessions_of_devices_are_steered_each_by_its_name() -> Result<()> {
    let (home, nginx) = (Home::new()?, Nginx::start()?);
    let weir = Weir::start(&home, &["--name", "lab", "--session-per-device"])?;
    let ask_as = |device: &str, path: &str| {
        curl(&weir, &["--proxy-user", &format!("{device}:x")], &nginx.url(Listener::Plain, path))
    };
    ask_as("phone", "/style.css")?;
    ask_as("tablet", "/style.css")?;
    eventually("both have a session", PATIENCE, || {
        let rows = |device: &str| home.rows(&["requests", &format!("lab: {device}")]).map(|rows| rows.len());
        Ok(rows("phone").is_ok_and(|rows| rows == 1) && rows("tablet").is_ok_and(|rows| rows == 1))
    })?;
    let mut command = process::command(binary()?);
    command.arg("--home").arg(home.path()).args(["tail", "lab: phone", "--json"]);
    let tail = Process::start("tail", command, home.path())?;
    let mut seen = None;
    eventually("the tail shows the phone's", PATIENCE, || {
        ask_as("tablet", "/script.js")?;
        ask_as("phone", "/data.json")?;
        seen = tail.line(Duration::from_secs(2)).ok();
        Ok(seen.is_some())
    })?;
    let row: Value = serde_json::from_str(&seen.context("a row")?)?;
    ensure!(row["device"] == "phone" && row["path"] == "/data.json", "{row}");

    let deleted = home.json(&["delete", "lab: phone", "--url", "style.css"])?;
    ensure!(deleted["exchanges"] == 1, "{deleted}");
    home.output(&["session", "rename", "lab: tablet", "the tablet"])?;
    let refused = home.run(&["session", "start"])?;
    ensure!(refused.status.code() == Some(1), "{}", String::from_utf8_lossy(&refused.stderr));
    let (code, document) = ask(&weir, "GET", "/api/v1/openapi.json", None)?;
    ensure!(code == 200, "{document}");
    if node::available("a validator of OpenAPI") {
        let file = home.path().join("api.json");
        std::fs::write(&file, document.to_string())?;
        let found = node::validate("openapi", &[&file])?;
        ensure!(found["operations"].to_string().contains("post /api/v1/sessions"), "{found}");
    }
    let stopped = weir.stop()?;
    ensure!(stopped["exchanges"] == 0, "{stopped}");
    ensure!(home.json(&["session", "show", "lab"])?["name"] == "lab", "it keeps its name");
    ensure!(home.rows(&["requests", "lab: phone", "--url", "style.css"])?.is_empty(), "it stays gone");
    ensure!(home.rows(&["requests", "the tablet", "--url", "style.css"])?.len() == 1, "that of the other does not");
    for session in ["lab", "lab: phone", "the tablet"] {
        ensure_balanced(&home.json(&["session", "show", session])?["ledger"])?;
    }
    Ok(())
}

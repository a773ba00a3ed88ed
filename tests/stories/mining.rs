//! A session mined when it is done: cookies for curl, requests sent again and compared, deleted, two sessions compared.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_tests::{
    Home, Nginx, Origin, Weir,
    client::{curl, curl_without_proxy},
    nginx::Listener,
    process::{self, Process, eventually},
    weir::{binary, ensure_balanced},
};

fn cookie_sent(echo: &str) -> Result<Option<String>> {
    let document: Value = serde_json::from_str(echo)?;
    let headers = document["headers"].as_array().context("headers")?;
    let cookie = headers.iter().find(|line| line[0].as_str().is_some_and(|name| name.eq_ignore_ascii_case("cookie")));
    Ok(cookie.and_then(|line| line[1].as_str()).map(str::to_owned))
}

#[test]
fn cookies_go_to_curl_and_into_requests_that_are_sent_again() -> Result<()> {
    let (home, nginx) = (Home::new()?, Nginx::start()?);
    let origin = Origin::start(&nginx.certificates)?;
    let weir = Weir::start(&home, &["--name", "mined"])?;
    curl(&weir, &[], &origin.url("/odd-headers"))?;
    curl(&weir, &["--header", "X-Asked: yes", "--data", "first"], &origin.url("/echo"))?;
    weir.stop()?;

    let cookies = home.rows(&["cookies", "mined"])?;
    let names: Vec<_> = cookies.iter().map(|row| row["name"].as_str().unwrap_or_default()).collect();
    ensure!(names == ["a", "b"] && cookies[0]["host_only"] == true && cookies[0]["exchange"] == 1, "{cookies:?}");
    let file = home.path().join("cookies.txt");
    let file_text = file.to_str().context("path")?;
    home.output(&["cookies", "mined", "--jar", file_text])?;
    let echo = curl_without_proxy(&["--cookie", file_text], &origin.url("/echo"))?;
    // In which order is curl's own matter.
    let cookies = cookie_sent(&echo.text())?;
    ensure!(cookies.as_deref().is_some_and(|cookies| ["a=1; b=2", "b=2; a=1"].contains(&cookies)), "{echo:?}");

    // The jar: filled from the session, changed by hand, used and filled by what is sent.
    home.output(&["jar", "add", "mined"])?;
    home.output(&["jar", "set", &origin.url("/"), "c=3; Path=/echo"])?;
    home.output(&["jar", "delete", "--name", "b"])?;
    let sent = home.json(&["send", "mined", "2", "--jar", "--body", "second", "--set-header", "X-Asked:"])?;
    let answer: Value = serde_json::from_str(sent["request"]["response_content"]["text"].as_str().context("text")?)?;
    ensure!(answer["size"] == 6 && !answer["headers"].to_string().contains("X-Asked"), "{answer}");
    ensure!(cookie_sent(&answer.to_string())?.as_deref() == Some("c=3; a=1"), "{answer}");
    let own = sent["session"].as_str().context("session")?;
    let rows = home.requests(own)?;
    ensure!(rows.len() == 1 && rows[0]["method"] == "POST" && rows[0]["status"] == 200, "{rows:?}");
    ensure!(home.rows(&["sessions"])?.iter().any(|session| session["id"] == own), "it is a session of its own");

    // Compared with the captured answer.
    let output = home.run(&["send", "mined", "1", "--diff"])?;
    ensure!(output.status.code() == Some(0), "the same again: {output:?}");
    let output = home.run(&["send", "mined", "2", "--diff", "--body", "another"])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.code() == Some(1) && text.contains("-   \"size\": 5") && text.contains("+   \"size\": 7"),
        "{text}"
    );

    home.output(&["cookies", "mined", "--name", "a", "--delete"])?;
    ensure!(home.rows(&["cookies", "mined"])?.len() == 1, "one is left");
    Ok(())
}

#[test]
fn requests_are_followed_sent_through_the_capture_and_deleted_while_it_runs() -> Result<()> {
    let (home, nginx) = (Home::new()?, Nginx::start()?);
    let weir = Weir::start_trusting(&home, &nginx.certificates.authority(), &["--name", "live"])?;
    let mut command = process::command(binary()?);
    command.arg("--home").arg(home.path()).args(["tail", "live", "--json", "--where", "path LIKE '/items%'"]);
    let tail = Process::start("tail", command, home.path())?;
    // The tail begins some time after its process: ask until it has seen one.
    let mut seen = None;
    eventually("the tail shows what is recorded", Duration::from_secs(60), || {
        curl(&weir, &[], &nginx.url(Listener::Tls, "/items?followed"))?;
        curl(&weir, &[], &nginx.url(Listener::Tls, "/style.css"))?;
        seen = tail.line(Duration::from_secs(2)).ok();
        Ok(seen.is_some())
    })?;
    let row: Value = serde_json::from_str(&seen.context("a row")?)?;
    ensure!(row["query"] == "followed" && row["status"] == 200, "{row}");

    let id = row["id"].to_string();
    let sent =
        home.json(&["send", "live", &id, "--proxy", "running", "--url", &nginx.url(Listener::Tls, "/items?again")])?;
    ensure!(sent["request"]["status"] == 200 && sent["request"]["query"] == "again", "{sent}");
    eventually("the capture has it too", Duration::from_secs(30), || {
        Ok(!home.rows(&["requests", "live", "--url", "again"])?.is_empty())
    })?;

    let before = home.rows(&["requests", "live", "--url", "style.css"])?.len();
    ensure!(before > 0, "there is something to delete");
    let deleted = home.json(&["delete", "live", "--url", "style.css"])?;
    ensure!(deleted["exchanges"].as_u64().is_some_and(|count| count >= before as u64), "{deleted}");
    let gone = deleted["exchanges"].as_u64().unwrap_or_default();
    let session = weir.session().to_owned();
    let stopped = weir.stop()?;
    ensure_balanced(&stopped["ledger"])?;
    ensure!(stopped["ledger"]["exchanges"]["dropped"]["policy:deleted"] == gone, "{stopped}");
    ensure!(home.rows(&["requests", &session, "--url", "style.css"])?.is_empty(), "they stay gone");
    ensure!(stopped["exchanges"] == home.requests(&session)?.len(), "{stopped}");
    let left = home.table("exchanges", &session)?;
    ensure!(left.iter().all(|row| row["path"] != "/style.css"), "the files do not have them either");
    Ok(())
}

#[test]
fn two_sessions_are_compared_for_ci() -> Result<()> {
    let (home, nginx) = (Home::new()?, Nginx::start()?);
    let record = |name: &str, paths: &[&str]| -> Result<()> {
        let weir = Weir::start(&home, &["--name", name])?;
        for path in paths {
            curl(&weir, &[], &nginx.url(Listener::Plain, path))?;
        }
        weir.stop().map(drop)
    };
    record("one", &["/data.json", "/style.css", "/status/404"])?;
    record("two", &["/data.json", "/script.js", "/status/404"])?;
    record("three", &["/data.json", "/style.css", "/status/404"])?;
    let output = home.run(&["diff", "one", "three", "--ignore-shifts"])?;
    ensure!(output.status.code() == Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    let output = home.run(&["diff", "one", "two", "--ignore-shifts", "--json"])?;
    ensure!(output.status.code() == Some(1), "{output:?}");
    let found: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(found["endpoints"]["gone"][0].as_str().is_some_and(|text| text.ends_with("/style.css")), "{found}");
    ensure!(found["endpoints"]["new"][0].as_str().is_some_and(|text| text.ends_with("/script.js")), "{found}");

    let overview = home.json(&["overview", "one", "--by", "domain,status"])?;
    let crossed = overview["by"]["domain,status"].as_array().context("crossed")?;
    ensure!(crossed.len() == 2 && crossed[0]["keys"][1] == "200" && crossed[0]["count"] == 2, "{overview}");
    ensure!(overview["by"]["domain"][0]["count"] == 3, "{overview}");
    fs::create_dir_all(home.path())?;
    Ok(())
}

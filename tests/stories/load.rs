//! Load tools against each other and against curl: what was sent, what was recorded, what is told of it.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use weir_tests::{Home, Process, Weir, client::curl_without_proxy, netns::can_run, process, weir::binary};

const PATIENCE: Duration = Duration::from_secs(60);

struct Origin {
    process: Process,
    ready: Value,
    folder: TempDir,
}

impl Origin {
    fn start(arguments: &[&str]) -> Result<Self> {
        let folder = TempDir::with_prefix("weir-load-")?;
        let mut command = process::command(binary()?);
        command.args(["load", "origin", "--json", "--listen", "127.0.0.1:0", "--tls", "127.0.0.1:0", "--threads", "1"]);
        command.arg("--ca-file").arg(folder.path().join("ca.pem")).args(arguments);
        let process = Process::start("origin", command, folder.path())?;
        let line = process.line(PATIENCE)?;
        Ok(Self { process, ready: serde_json::from_str(&line)?, folder })
    }

    fn authority(&self) -> Result<String> {
        text(&self.folder.path().join("ca.pem"))
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ready["port"])
    }

    fn tls_url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.ready["tls_port"])
    }
}

impl Origin {
    /// SIGTERM, and its end: the log is whole then.
    fn stop(mut self) -> Result<()> {
        self.process.signal(rustix::process::Signal::TERM)?;
        let status = self.process.wait(PATIENCE)?;
        ensure!(status.success(), "{status}: {}", self.process.errors());
        Ok(())
    }
}

fn text(path: &Path) -> Result<String> {
    Ok(path.to_str().context("a plain path")?.to_owned())
}

#[test]
fn the_origin_answers_as_its_paths_say() -> Result<()> {
    let origin = Origin::start(&[])?;
    let curl = |arguments: &[&str], path: &str| curl_without_proxy(arguments, &origin.url(path));
    ensure!(curl(&[], "/bytes/1234")?.text().len() == 1234);
    ensure!(curl(&["--http2-prior-knowledge"], "/bytes/70000")?.text().len() == 70_000);
    ensure!(curl(&["--data", "hello"], "/echo")?.text() == "hello");
    ensure!(curl(&["--data", "hello", "-H", "Transfer-Encoding: chunked"], "/echo")?.text() == "hello");
    ensure!(curl(&[], "/chunked/5000/7")?.text().len() == 5000);
    ensure!(curl(&["--compressed"], "/gzip/3000")?.text() == curl(&[], "/bytes/3000")?.text());
    ensure!(curl(&[], "/sse/3/1")?.text().matches("data: ").count() == 3);
    ensure!(curl(&[], "/status/503")?.status() == 503);
    ensure!(curl(&["--head"], "/bytes/10")?.head.contains("content-length: 10"));
    ensure!(curl(&[], "/truncate/1000")?.code == 18, "a transfer that is cut");
    ensure!(curl(&[], "/reset")?.code == 56, "a reset");
    ensure!(curl(&[], "/malformed")?.code == 1, "no HTTP");
    let authority = origin.authority()?;
    let answer = curl_without_proxy(&["--cacert", &authority], &origin.tls_url("/status/200"))?;
    ensure!(answer.text() == "ok" && answer.version() == "2", "{answer:?}");
    Ok(())
}

#[test]
fn what_was_sent_is_what_was_recorded() -> Result<()> {
    let origin = Origin::start(&[])?;
    let home = Home::new()?;
    let authority = origin.authority()?;
    let weir = Weir::start_trusting(&home, Path::new(&authority), &[])?;
    let (proxy, ca) = (weir.proxy().to_string(), text(&weir.ca())?);
    let scenario = origin.folder.path().join("mix.toml");
    let mix = "[[request]]\nurl = '/bytes/600'\nweight = 3\n[[request]]\nurl = '/unique/100'\n[[request]]\nmethod = 'POST'\nurl = '/echo'\nbody = 'order'\n[[request]]\nurl = '/chunked/3000/100'\n";
    std::fs::write(&scenario, mix)?;
    let scenario = text(&scenario)?;
    let truth = |name: &str| text(&origin.folder.path().join(name));
    // In the clear at a rate, intercepted TLS, HTTP/2, pipelined: each with a truth of its own.
    let runs: [(&str, String, &[&str]); 4] = [
        ("plain", origin.url("/"), &["--rate", "500", "--poisson"]),
        ("tls", origin.tls_url("/"), &[]),
        ("h2", origin.tls_url("/"), &["--http2", "--streams", "4"]),
        ("pipelined", origin.url("/"), &["--pipeline", "4"]),
    ];
    for (name, url, more) in &runs {
        let file = truth(name)?;
        let common = [
            "load",
            "run",
            url,
            "--scenario",
            &scenario,
            "--proxy",
            &proxy,
            "--cacert",
            &ca,
            "--truth",
            &file,
            "-n",
            "200",
            "-c",
            "4",
            "-t",
            "1",
        ];
        let report = home.json(&[&common[..], more].concat())?;
        ensure!(
            report["requests"] == 200 && report["failed"] == 0 && report["statuses"]["200"] == 200,
            "{name}: {report}"
        );
    }
    let session = weir.session().to_owned();
    weir.stop()?;
    for (name, ..) in &runs {
        let verdict = home.json(&["load", "verify", &truth(name)?, &session])?;
        ensure!(
            verdict["good"] == true && verdict["found"] == 200 && verdict["proven_pairs"] == 200,
            "{name}: {verdict}"
        );
        ensure!(verdict["equal_bodies"] == 400 && verdict["others"] == 600, "{name}: {verdict}");
    }
    // What was deleted is missing; the ledger knows it.
    home.output(&["delete", &session, "--method", "POST"])?;
    let verdict = home.json(&["load", "verify", &truth("plain")?, &session])?;
    ensure!(verdict["missing"].as_u64() > Some(0) && verdict["unaccounted"] == 0, "{verdict}");
    // A session that never saw the run accounts for nothing.
    let other = Weir::start(&home, &[])?;
    let session = other.session().to_owned();
    other.stop()?;
    let output = home.run(&["load", "verify", &truth("plain")?, &session])?;
    ensure!(output.status.code() == Some(3), "{output:?}");
    Ok(())
}

/// Answers alone are captured: each response has lost its request, and the rows say so; the ledger does not account for that.
#[test]
fn a_response_without_its_request_tells_of_it() -> Result<()> {
    if !can_run("a_response_without_its_request_tells_of_it") {
        return Ok(());
    }
    let (origin, home) = (Origin::start(&[])?, Home::new()?);
    let answers = format!("tcp src port {}", origin.ready["port"]);
    let weir = Weir::start_behind(&[], &home, &["--no-proxy", "--interface", "lo", "--bpf", &answers])?;
    let (session, truth) = (weir.session().to_owned(), text(&origin.folder.path().join("truth"))?);
    let url = origin.url("/unique/100");
    home.json(&["load", "run", &url, "--truth", &truth, "-n", "50", "-c", "2", "-t", "1"])?;
    weir.stop_with_any_code()?;
    let output = home.run(&["load", "verify", &truth, &session, "--json"])?;
    ensure!(output.status.code() == Some(3), "{output:?}");
    let verdict: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(verdict["missing"] == 50 && verdict["found"] == 0 && verdict["unaccounted"] == 50, "{verdict}");
    let alone = verdict["responses_alone"].as_object().context("reasons")?;
    ensure!(alone.values().filter_map(Value::as_u64).sum::<u64>() == 50, "{verdict}");
    ensure!(verdict["missing_some"][0]["told"].is_string(), "{verdict}");
    Ok(())
}

#[test]
fn failures_are_told_by_reason() -> Result<()> {
    let origin = Origin::start(&[])?;
    let home = Home::new()?;
    for (path, reason) in [("/reset", "reset"), ("/truncate/100", "closed"), ("/malformed", "protocol")] {
        let url = origin.url(path);
        let output = home.run(&["load", "run", &url, "-n", "3", "-c", "1", "--json"])?;
        ensure!(output.status.code() == Some(1), "{path}: {output:?}");
        let report: Value = serde_json::from_slice(&output.stdout)?;
        ensure!(report["failures"][reason] == 3, "{path}: {report}");
    }
    let url = origin.url("/delay/60000");
    let output = home.run(&["load", "run", &url, "-n", "1", "-c", "1", "--timeout", "200ms", "--json"])?;
    let report: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(report["failures"]["timeout"] == 1, "{report}");
    let url = origin.url("/status/404");
    let output = home.run(&["load", "run", &url, "-n", "3", "-c", "1", "--fail-if", "rate>0"])?;
    ensure!(output.status.code() == Some(1) && String::from_utf8_lossy(&output.stderr).contains("failed: rate>0"));
    let svg = text(&origin.folder.path().join("latency.svg"))?;
    home.output(&["load", "run", &url, "-n", "3", "-c", "1", "--svg", &svg, "--fail-if", "p50>60s"])?;
    ensure!(std::fs::read_to_string(svg)?.starts_with("<svg"));
    origin.stop()
}

#[test]
fn a_stall_shows_in_an_open_loop() -> Result<()> {
    // Nothing is answered from 1.0 to 1.5 s: a quarter of the requests is due then and waits for its end.
    let origin = Origin::start(&["--stall", "1s,500ms"])?;
    let home = Home::new()?;
    let url = origin.url("/bytes/100");
    let report = home.json(&["load", "run", &url, "--rate", "200", "-c", "1", "-t", "1", "--duration", "2s"])?;
    ensure!(report["latency"]["p90_us"].as_f64() > Some(100_000.0), "{report}");
    ensure!(report["service"]["p90_us"].as_f64() < report["latency"]["p90_us"].as_f64(), "{report}");
    Ok(())
}

#[test]
fn a_session_is_sent_again_in_its_order() -> Result<()> {
    let origin = Origin::start(&[])?;
    let home = Home::new()?;
    let weir = Weir::start(&home, &[])?;
    let (proxy, session) = (weir.proxy().to_string(), weir.session().to_owned());
    let log = origin.folder.path().join("served.jsonl");
    let url = origin.url("/echo?first");
    home.output(&["load", "run", &url, "-X", "POST", "-b", "order", "--proxy", &proxy, "-n", "20", "-c", "2"])?;
    weir.stop()?;
    let again = home.json(&["load", "replay", &session, "--speed", "max"])?;
    ensure!(again["sent"] == 20 && again["same_status"] == 20 && again["same_body"] == 20, "{again}");
    // Another host, which answers otherwise; its log tells what came, one after another on each lane.
    let other = Origin::start(&["--log", &text(&log)?])?;
    let target = other.url("");
    let again = home.json(&["load", "replay", &session, "--target", &target, "--speed", "1000x"])?;
    ensure!(again["same_body"] == 20 && again["sent"] == 20, "{again}");
    other.stop()?;
    let served = std::fs::read_to_string(log)?;
    ensure!(served.lines().count() == 20 && served.matches("/echo?first").count() == 20, "{served}");
    // An origin that has gone: every answer differs, and the exit code says so.
    let output = home.run(&["load", "replay", &session, "--target", &target, "--speed", "max", "--timeout", "1s"])?;
    ensure!(output.status.code() == Some(1), "{output:?}");
    Ok(())
}

#[test]
fn the_selftest_is_good() -> Result<()> {
    let home = Home::new()?;
    let page = home.json(&["load", "selftest", "--duration", "1s", "--rate", "100", "-c", "4"])?;
    ensure!(page["good"] == true, "{page}");
    let steps = page["steps"].as_array().context("steps")?;
    let with_interface = can_run("load selftest");
    ensure!(
        steps.len() == if with_interface { 6 } else { 4 } && page["left_out"].is_null() == with_interface,
        "{page}"
    );
    // At full speed a ring may have no room: that is counted.
    ensure!(steps.iter().take(5).all(|step| step["verdict"]["missing"] == 0), "{page}");
    Ok(())
}

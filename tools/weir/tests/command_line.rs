//! Drives the real binary as a user does: usage, sessions, the CA, doctor, completions, and a capture from its
//! ready line to what the commands say of it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

fn weir(home: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(arguments)
        .arg("--home")
        .arg(home)
        .env_remove("WEIR_HOME")
        .output()
        .expect("the binary runs")
}

fn stdout(home: &Path, arguments: &[&str]) -> String {
    let output = weir(home, arguments);
    assert!(output.status.success(), "weir {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn json(home: &Path, arguments: &[&str]) -> Value {
    let all = [arguments, &["--json"]].concat();
    serde_json::from_str(&stdout(home, &all)).expect("one document")
}

fn failure(home: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = weir(home, arguments);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("temporary folder")
}

/// An origin that answers every connection with the same small JSON and counts nothing.
fn origin() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream));
        }
    });
    address
}

fn answer(mut stream: TcpStream) {
    let mut seen = Vec::new();
    let mut buffer = [0; 1024];
    while !seen.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(read) => seen.extend_from_slice(&buffer[..read]),
        }
    }
    // A client that has gone is no matter of the origin's.
    let _ = stream.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\nConnection: close\r\n\r\n{\"found\":1}",
    );
}

/// A running `weir capture --json`.
struct Capture {
    child: Child,
    lines: BufReader<ChildStdout>,
    ready: Value,
}

impl Capture {
    fn start(home: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(["capture", "--json", "--proxy", "127.0.0.1:0", "--ui", "127.0.0.1:0", "--home"])
            .arg(home)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("a line");
        let ready: Value = serde_json::from_str(&line).expect("the ready line");
        assert_eq!(ready["event"], "ready");
        Self { child, lines, ready }
    }

    fn text(&self, key: &str) -> &str {
        self.ready[key].as_str().expect("text")
    }

    /// One request in absolute form through the proxy; the whole answer.
    fn get(&self, origin: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(self.text("proxy")).expect("the proxy listens");
        write!(stream, "GET http://{origin}{path} HTTP/1.1\r\nHost: {origin}\r\nConnection: close\r\n\r\n")
            .expect("sends");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answers");
        answer
    }

    /// One request to the control API, with the token of the ready line or without; the whole answer.
    fn api(&self, method: &str, path: &str, token: bool) -> String {
        let (address, token_text) =
            self.text("ui").strip_prefix("http://").and_then(|link| link.split_once("/?token=")).expect("a link");
        let token_line = if token { format!("Authorization: Bearer {token_text}\r\n") } else { String::new() };
        let mut stream = TcpStream::connect(address).expect("the API listens");
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{token_line}Connection: close\r\n\r\n")
            .expect("sends");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answers");
        answer
    }

    /// The stopped line and the exit code, once it has ended.
    fn end(mut self) -> (Value, Option<i32>) {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        let code = self.child.wait().expect("ends").code();
        (serde_json::from_str(&line).expect("the stopped line"), code)
    }

    fn interrupt(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::INT).expect("is running");
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // It has ended already where the test came so far.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let home = folder();
    for arguments in [
        &["no-such-command"][..],
        &["capture", "--duration", "soon"],
        &["capture", "--memory", "1"],
        &["capture", "--lan", "--proxy", "127.0.0.1:0"],
        &["requests", "--where", "status >"],
        &["requests", "--sort", "nonsense"],
        &["overview", "--by", "nonsense"],
        &["show"],
    ] {
        let (code, said) = failure(home.path(), arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(said.starts_with("error: "), "{arguments:?}: {said}");
    }
}

#[test]
fn a_home_without_sessions_says_what_to_do() {
    let home = folder();
    let (code, said) = failure(home.path(), &["overview"]);
    assert_eq!(code, Some(1));
    assert!(said.starts_with("error: there are no sessions in ") && said.contains("; record one with"), "{said}");
    assert_eq!(stdout(home.path(), &["sessions", "--json"]), "");
    let (code, said) = failure(home.path(), &["stop"]);
    assert_eq!((code, said.as_str()), (Some(1), "error: no session is running; weir capture starts one\n"));
}

#[test]
fn the_ca_is_made_once_and_its_key_is_closed() {
    let home = folder();
    let path = stdout(home.path(), &["ca", "path"]);
    assert!(path.trim_end().ends_with("ca/weir-proxy-ca.crt"), "{path}");
    let shown = json(home.path(), &["ca", "show"]);
    assert_eq!(shown["path"], path.trim_end());
    assert_eq!(json(home.path(), &["ca", "show"])["sha256"], shown["sha256"]);
    let key = std::fs::metadata(home.path().join("ca/weir-proxy-ca.key")).expect("there");
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    let (code, said) =
        failure(home.path(), &["ca", "import", "--certificate", "/nonexistent", "--key", "/nonexistent"]);
    assert!(code == Some(1) && said.starts_with("error: cannot read /nonexistent"), "{said}");
}

#[test]
fn doctor_has_a_code_for_each_finding() {
    let home = folder();
    let output = weir(home.path(), &["doctor", "--json"]);
    let document: Value = serde_json::from_slice(&output.stdout).expect("one document");
    let findings = document["findings"].as_array().expect("findings");
    for finding in findings {
        assert!(finding["code"].is_string() && finding["message"].is_string(), "{finding}");
        assert_eq!(finding["state"] == "ok", finding["hint"].is_null(), "{finding}");
    }
    let failed = findings.iter().any(|finding| finding["state"] == "fail");
    assert_eq!(output.status.code(), Some(i32::from(failed)));
}

#[test]
fn completions_and_manual_pages_come_from_the_definitions() {
    let home = folder();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(stdout(home.path(), &["completions", shell]).contains("overview"), "{shell}");
    }
    assert!(stdout(home.path(), &["man"]).contains(".TH weir 1"));
    let pages = home.path().join("man1");
    stdout(home.path(), &["man", pages.to_str().expect("text")]);
    for page in ["weir.1", "weir-capture.1", "weir-session-rename.1", "weir-ca-install.1"] {
        assert!(pages.join(page).exists(), "{page}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_capture_from_ready_to_what_the_commands_say() {
    let home = folder();
    let origin = origin();
    let capture = Capture::start(home.path(), &["--name", "first"]);
    let session = capture.text("session").to_owned();
    for number in 0..5 {
        let answer = capture.get(origin, &format!("/item/{number}?x=1"));
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("{\"found\":1}"), "{answer}");
    }
    capture.interrupt();
    let (stopped, code) = capture.end();
    assert_eq!(code, Some(0), "{stopped}");
    assert_eq!(stopped["event"], "stopped");
    assert_eq!(stopped["session"], session.as_str());
    assert_eq!(stopped["exchanges"], 5);
    assert_eq!(stopped["ledger"]["exchanges"]["kept"], 5);

    let home = home.path();
    let overview = json(home, &["overview", "first"]);
    assert_eq!((&overview["exchanges"], &overview["state"]), (&Value::from(5), &Value::from("stopped")));
    assert_eq!(overview["by"]["method"][0]["key"], "GET");
    assert_eq!(overview["by"]["status"][0]["count"], 5);
    assert!(stdout(home, &["overview"]).contains("5 requests"));
    assert_eq!(json(home, &["overview", "--method", "POST"])["exchanges"], 0);

    let rows = stdout(home, &["requests", "--json", "--sort", "id:desc", "--limit", "2"]);
    let rows: Vec<Value> = rows.lines().map(|line| serde_json::from_str(line).expect("a row")).collect();
    assert_eq!(rows.len(), 2);
    assert!(rows[0]["id"].as_u64() > rows[1]["id"].as_u64());
    assert_eq!((&rows[0]["status"], &rows[0]["type"]), (&Value::from(200), &Value::from("application/json")));
    let table = stdout(home, &["requests", "--where", "path = '/item/3'"]);
    assert!(table.lines().count() == 2 && table.contains("/item/3?x=1"), "{table}");

    let id = rows[0]["id"].to_string();
    let shown = stdout(home, &["show", &id]);
    assert!(shown.contains("/item/4?x=1") && shown.contains("  \"found\": 1"), "{shown}");
    assert_eq!(stdout(home, &["show", &session[..20], &id, "--body", "response"]), "{\"found\":1}");
    assert_eq!(json(home, &["show", &id])["response_content"]["text"], "{\"found\":1}");
    let (code, said) = failure(home, &["show", "999"]);
    assert!(code == Some(1) && said.contains("has no request 999"), "{said}");

    assert_eq!(json(home, &["ledger"])["lost"], 0);
    assert!(stdout(home, &["ledger"]).contains("balances"));
    stdout(home, &["session", "rename", "first", "second"]);
    assert_eq!(json(home, &["session", "show"])["name"], "second");
    assert!(stdout(home, &["sessions"]).contains("second"));
    stdout(home, &["session", "delete", "second"]);
    assert_eq!(stdout(home, &["sessions", "--json"]), "");
}

#[test]
fn a_running_capture_is_steered_from_another_terminal() {
    let home = folder();
    let origin = origin();
    let capture = Capture::start(home.path(), &[]);
    capture.get(origin, "/before");
    // What is still on its way to the recorder would be judged by the filter that comes after it.
    let began = std::time::Instant::now();
    while json(home.path(), &["overview"])["exchanges"] != 1 {
        assert!(began.elapsed() < std::time::Duration::from_secs(20), "the request is recorded");
    }
    stdout(home.path(), &["session", "rename", capture.text("session"), "renamed"]);
    let status = json(home.path(), &["pause"]);
    assert_eq!((&status["state"], &status["name"]), (&Value::from("paused"), &Value::from("renamed")));
    assert_eq!(json(home.path(), &["resume"])["state"], "running");
    let filter = json(home.path(), &["filter", "--method", "POST"]);
    assert_eq!(filter["filters"], "method = 'POST'");
    assert_eq!(json(home.path(), &["filter"])["filters"], filter["filters"]);
    assert_eq!(json(home.path(), &["filter", "--clear"])["filters"], Value::Null);
    let (code, said) = failure(home.path(), &["session", "delete", "renamed"]);
    assert!(code == Some(1) && said.contains("stop it first"), "{said}");

    assert!(capture.api("GET", "/api/v1/session", true).starts_with("HTTP/1.1 200"));
    assert!(capture.api("GET", "/api/v1/session", false).starts_with("HTTP/1.1 401"));
    assert!(capture.api("GET", "/", true).contains("<title>weir</title>"));
    assert!(capture.api("GET", "/nowhere", true).starts_with("HTTP/1.1 404"));
    let document = capture.api("GET", "/api/v1/openapi.json", true);
    let document: Value = serde_json::from_str(document.split_once("\r\n\r\n").expect("a body").1).expect("JSON");
    for (path, operations) in document["paths"].as_object().expect("paths") {
        // What is described is served: nothing but streams (which never end) and what changes things is asked.
        if operations.get("get").is_some() && !["/events", "/tail"].iter().any(|end| path.ends_with(end)) {
            let asked = path.replace("{id}", "999999").replace("{half}", "response").replace("{session}", "nothing");
            let answer = capture.api("GET", &asked, true);
            let expected = if path.contains('{') { "HTTP/1.1 404" } else { "HTTP/1.1 200" };
            assert!(answer.starts_with(expected), "{path}: {answer}");
        }
    }

    let stopped = json(home.path(), &["stop"]);
    assert_eq!((&stopped["event"], &stopped["exchanges"]), (&Value::from("stopped"), &Value::from(1)));
    let (line, code) = capture.end();
    assert_eq!((line["exchanges"].as_u64(), code), (Some(1), Some(0)));
    assert!(std::fs::read_dir(home.path().join("run")).expect("there").next().is_none(), "the token is gone");
}

#[test]
fn a_port_in_use_is_named_with_its_owner_and_another_one() {
    let home = folder();
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let taken = listener.local_addr().expect("address").to_string();
    let (code, said) = failure(home.path(), &["capture", "--proxy", &taken]);
    assert_eq!(code, Some(1));
    assert!(
        said.starts_with(&format!("error: {taken} is in use by ")) && said.contains("--proxy 127.0.0.1:"),
        "{said}"
    );
    assert_eq!(stdout(home.path(), &["sessions", "--json"]), "", "no session is left behind");
}

#[test]
fn a_duration_ends_a_capture() {
    let home = folder();
    let capture = Capture::start(home.path(), &["--duration", "200ms", "--no-responses"]);
    let (stopped, code) = capture.end();
    assert_eq!((stopped["exchanges"].as_u64(), code), (Some(0), Some(0)));
}

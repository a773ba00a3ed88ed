//! Capture files and HAR files become sessions: whatever is around them, torn or not, by one shard or two.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use weir_tests::{
    Home,
    process::eventually,
    weir::{binary, ensure_balanced},
};

/// A capture made by `weir load synth`, and its truth by URL.
struct Synth {
    folder: TempDir,
    truth: BTreeMap<String, Value>,
}

impl Synth {
    fn make(home: &Home, flags: &[&str]) -> Result<Self> {
        let folder = TempDir::with_prefix("weir-synth-")?;
        let path = |name: &str| folder.path().join(name).to_str().map(str::to_owned).context("a plain path");
        let (capture, truth) = (path("trace.pcap")?, path("truth.jsonl")?);
        home.output(&[&["load", "synth", "-o", &capture, "--truth", &truth], flags].concat())?;
        let lines = fs::read_to_string(&truth)?;
        let truth = lines.lines().map(|line| {
            let exchange: Value = serde_json::from_str(line)?;
            Ok((exchange["url"].as_str().context("a URL")?.to_owned(), exchange))
        });
        Ok(Self { truth: truth.collect::<Result<_>>()?, folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn bytes(&self) -> Result<Vec<u8>> {
        Ok(fs::read(self.path("trace.pcap"))?)
    }

    /// Puts another form of the capture beside it.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<String> {
        fs::write(self.path(name), bytes)?;
        text(&self.path(name))
    }
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).context("a plain path")
}

/// Imports and returns the last line; the ledger must balance.
fn import(home: &Home, arguments: &[&str]) -> Result<Value> {
    let done = home.json(&[&["import"], arguments].concat())?;
    ensure!(done["event"] == "imported", "{done}");
    ensure_balanced(&done["ledger"])?;
    Ok(done)
}

/// The rows of an import without what depends on the order in which connections were met.
fn rows(home: &Home, done: &Value) -> Result<Vec<Value>> {
    let mut rows = home.requests(done["session"].as_str().context("a session")?)?;
    for row in &mut rows {
        let row = row.as_object_mut().context("an object")?;
        row.remove("id");
        row.remove("connection");
    }
    rows.sort_by_key(|row| row["url"].to_string());
    Ok(rows)
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// pcap with nanoseconds as pcapng: one section, one interface, an enhanced packet block a frame.
fn pcapng(pcap: &[u8]) -> Vec<u8> {
    let block = |kind: u32, body: &[u8]| {
        let total = (12 + body.len().next_multiple_of(4)) as u32;
        let mut out = [kind.to_le_bytes(), total.to_le_bytes()].concat();
        out.extend_from_slice(body);
        out.resize(total as usize - 4, 0);
        out.extend_from_slice(&total.to_le_bytes());
        out
    };
    let word = |at: usize| u32::from_le_bytes([pcap[at], pcap[at + 1], pcap[at + 2], pcap[at + 3]]);
    let mut section = vec![0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0];
    section.extend_from_slice(&[0xff; 8]);
    let mut out = block(0x0a0d_0d0a, &section);
    // if_tsresol (9) is 10^-9.
    let interface = [&[word(20) as u8, 0, 0, 0, 0, 0, 4, 0][..], &[9, 0, 1, 0, 9, 0, 0, 0]].concat();
    out.extend(block(1, &interface));
    let mut at = 24;
    while at < pcap.len() {
        let (time, len) = (u64::from(word(at)) * 1_000_000_000 + u64::from(word(at + 4)), word(at + 8) as usize);
        let mut body = Vec::new();
        for value in [0, (time >> 32) as u32, time as u32, len as u32, word(at + 12)] {
            body.extend_from_slice(&value.to_le_bytes());
        }
        body.extend_from_slice(&pcap[at + 16..at + 16 + len]);
        out.extend(block(6, &body));
        at += 16 + len;
    }
    // A decryption secrets block: kept aside, and counted.
    out.extend(block(10, &[&b"KLST"[..], &[3, 0, 0, 0], b"key"].concat()));
    out
}

/// `weir import - FLAGS` with its standard input piped.
fn piped(home: &Home, flags: &[&str]) -> Result<Child> {
    let mut command = Command::new(binary()?);
    command.arg("--home").arg(home.path()).args(["import", "-", "--json"]).args(flags);
    Ok(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}

fn last_line(output: &Output) -> Result<Value> {
    ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    let done: Value = serde_json::from_slice(&output.stdout)?;
    ensure_balanced(&done["ledger"])?;
    Ok(done)
}

#[test]
fn every_wrapping_gives_the_truth() -> Result<()> {
    let home = Home::new()?;
    let synth = Synth::make(&home, &["--connections", "120", "--seed", "7"])?;
    let plain = synth.bytes()?;
    let whole = import(&home, &[&text(&synth.path("trace.pcap"))?, "--name", "plain"])?;
    let expected = rows(&home, &whole)?;
    ensure!(expected.len() == synth.truth.len() && whole["exchanges"] == expected.len(), "{whole}");
    for row in &expected {
        let truth = synth.truth.get(row["url"].as_str().unwrap_or_default()).with_context(|| row.to_string())?;
        for key in ["method", "status", "client", "request_size", "response_size", "request_body", "response_body"] {
            ensure!(row[key] == truth[key], "{key}: {row} is {truth}");
        }
        ensure!(row["source"] == "packets" && row["error"].is_null(), "{row}");
    }
    let packets = &whole["ledger"]["packets"];
    ensure!(packets["seen"] == packets["kept"] && packets["seen"].as_u64() > Some(1_000), "{packets}");

    let gz = synth.put("trace.pcap.gz", &gzip(&plain)?)?;
    let zst = synth.put("trace.pcap.zst", &zstd::encode_all(&plain[..], 1)?)?;
    let ng = synth.put("trace.pcapng", &pcapng(&plain))?;
    let twice = synth.put("twice.gz.zst", &zstd::encode_all(&gzip(&pcapng(&plain))?[..], 1)?)?;
    // Two halves of one capture, the second with a file header of its own.
    let mut at = 24;
    while at < plain.len() / 2 {
        at += 16 + u32::from_le_bytes([plain[at + 8], plain[at + 9], plain[at + 10], plain[at + 11]]) as usize;
    }
    let (first, second) = (plain[..at].to_vec(), [&plain[..24], &plain[at..]].concat());
    let joined = synth.put("joined.pcap", &[&first[..], &second].concat())?;
    let (first, second) = (synth.put("1.pcap", &first)?, synth.put("2.pcap", &second)?);
    for files in [&[gz][..], &[zst], std::slice::from_ref(&ng), &[twice], &[joined], &[first, second]] {
        for jobs in ["1", "2"] {
            let files: Vec<&str> = files.iter().map(String::as_str).collect();
            let done = import(&home, &[&files[..], &["--jobs", jobs]].concat())?;
            ensure!(rows(&home, &done)? == expected, "{files:?} with {jobs} jobs differs");
            let mut ledger = done["ledger"].clone();
            if files == [ng.as_str()] {
                ensure!(ledger["packets"]["noted"]["decryption_secrets"] == 1, "{ledger}");
            }
            // What the wrapping holds aside, and how often bodies came twice, may differ; counts may not.
            for layer in ["packets", "stream_bytes", "http_messages", "exchanges", "connections", "bodies"] {
                let noted = ledger[layer].as_object_mut().map(|tally| tally.remove("noted"));
                let mut other = whole["ledger"][layer].clone();
                other.as_object_mut().map(|tally| tally.remove("noted"));
                ensure!(ledger[layer] == other, "{layer} {files:?} {jobs}: {ledger} {noted:?}");
            }
        }
    }
    let mut child = piped(&home, &[])?;
    let mut stdin = child.stdin.take().context("piped")?;
    let writing = std::thread::spawn(move || stdin.write_all(&plain));
    let done = last_line(&child.wait_with_output()?)?;
    writing.join().map_err(|_| anyhow::anyhow!("the writing thread failed"))??;
    ensure!(rows(&home, &done)? == expected, "standard input differs");

    // Read without weir, the lake holds the same, with the connections and the bodies.
    let session = whole["session"].as_str().context("session")?;
    let theirs = home.table("exchanges", session)?;
    ensure!(theirs.len() == expected.len(), "{}", theirs.len());
    let exchanges: u64 = home.table("connections", session)?.iter().filter_map(|row| row["exchanges"].as_u64()).sum();
    ensure!(exchanges == expected.len() as u64, "{exchanges}");
    let hashes: Vec<Value> = home.table("bodies", session)?.iter().map(|row| row["hash"].clone()).collect();
    for truth in synth.truth.values() {
        let body = &truth["response_body"];
        ensure!(body.is_null() || hashes.contains(body), "{truth} is not among the bodies");
    }
    Ok(())
}

#[test]
fn tunnels_links_and_losses_are_counted() -> Result<()> {
    let home = Home::new()?;
    let base = ["--connections", "30", "--seed", "3"];
    let plain = Synth::make(&home, &base)?;
    let expected = rows(&home, &import(&home, &[&text(&plain.path("trace.pcap"))?])?)?;
    for flags in [
        &["--link", "sll2", "--inside", "vlan,gre"][..],
        &["--link", "null", "--inside", "vxlan"],
        &["--inside", "mpls,geneve", "--segment", "700"],
        &["--link", "raw", "--inside", "gtp", "--fragment", "576"],
        &["--link", "sll", "--inside", "ipip", "--duplicated", "0.05", "--reordered", "0.05", "--overlapped", "0.05"],
    ] {
        let synth = Synth::make(&home, &[&base[..], flags].concat())?;
        for jobs in ["1", "2"] {
            let done = import(&home, &[&text(&synth.path("trace.pcap"))?, "--jobs", jobs])?;
            let found = rows(&home, &done)?;
            for (found, row) in found.iter().zip(&expected) {
                for key in ["url", "status", "request_body", "response_body", "response_size"] {
                    ensure!(found[key] == row[key], "{flags:?} {jobs}: {key}: {found} is {row}");
                }
            }
            ensure!(found.len() == expected.len(), "{flags:?}: {} rows", found.len());
        }
    }
    let lossy = Synth::make(&home, &["--connections", "60", "--lost", "0.02"])?;
    let done = import(&home, &[&text(&lossy.path("trace.pcap"))?])?;
    let ledger = &done["ledger"];
    ensure!(ledger["stream_bytes"]["dropped"]["gap"].as_u64() > Some(0), "{ledger}");
    let noted = ledger["http_messages"]["noted"].as_object().context("halves are noted")?;
    ensure!(noted.keys().any(|reason| reason.starts_with("unpaired:")), "{ledger}");
    let found = home.requests(done["session"].as_str().context("session")?)?;
    for row in found.iter().filter(|row| !row["status"].is_null() && row["error"] != "request_missing") {
        // A wrong pair would show: the server names the request it answers.
        let truth = lossy.truth.get(row["url"].as_str().unwrap_or_default()).with_context(|| row.to_string())?;
        ensure!(row["status"] == truth["status"], "{row} is {truth}");
    }
    let shown = String::from_utf8(home.output(&["ledger"])?)?;
    ensure!(shown.contains("gap") && shown.contains("unpaired:"), "{shown}");
    Ok(())
}

#[test]
fn flags_do_what_they_say() -> Result<()> {
    let home = Home::new()?;
    let synth = Synth::make(&home, &["--connections", "40"])?;
    let path = text(&synth.path("trace.pcap"))?;
    let posts = synth.truth.values().filter(|truth| truth["method"] == "POST").count();
    let done = import(&home, &[&path, "--method", "POST", "--name", "posts only"])?;
    ensure!(done["exchanges"] == posts, "{done}");
    let left_out = done["ledger"]["exchanges"]["dropped"]["filter:method"].as_u64();
    ensure!(left_out == Some((synth.truth.len() - posts) as u64), "{done}");
    ensure!(home.requests("posts only")?.len() == posts, "the session has its name");

    let done = import(&home, &[&path, "--where", "status >= 400", "--bodies", "none", "--device-from", "mac"])?;
    let session = done["session"].as_str().context("session")?;
    for row in home.requests(session)? {
        ensure!(row["status"].as_u64() >= Some(400), "{row}");
        ensure!(row["device"] == "02:00:00:00:00:01" && row["response_body"].is_null(), "{row}");
        let state = &row["response_body_state"];
        ensure!(state == "skipped_policy" || state == "none", "{row}");
    }
    ensure!(home.table("bodies", session)?.is_empty(), "no body is stored");

    let done = import(&home, &[&path, "--no-responses", "--memory", "32MiB"])?;
    for row in home.requests(done["session"].as_str().context("session")?)? {
        ensure!(row["response_body"].is_null() && !row["status"].is_null(), "{row}");
        ensure!(row["request_size"] == 0 || row["request_body_state"] == "stored", "{row}");
    }

    let said = String::from_utf8(home.output(&["import", &path])?)?;
    ensure!(said.contains("imported ") && said.contains("lost") && said.contains("nothing"), "{said}");
    Ok(())
}

#[test]
fn torn_wrong_and_missing_files() -> Result<()> {
    let home = Home::new()?;
    let synth = Synth::make(&home, &["--connections", "20"])?;
    let bytes = synth.bytes()?;
    for (name, torn) in [
        ("torn.pcap", bytes[..bytes.len() - 11].to_vec()),
        ("torn.pcap.gz", gzip(&bytes)?[..40_000].to_vec()),
        ("damaged.pcap", [&bytes[..bytes.len() - 3], &[0xff; 400]].concat()),
    ] {
        let path = synth.put(name, &torn)?;
        let output = home.run(&["import", &path, "--json"])?;
        let done = last_line(&output)?;
        ensure!(done["ledger"]["packets"]["dropped"]["torn"].as_u64() >= Some(1), "{name}: {done}");
        ensure!(done["exchanges"].as_u64() > Some(0), "{name}: {done}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(said.contains("torn") && said.contains(name), "{name}: {said}");
    }
    let sessions = home.rows(&["sessions"])?.len();
    let good = text(&synth.path("trace.pcap"))?;
    for (files, code, expected) in [
        (&[synth.put("notes.txt", b"GET / HTTP/1.1\r\n\r\n")?][..], 1, "neither pcap, pcapng nor HAR"),
        (&[synth.put("empty.pcap", b"")?], 1, "is empty"),
        (&[synth.put("other.har", br#"{"info":{"name":"a collection"}}"#)?], 1, "has no log.entries"),
        (&[text(&synth.path("nowhere.pcap"))?], 1, "cannot be read"),
        // Looked at before anything is imported.
        (&[good.clone(), text(&synth.path("nowhere.pcap"))?], 1, "cannot be read"),
        (&[text(synth.folder.path())?], 1, "is a folder"),
        (&["-".to_owned(), "-".to_owned()], 2, "give - once"),
    ] {
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let output = home.run(&[&["import"], &files[..]].concat())?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(code), "{files:?}: {} {said}", output.status);
        ensure!(said.starts_with("error: ") && said.contains(expected), "{files:?}: {said}");
    }
    ensure!(home.rows(&["sessions"])?.len() == sessions, "a failed import leaves no session");
    Ok(())
}

fn entry(number: usize, body: &str) -> Value {
    json!({
        "startedDateTime": "2026-01-02T03:04:05.678Z", "time": 12.5,
        "request": {
            "method": "GET", "url": format!("https://har.example/items/{number}"), "httpVersion": "HTTP/2.0",
            "headers": [{"name": "accept", "value": "*/*"}], "queryString": [], "cookies": [], "headersSize": -1,
            "bodySize": 0
        },
        "response": {
            "status": 200, "statusText": "OK", "httpVersion": "HTTP/2.0", "cookies": [], "redirectURL": "",
            "headers": [{"name": "content-type", "value": "text/plain"}], "headersSize": -1, "bodySize": body.len(),
            "content": {"size": body.len(), "mimeType": "text/plain", "text": body}
        },
        "cache": {}, "timings": {"send": 0, "wait": 10, "receive": 2.5}
    })
}

/// Many small captures, as tcpdump's rotation leaves them: more than there are blocks to read into.
#[test]
fn many_files_one_after_the_other() -> Result<()> {
    let home = Home::new()?;
    let synth = Synth::make(&home, &["--connections", "3"])?;
    let plain = synth.bytes()?;
    let files: Vec<String> =
        (0..20).map(|number| synth.put(&format!("{number}.pcap"), &plain)).collect::<Result<_>>()?;
    for jobs in ["1", "2", "4"] {
        let mut arguments: Vec<&str> = files.iter().map(String::as_str).collect();
        arguments.extend(["--jobs", jobs]);
        let done = import(&home, &arguments)?;
        // The same packets again are retransmissions.
        ensure!(done["exchanges"] == synth.truth.len(), "{done}");
    }
    Ok(())
}

#[test]
fn har_joins_the_lake() -> Result<()> {
    let home = Home::new()?;
    let synth = Synth::make(&home, &["--connections", "5"])?;
    let mut socket = entry(3, "");
    socket["_webSocketMessages"] = json!([
        {"type": "send", "time": 1_767_323_045.7, "opcode": 1, "data": "hello"},
        {"type": "receive", "time": 1_767_323_045.8, "opcode": 1, "data": "there"}
    ]);
    let (mut first, mut second) = (entry(1, "one"), entry(2, "two"));
    (first["connection"], second["connection"]) = (json!("443"), json!("443"));
    let entries = json!([first, second, socket, {"request": {"url": "data:,x"}}, {"request": 7}]);
    let har = json!({"log": {"version": "1.2", "creator": {"name": "t", "version": "1"}, "entries": entries}});
    let har = synth.put("browser.har", har.to_string().as_bytes())?;
    let packed = synth.put("browser.har.gz", &gzip(&fs::read(&har)?)?)?;
    for file in [&har, &packed] {
        let done = import(&home, &[file])?;
        ensure!(done["exchanges"] == 3, "{done}");
        let dropped = &done["ledger"]["exchanges"]["dropped"];
        ensure!(dropped["ignored:not_http"] == 1 && dropped["malformed"] == 1, "{done}");
        let session = done["session"].as_str().context("session")?;
        let found = home.requests(session)?;
        ensure!(found[0]["url"] == "https://har.example/items/1" && found[0]["source"] == "import", "{found:?}");
        ensure!(found[1]["response_body"] == blake3::hash(b"two").to_hex().as_str(), "{found:?}");
        // The first two name one connection, the third none.
        let connections = home.table("connections", session)?;
        ensure!(connections.len() == 1 && connections[0]["exchanges"] == 2, "{connections:?}");
        ensure!(connections[0]["domain"] == "har.example", "{connections:?}");
        ensure!(found[0]["connection"] == connections[0]["id"] && found[1]["connection"] == found[0]["connection"]);
        ensure!(found[2]["connection"] == 0, "{found:?}");
        let messages = home.table("messages", session)?;
        ensure!(messages.len() == 2 && messages.iter().all(|row| row["exchange"] == found[2]["id"]), "{messages:?}");
    }
    // Both kinds into one session.
    let done = import(&home, &[&har, &text(&synth.path("trace.pcap"))?])?;
    ensure!(done["exchanges"] == synth.truth.len() + 3, "{done}");
    // Torn: what stood before is there.
    let whole = fs::read(&har)?;
    let torn = synth.put("torn.har", &whole[..whole.len() / 2])?;
    let output = home.run(&["import", &torn, "--json"])?;
    let done = last_line(&output)?;
    ensure!(done["exchanges"].as_u64() > Some(0) && done["ledger"]["exchanges"]["dropped"]["torn"] == 1, "{done}");
    ensure!(String::from_utf8_lossy(&output.stderr).contains("no whole HAR"), "it is said");
    Ok(())
}

/// The highest resident memory of a process so far, KiB.
fn peak_kib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

#[test]
fn a_large_har_needs_little_memory() -> Result<()> {
    let home = Home::new()?;
    let mut child = piped(&home, &["--memory", "16MiB"])?;
    let mut stdin = child.stdin.take().context("piped")?;
    stdin.write_all(br#"{"log":{"version":"1.2","entries":["#)?;
    let (mut early, count) = (0, 3_000);
    for number in 0..count {
        // 32 KiB each, every one another: 96 MB in all.
        let body = format!("{number:08x}").repeat(4 << 10);
        let comma = if number == 0 { "" } else { "," };
        stdin.write_all(format!("{comma}{}", entry(number, &body)).as_bytes())?;
        if number == count / 5 {
            early = peak_kib(child.id())?;
        }
    }
    // The pipe is full but for its last 64 KiB: all the rest has been read.
    let late = peak_kib(child.id())?;
    stdin.write_all(b"]}}")?;
    drop(stdin);
    let done = last_line(&child.wait_with_output()?)?;
    ensure!(done["exchanges"] == count, "{done}");
    ensure!(late < early + 40_000, "memory grew from {early} to {late} KiB");
    Ok(())
}

#[test]
fn a_stop_keeps_what_was_read() -> Result<()> {
    let home = Home::new()?;
    let synth = Synth::make(&home, &["--connections", "30"])?;
    let bytes = synth.bytes()?;
    for jobs in ["1", "2"] {
        let mut child = piped(&home, &["--jobs", jobs])?;
        let mut stdin = child.stdin.take().context("piped")?;
        stdin.write_all(&bytes[..bytes.len() * 9 / 10])?;
        // What a pipe that pauses held is in the session before the pipe ends.
        eventually("rows of a pipe that pauses", Duration::from_secs(60), || {
            let sessions = home.rows(&["sessions"])?;
            Ok(sessions.iter().any(|entry| entry["state"] == "running" && entry["exchanges"].as_u64() > Some(0)))
        })?;
        kill_process(Pid::from_child(&child), Signal::INT)?;
        let done = last_line(&child.wait_with_output()?)?;
        ensure!(done["exchanges"].as_u64() > Some(10), "{done}");
        ensure!(done["ledger"]["packets"]["dropped"].get("torn").is_none(), "{done}");
        drop(stdin);
    }
    Ok(())
}

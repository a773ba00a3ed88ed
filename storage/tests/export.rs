//! Exports of what nobody means well with: every format stays what it is, and nothing leaves its place.

mod support;

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path};

use support::Rig;
use weir_engine::record::{Body, Exchange, Flags, Headers, Message, MessageKind, Record, Url};
use weir_storage::{ExportFormat, ExportOptions, Home, Output, Report, RequestsQuery, Session, export};

const FORMATS: [ExportFormat; 9] = [
    ExportFormat::Postman,
    ExportFormat::Postman3,
    ExportFormat::Har,
    ExportFormat::Curl,
    ExportFormat::HttpFile,
    ExportFormat::OpenApi,
    ExportFormat::JsonLines,
    ExportFormat::Csv,
    ExportFormat::Parquet,
];

fn exchange(id: u64, method: &str, url: &str, headers: &[(&str, &[u8])], body: &[u8]) -> Exchange {
    Exchange {
        id,
        connection: 1,
        started_us: 1_700_000_000_000_000 + id as i64,
        method: method.into(),
        url: Url::parse(url.into()).expect("parses"),
        status: Some(200),
        request_headers: Headers::from_pairs(headers.iter().copied()),
        response_headers: Headers::from_pairs([("Content-Type", "application/json"), ("X", "=cmd|' /C calc'!A0")]),
        request_body: Body::stored(body.to_vec().into()),
        response_body: Body::stored(b"{\"a\":1}".to_vec().into()),
        ..Exchange::default()
    }
}

/// A session of hostile exchanges.
fn hostile(home: &Path) -> Session {
    let mut rig = Rig::start(home);
    let long = vec![b'a'; 10 << 20];
    let multipart = b"--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"../../../../tmp/weir-evil\"\r\n\r\n\x00\xff\r\n--b--\r\n";
    let form: &[u8] = b"multipart/form-data; boundary=b";
    let all = [
        exchange(1, "GET", "http://a/../../../etc/passwd?=1+1", &[("X-Long", &long)], b""),
        exchange(
            2,
            "POST",
            "http://a/'$(touch weir-evil)`id`",
            &[("X", b"a\r\nInjected: yes\x00\x1b[2J")],
            b"'; rm -rf / #\n",
        ),
        exchange(3, "POST", "http://a/x", &[("Content-Type", form)], multipart),
        exchange(
            4,
            "POST",
            "http://a/\u{202e}\u{7f}\n### GET http://evil/",
            &[("bad name", b"x"), ("", b"y")],
            b"\n### POST http://evil/\n\n< /etc/passwd\n> {% x %}\n",
        ),
        exchange(5, "POST", "http://a/{{$guid}}/:x", &[("Content-Type", b"text/\xff\xfe; x={{y}}")], b"{{$randomInt}}"),
        exchange(6, "POST", "http://a/deep", &[("Content-Type", b"application/json")], "[".repeat(200_000).as_bytes()),
        exchange(7, "POST", "http://a/gzip", &[("Content-Encoding", b"gzip")], b"not gzip, token-secret"),
        exchange(8, "CONNECT", "http://a:443", &[], b""),
        exchange(9, "DELETE", "http://a/users/1;jsessionid=abc?a[]=1&a[]=2", &[("Cookie", b"=; ;;a")], b"\xff\xfe\x00"),
    ];
    for exchange in all {
        rig.push_exchange(exchange);
    }
    let mut socket = exchange(10, "GET", "ws://a/socket", &[], b"");
    socket.flags.set(Flags::UPGRADED);
    socket.status = Some(101);
    rig.push_exchange(socket);
    for (number, (kind, payload)) in
        [(MessageKind::Text, &b"{\"token\":\"socket-secret\"}"[..]), (MessageKind::Binary, b"\x00\xff")]
            .into_iter()
            .enumerate()
    {
        rig.push(Record::Message(Box::new(Message {
            exchange: 10,
            connection: 1,
            at_us: 1_700_000_000_000_100 + number as i64,
            kind,
            payload: payload.to_vec().into(),
            size: payload.len() as u64,
            state: weir_engine::record::BodyState::Stored,
            ..Message::default()
        })));
    }
    let mut half = exchange(11, "", "http://a/", &[], b"");
    half.status = None;
    rig.push_exchange(half);
    rig.push_exchange(exchange(12, "=1+1", "http://a/", &[], b""));
    rig.flush();
    rig.wait_flushed(12);
    Session::open(&Home::at(home), rig.finish())
}

fn run(session: &Session, format: ExportFormat, place: &Path, change: impl FnOnce(&mut ExportOptions)) -> Report {
    let mut options = ExportOptions::new(format);
    change(&mut options);
    let output = if format.is_folder() { Output::Folder(place.to_owned()) } else { Output::File(place.to_owned()) };
    export(session, &RequestsQuery::default(), &options, output).expect("exports")
}

fn files(folder: &Path, into: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).expect("lists").flatten() {
        if entry.path().is_dir() {
            files(&entry.path(), into);
        } else {
            into.insert(entry.path().to_string_lossy().into_owned(), fs::read(entry.path()).expect("reads"));
        }
    }
}

#[test]
fn hostile_content_stays_content() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let session = hostile(&folder.path().join("home"));
    let out = folder.path().join("out");
    fs::create_dir(&out).expect("creates");
    for format in FORMATS {
        for (round, with_secrets) in [("a", false), ("b", true)] {
            let place = out.join(format!("{format:?}-{round}"));
            let beside = out.join(format!("{format:?}-{round}-files"));
            let takes_files = matches!(
                format,
                ExportFormat::Postman | ExportFormat::Postman3 | ExportFormat::Curl | ExportFormat::HttpFile
            );
            let report = run(&session, format, &place, |options| {
                options.with_secrets = with_secrets;
                options.files = takes_files.then(|| beside.clone());
            });
            assert_eq!(report.chosen, 12, "{format:?}");
            let left: u64 =
                report.notes.iter().filter(|(reason, _)| reason.leaves_out()).map(|(_, count)| *count).sum();
            assert_eq!(report.exported + left, report.chosen, "{format:?}: {report:?}");
            assert!(report.bytes > 0 && report.warnings.is_empty(), "{format:?}: {report:?}");
        }
    }
    let mut all = BTreeMap::new();
    files(folder.path(), &mut all);
    all.retain(|name, _| !name.contains("/home/"));
    for name in all.keys() {
        let inside = name.strip_prefix(out.to_str().expect("path")).expect("inside");
        let is_harmless = |c: char| c.is_alphanumeric() || " -_.{}=+,/".contains(c);
        assert!(inside.chars().all(is_harmless) && !inside.contains("/.."), "{inside}");
    }
    assert!(!Path::new("/tmp/weir-evil").exists() && !folder.path().join("weir-evil").exists());
    let text = |name: &str| String::from_utf8(all[out.join(name).to_str().expect("path")].clone()).expect("UTF-8");

    // Documents are documents.
    for name in ["Postman-a", "Postman-b", "Har-a", "Har-b", "OpenApi-a"] {
        serde_json::from_str::<serde_json::Value>(&text(name)).expect(name);
    }
    let lines = text("JsonLines-b");
    assert_eq!(lines.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()).count(), 12);
    assert!(!text("JsonLines-a").contains("socket-secret") && lines.contains("socket-secret"));
    assert!(!text("Har-a").contains("null"), "readers of HAR choke on null");
    // No cell is a formula, no line begins where a line was injected.
    assert!(
        text("Csv-a").contains(",'=1+1,") && !text("Csv-a").contains(",=") && !text("Csv-a").contains("\nInjected")
    );
    assert!(!text("Curl-a").lines().any(|line| line.starts_with("Injected") || line.starts_with("###")));
    let requests = text("HttpFile-a").lines().filter(|line| line.starts_with("### ")).count();
    assert_eq!(requests, 8, "{}", text("HttpFile-a").chars().take(3000).collect::<String>());
    assert!(!text("HttpFile-a").contains("\n> {%") && !text("HttpFile-a").contains("\n< /etc"));
}

#[test]
fn hostile_content_too_makes_the_same_bytes_twice_for_the_owner_alone() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let session = hostile(&folder.path().join("home"));
    for format in FORMATS {
        let takes_files = matches!(
            format,
            ExportFormat::Postman | ExportFormat::Postman3 | ExportFormat::Curl | ExportFormat::HttpFile
        );
        let once = |round: &str| {
            let out = folder.path().join(format!("{format:?}-{round}"));
            fs::create_dir(&out).expect("creates");
            let report = run(&session, format, &out.join("export"), |options| {
                options.with_secrets = true;
                // In the same place both times: some formats write where the files are.
                options.files = takes_files.then(|| folder.path().join(format!("{format:?}-files")));
            });
            let mut all = BTreeMap::new();
            files(&out, &mut all);
            for name in all.keys() {
                let mode = fs::metadata(name).expect("there").permissions().mode() & 0o777;
                assert_eq!(mode, 0o600, "{name}");
            }
            // Nothing but the export: no temporary file is left.
            assert_eq!(fs::read_dir(&out).expect("lists").count(), 1, "{format:?}");
            let prefix = out.to_string_lossy().into_owned();
            let named = |(name, bytes): (String, Vec<u8>)| (name[prefix.len()..].to_owned(), bytes);
            (all.into_iter().map(named).collect::<BTreeMap<_, _>>(), report.notes)
        };
        let (first, second) = (once("first"), once("second"));
        assert!(first.0.keys().eq(second.0.keys()), "{format:?}");
        for (name, bytes) in &first.0 {
            assert!(bytes == &second.0[name], "{format:?}: {name} differs between two runs");
        }
        assert_eq!(first.1, second.1, "{format:?}");
    }
}

#[test]
fn an_export_that_fails_leaves_what_was_there() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let home = folder.path().join("home");
    let session = hostile(&home);
    let place = folder.path().join("old.json");
    fs::write(&place, b"not a collection").expect("writes");
    let mut options = ExportOptions::new(ExportFormat::Postman);
    options.into = Some(place.clone());
    let failed = export(&session, &RequestsQuery::default(), &options, Output::File(place.clone()));
    assert!(failed.is_err());
    assert_eq!(fs::read(&place).expect("reads"), b"not a collection");
    // A place that cannot be written to.
    for format in FORMATS {
        let nowhere = folder.path().join("nowhere").join("export");
        let output = if format.is_folder() { Output::Folder(nowhere) } else { Output::File(nowhere) };
        assert!(
            export(&session, &RequestsQuery::default(), &ExportOptions::new(format), output).is_err(),
            "{format:?}"
        );
    }
    let left: Vec<_> = fs::read_dir(folder.path()).expect("lists").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left.len(), 2, "nothing but the home and the old file: {left:?}");
}

#[test]
fn a_shell_runs_nothing_but_curl() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let session = hostile(&folder.path().join("home"));
    let script = folder.path().join("requests.sh");
    run(&session, ExportFormat::Curl, &script, |_| {});
    // `curl` is a function here: whatever else the script ran would leave a trace or fail.
    let program = format!("curl() {{ :; }}; PATH=/nowhere; . {}", script.display());
    let output =
        std::process::Command::new("sh").args(["-euc", &program]).current_dir(folder.path()).output().expect("sh runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!folder.path().join("weir-evil").exists() && !said.contains("touch") && !said.contains("rm"), "{said}");
}

#[test]
fn a_filtered_copy_points_to_its_bodies() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut rig = Rig::start(&folder.path().join("home"));
    for id in 1..=5_000 {
        let body = format!("{{\"password\":\"s{}\"}}", id % 100);
        rig.push_exchange(exchange(
            id,
            "POST",
            "http://a/x",
            &[("Content-Type", b"application/json")],
            body.as_bytes(),
        ));
    }
    rig.flush();
    rig.wait_flushed(5_000);
    let session = Session::open(&Home::at(folder.path().join("home")), rig.finish());
    let read = |name: &str| {
        let file = fs::File::open(folder.path().join(name)).expect("opens");
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).expect("reads");
        reader.build().expect("reads").map(|batch| batch.expect("reads").num_rows()).sum::<usize>()
    };
    // 100 request bodies and one response body; hidden ones are all the same.
    run(&session, ExportFormat::Parquet, &folder.path().join("open"), |options| options.with_secrets = true);
    assert_eq!((read("open/exchanges.parquet"), read("open/bodies.parquet")), (5_000, 101));
    run(&session, ExportFormat::Parquet, &folder.path().join("hidden"), |_| {});
    assert_eq!((read("hidden/exchanges.parquet"), read("hidden/bodies.parquet")), (5_000, 2));
}

/// Takes a little and then fails, as a full disk does.
struct Full(usize);

impl std::io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_output_that_fails_ends_what_is_read_ahead() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut rig = Rig::start(folder.path());
    // Several times what may wait to be written.
    let long = vec![b'a'; 1 << 20];
    (1..=30).for_each(|id| rig.push_exchange(exchange(id, "GET", "http://a/", &[("X-Long", &long)], b"")));
    let session = Session::open(&Home::at(folder.path()), rig.finish());
    for room in [0, 3 << 20] {
        let options = ExportOptions::new(ExportFormat::JsonLines);
        let output = Output::Stream(Box::new(Full(room)));
        let error = export(&session, &RequestsQuery::default(), &options, output).expect_err("there is no room");
        assert!(error.to_string().contains("the output"), "{error}");
    }
}

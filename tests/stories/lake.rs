//! The Parquet that weir leaves is read back without weir, by DuckDB and pyarrow, and holds what was sent.

use std::fs;

use anyhow::{Context, Result, ensure};
use weir_tests::{
    Home, Nginx, Origin, Weir,
    checks::only,
    client::{curl, helper},
    nginx::Listener,
};

/// SHA-256 by another program than the one under test.
fn sha256(bytes: &[u8]) -> Result<String> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), bytes)?;
    let output = std::process::Command::new("sha256sum").arg(file.path()).output()?;
    Ok(String::from_utf8(output.stdout)?.split(' ').next().unwrap_or_default().to_owned())
}

#[test]
fn duckdb_and_pyarrow_read_it() -> Result<()> {
    let (home, nginx) = (Home::new()?, Nginx::start()?);
    let origin = Origin::start(&nginx.certificates)?;
    let path = home.path().to_str().context("path")?.to_owned();
    let mut sessions = Vec::new();
    let bodies = [
        ("/data.json", "/data.json"),
        ("/gzip/script.js", "/script.js"),
        ("/large.bin", "/large.bin"),
        ("/report.xml", "/report.xml"),
    ];
    for name in ["first", "second"] {
        let weir = Weir::start_trusting(&home, &nginx.certificates.authority(), &["--name", name])?;
        for (asked, _) in bodies {
            for n in 0..2 {
                let got =
                    curl(&weir, &["--http2", "--compressed"], &nginx.url(Listener::Tls, &format!("{asked}?{n}")))?;
                ensure!(got.status() == 200, "{:?}", got.facts);
            }
        }
        curl(&weir, &[], &nginx.url(Listener::Plain, "/picture.png"))?;
        curl(&weir, &["--data", "a=1&b=2"], &origin.url("/echo"))?;
        curl(&weir, &[], "http://nowhere.invalid/")?;
        sessions.push(weir.session().to_owned());
        weir.stop()?;
    }

    let schema = helper("lake.py", &["schema", &path])?;
    ensure!(schema["wrong"].as_array().is_some_and(Vec::is_empty), "{schema}");
    for table in ["exchanges", "bodies", "connections"] {
        let counts = &schema["counts"][table];
        ensure!(counts["pyarrow"] == counts["duckdb"] && counts["sessions"] == 2, "{table}: {schema}");
    }
    ensure!(schema["counts"]["exchanges"]["duckdb"] == 22, "{schema}");

    for session in &sessions {
        // What weir prints and what DuckDB reads are the same rows.
        let (ours, theirs) = (home.requests(session)?, home.table("exchanges", session)?);
        ensure!(ours.len() == 11 && theirs.len() == 11, "{} {}", ours.len(), theirs.len());
        for mine in &ours {
            let url = mine["url"].as_str().context("url")?;
            let other = only(&theirs, url)?;
            for column in [
                "id",
                "source",
                "device",
                "client",
                "server",
                "protocol",
                "method",
                "scheme",
                "domain",
                "type",
                "category",
                "port",
                "path",
                "query",
                "endpoint",
                "status",
                "reason",
                "error",
                "request_headers",
                "response_headers",
                "request_body",
                "response_body",
                "request_size",
                "response_size",
                "request_body_state",
                "response_body_state",
                "duration_us",
                "wait_us",
                "flags",
            ] {
                ensure!(mine[column] == other[column], "{column} of {url}: {} and {}", mine[column], other[column]);
            }
        }
        // Each body is stored once, and is the file, byte for byte.
        ensure!(home.table("bodies", session)?.len() <= bodies.len() + 4, "bodies are stored once");
        let joined = helper("lake.py", &["bodies", &path, session])?;
        let joined = joined.as_array().context("rows")?;
        for (asked, file) in bodies {
            for n in 0..2 {
                let row = only(joined, &nginx.url(Listener::Tls, &format!("{asked}?{n}")))?;
                ensure!(row["sha256"] == sha256(&nginx.file(file)?)?, "{asked}: {row}");
                ensure!(row["size"] == row["on_wire"], "{row}");
            }
        }
    }
    // A finished session leaves nothing under live/.
    let live = home.path().join("live");
    let left = if live.exists() { fs::read_dir(&live)?.count() } else { 0 };
    ensure!(left == 0, "{left} entries under {}", live.display());
    Ok(())
}

//! The disk fills up: clients are served on, what could not be stored is counted, the exit code says so.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use weir_tests::{
    Home, Nginx, Weir,
    client::{curl, helper},
    nginx::Listener,
    process::eventually,
    weir::{Stopped, ensure_balanced},
};

/// A tmpfs, unmounted on drop.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(size: &str) -> Result<Self> {
        let folder = tempfile::TempDir::with_prefix("weir-disk-")?;
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "weir-story"])
            .arg(folder.path())
            .output()?;
        ensure!(
            output.status.success(),
            "this story mounts a tmpfs and needs root; run: sudo -E make test ({})",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(Self { folder })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.folder.path()).status();
    }
}

#[test]
fn the_capture_survives_and_says_what_it_lost() -> Result<()> {
    let nginx = Nginx::start()?;
    let disk = SmallDisk::mount("6m")?;
    let home = Home::at(disk.path());
    let weir = Weir::start(&home, &[])?;
    let session = weir.session().to_owned();
    // First something small that is surely stored …
    for n in 0..20 {
        ensure!(curl(&weir, &[], &nginx.url(Listener::Plain, &format!("/items?n={n}")))?.status() == 200);
    }
    eventually("the small ones are stored", Duration::from_secs(20), || Ok(home.requests(&session)?.len() == 20))?;
    // … then 30 bodies of 1 MiB that do not compress, each another one.
    let body = nginx.file("/large.bin")?;
    for n in 0_u8..30 {
        let mut other = body.clone();
        other[0] = n;
        nginx.add(&format!("/unique-{n}.bin"), &other)?;
        let got = curl(&weir, &[], &nginx.url(Listener::Plain, &format!("/unique-{n}.bin")))?;
        ensure!(got.status() == 200 && got.body == other, "clients are served on a full disk: {n}");
    }
    let Stopped { code, last, errors } = weir.stop_with_any_code()?;
    ensure!(code == 3, "exit code {code}: {last} {errors}");
    ensure!(errors.contains("error: ") || errors.contains("No space left"), "it says so: {errors}");
    ensure_balanced(&last["ledger"])?;
    let dropped = |layer: &str| -> u64 {
        let reasons = last["ledger"][layer]["dropped"].as_object();
        reasons.map_or(0, |all| all.values().filter_map(serde_json::Value::as_u64).sum())
    };
    ensure!(dropped("exchanges") + dropped("bodies") > 0, "{last}");

    // What is stored opens and agrees with the counts.
    let rows = home.requests(&session)?;
    ensure!(last["exchanges"] == rows.len() && rows.len() >= 20, "{} rows: {last}", rows.len());
    ensure!(last["ledger"]["exchanges"]["kept"] == rows.len(), "{last}");
    let overview = home.json(&["overview", &session])?;
    ensure!(overview["exchanges"] == rows.len(), "{overview}");
    let files = helper("lake.py", &["verify", disk.path().to_str().context("path")?])?;
    ensure!(files[&session]["rows"] == files[&session]["distinct"], "{files}");
    Ok(())
}

/// An import holds more and writes larger parts: what the disk refuses is counted as well.
#[test]
fn an_import_counts_what_the_disk_refused() -> Result<()> {
    let elsewhere = Home::new()?;
    let folder = tempfile::TempDir::with_prefix("weir-synth-")?;
    let capture = folder.path().join("trace.pcap");
    let capture = capture.to_str().context("path")?;
    elsewhere.output(&["load", "synth", "-o", capture, "--mix", "web", "--size", "40000000"])?;
    let disk = SmallDisk::mount("2m")?;
    let home = Home::at(disk.path());
    let output = home.run(&["import", capture, "--bodies", "all", "--json"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(3), "{:?}: {said}", output.status);
    let last = String::from_utf8_lossy(&output.stdout);
    let last: serde_json::Value = serde_json::from_str(last.lines().last().context("a line")?)?;
    ensure_balanced(&last["ledger"])?;
    let refused = &last["ledger"]["bodies"]["dropped"]["disk_full"];
    ensure!(refused.as_u64() > Some(0), "{last}");
    let rows = home.requests(last["session"].as_str().context("session")?)?;
    ensure!(last["ledger"]["exchanges"]["kept"] == rows.len(), "{} rows: {last}", rows.len());
    Ok(())
}

#[test]
fn a_home_that_cannot_be_written_is_an_error_at_the_start() -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    let inside = file.path().join("home");
    let output = Home::at(&inside).run(&["capture", "--proxy", "127.0.0.1:0", "--no-ui"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1) && said.starts_with("error: "), "{output:?}");
    ensure!(said.contains(&*file.path().to_string_lossy()), "it names the place: {said}");
    Ok(())
}

#[test]
fn a_session_that_cannot_be_put_into_the_lake_is_an_error_at_the_end() -> Result<()> {
    let nginx = Nginx::start()?;
    let folder = tempfile::TempDir::with_prefix("weir-lake-")?;
    let home = Home::at(folder.path());
    let weir = Weir::start(&home, &[])?;
    let session = weir.session().to_owned();
    ensure!(curl(&weir, &[], &nginx.url(Listener::Plain, "/items"))?.status() == 200);
    // A file where the lake's folder is to be: whoever asks, nothing can be written in it.
    let table = folder.path().join("lake/exchanges");
    if table.exists() {
        std::fs::remove_dir_all(&table)?;
    }
    std::fs::create_dir_all(folder.path().join("lake"))?;
    std::fs::write(&table, "")?;
    let Stopped { code, last, errors } = weir.stop_with_any_code()?;
    ensure!(code == 1, "exit code {code}: {last} {errors}");
    ensure!(errors.contains("error: ") && errors.contains(&session), "{errors}");
    ensure!(last["event"] == "stopped" && last["exchanges"] == 1, "{last}");
    std::fs::remove_file(&table)?;
    ensure!(home.requests(&session)?.len() == 1, "what was recorded is still readable");
    Ok(())
}

//! `weir capture` in a home of its own, and the commands that answer from it.

use std::{
    ffi::OsStr,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Process, process};

/// How long weir may take to be ready or to stop: generous, the machine may be building.
const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test: `WEIR_BIN`, or the one that cargo put next to this test.
///
/// `cargo test --workspace` builds it afresh, because the package `weir` has an integration test of its own
/// (cargo builds a package's binaries for its integration tests, and only then).
///
/// # Errors
/// When it is not there; the error says how to get it.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("WEIR_BIN") {
        return Ok(path.into());
    }
    // target/debug/deps/story-0123 → target/debug/weir
    let test = std::env::current_exe()?;
    let path = test.parent().and_then(Path::parent).context("a test lies in target/PROFILE/deps")?.join("weir");
    ensure!(path.exists(), "there is no {}; run: cargo test --workspace (not -p weir-tests)", path.display());
    Ok(path)
}

/// A `$WEIR_HOME` that is removed when dropped.
pub struct Home {
    folder: Folder,
}

enum Folder {
    Own(TempDir),
    Given(PathBuf),
}

impl Home {
    /// A new, empty home.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new() -> Result<Self> {
        Ok(Self { folder: Folder::Own(TempDir::with_prefix("weir-home-")?) })
    }

    /// A home in a folder that somebody else removes.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self { folder: Folder::Given(path.to_owned()) }
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        match &self.folder {
            Folder::Own(folder) => folder.path(),
            Folder::Given(path) => path,
        }
    }

    /// Runs `weir` with this home to its end.
    ///
    /// # Errors
    /// When the binary cannot be run.
    pub fn run(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = process::command(binary()?);
        command.arg("--home").arg(self.path()).args(arguments);
        command.output().context("cannot run weir")
    }

    /// Standard output of a command that must succeed.
    ///
    /// # Errors
    /// When it fails; the error carries what it said.
    pub fn output(&self, arguments: &[&str]) -> Result<Vec<u8>> {
        let output = self.run(arguments)?;
        if !output.status.success() {
            bail!("weir {arguments:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        Ok(output.stdout)
    }

    /// The one document a command prints with `--json`.
    ///
    /// # Errors
    /// When it fails or prints something else.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let all = [arguments, &["--json"]].concat();
        let text = self.output(&all)?;
        serde_json::from_slice(&text)
            .with_context(|| format!("weir {all:?} printed {:?}", String::from_utf8_lossy(&text)))
    }

    /// The objects a command streams with `--json`, one a line.
    ///
    /// # Errors
    /// When it fails or prints something else.
    pub fn rows(&self, arguments: &[&str]) -> Result<Vec<Value>> {
        let all = [arguments, &["--json"]].concat();
        let text = String::from_utf8(self.output(&all)?)?;
        text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }

    /// Every row of a session, in the order of their ids.
    ///
    /// # Errors
    /// When `weir requests` fails.
    pub fn requests(&self, session: &str) -> Result<Vec<Value>> {
        self.rows(&["requests", session, "--limit", "10000000", "--sort", "id"])
    }

    /// The rows of the `connections` table, read from the Parquet without weir.
    ///
    /// # Errors
    /// When the helper fails.
    pub fn table(&self, table: &str, session: &str) -> Result<Vec<Value>> {
        let home = self.path().to_str().context("a plain path")?;
        let rows = crate::client::helper("lake.py", &["rows", home, table, session])?;
        Ok(rows.as_array().context("an array of rows")?.clone())
    }
}

/// A running capture; killed on drop.
pub struct Weir {
    process: Process,
    ready: Value,
    proxy: Option<SocketAddr>,
    _logs: TempDir,
}

/// What a capture said when it ended.
#[derive(Debug)]
pub struct Stopped {
    /// Exit code.
    pub code: i32,
    /// The `stopped` line; null when there was none.
    pub last: Value,
    /// The end of standard error.
    pub errors: String,
}

impl Weir {
    /// Starts `weir capture --json` on free ports and awaits its ready line.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start(home: &Home, arguments: &[&str]) -> Result<Self> {
        Self::start_behind(&[], home, &[&["--proxy", "127.0.0.1:0"], arguments].concat())
    }

    /// Starts `weir capture --json` behind another command, such as `ip netns exec NAME`; the proxy is where
    /// the arguments say.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start_behind(before: &[&str], home: &Home, arguments: &[&str]) -> Result<Self> {
        let binary = binary()?;
        let mut line: Vec<&OsStr> = before.iter().map(OsStr::new).collect();
        line.push(binary.as_os_str());
        let mut command = process::command(line[0]);
        command.args(&line[1..]).args(["capture", "--json", "--ui", "127.0.0.1:0", "--home"]);
        command.arg(home.path()).args(arguments);
        let logs = TempDir::with_prefix("weir-logs-")?;
        let process = Process::start("weir", command, logs.path())?;
        let line = process.line(PATIENCE)?;
        let ready: Value = serde_json::from_str(&line).with_context(|| format!("the ready line: {line}"))?;
        ensure!(ready["event"] == "ready", "the first line is {line}");
        let proxy = ready["proxy"].as_str().map(str::parse).transpose()?;
        Ok(Self { process, ready, proxy, _logs: logs })
    }

    /// Starts a capture that trusts `authority` for the servers it dials.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start_trusting(home: &Home, authority: &Path, arguments: &[&str]) -> Result<Self> {
        let authority = authority.to_str().context("a plain path")?;
        Self::start(home, &[&["--upstream-ca", authority], arguments].concat())
    }

    /// Address of the proxy.
    ///
    /// # Panics
    /// When it runs without one.
    #[must_use]
    pub fn proxy(&self) -> SocketAddr {
        self.proxy.expect("a capture with a proxy")
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// The session's id.
    #[must_use]
    pub fn session(&self) -> &str {
        self.ready["session"].as_str().unwrap_or_default()
    }

    /// The CA certificate clients must trust.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.ready["ca"].as_str().unwrap_or_default().into()
    }

    /// The whole ready line.
    #[must_use]
    pub fn ready(&self) -> &Value {
        &self.ready
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// Resident memory in KiB, and file descriptors in use.
    ///
    /// # Errors
    /// When it has ended.
    pub fn resources(&self) -> Result<(u64, usize)> {
        self.process.resources()
    }

    /// What it wrote to standard error so far.
    #[must_use]
    pub fn errors(&self) -> String {
        self.process.errors()
    }

    /// kill -9, and its end.
    ///
    /// # Errors
    /// When it had ended before.
    pub fn kill(mut self) -> Result<()> {
        self.process.signal(Signal::KILL)?;
        self.process.wait(PATIENCE).map(drop)
    }

    /// SIGTERM, and its last line.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop_with_any_code(mut self) -> Result<Stopped> {
        self.process.signal(Signal::TERM)?;
        let status = self.process.wait(PATIENCE)?;
        let mut last = Value::Null;
        while let Ok(line) = self.process.line(Duration::from_secs(5)) {
            let value: Value = serde_json::from_str(&line).with_context(|| format!("a line of JSON: {line}"))?;
            if value["event"] == "stopped" {
                last = value;
            }
        }
        Ok(Stopped { code: status.code().unwrap_or(-1), last, errors: self.process.errors() })
    }

    /// SIGTERM; exit code 0, a ledger that balances and nothing lost are expected.
    ///
    /// # Errors
    /// When it ends otherwise.
    pub fn stop(self) -> Result<Value> {
        let Stopped { code, last, errors } = self.stop_with_any_code()?;
        ensure!(code == 0, "exit code {code}: {last} {errors}");
        ensure!(last["event"] == "stopped", "no stopped line; {errors}");
        ensure_balanced(&last["ledger"])?;
        Ok(last)
    }
}

/// Checks promise 1: every layer's seen = kept + Σ dropped.
///
/// # Errors
/// When a layer does not balance.
pub fn ensure_balanced(ledger: &Value) -> Result<()> {
    for (layer, tally) in ledger.as_object().context("the ledger is an object")? {
        let count = |value: &Value| value.as_u64().unwrap_or_default();
        let dropped: u64 = tally["dropped"].as_object().map_or(0, |reasons| reasons.values().map(count).sum());
        ensure!(count(&tally["seen"]) == count(&tally["kept"]) + dropped, "{layer} does not balance: {ledger}");
    }
    Ok(())
}

//! curl, Python and plain sockets through the proxy.

use std::{
    ffi::OsString,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Weir, process};

/// The folder of the Python helpers.
pub const HELPERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python");

/// The Python that has the modules: the tests' own environment when it was made, else the system's.
#[must_use]
pub fn python() -> OsString {
    let own = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.venv/bin/python"));
    if own.exists() { own.into() } else { "python3".into() }
}

/// Runs a Python helper and reads the JSON document it prints.
///
/// # Errors
/// When it fails; the error carries its traceback.
pub fn helper(script: &str, arguments: &[&str]) -> Result<Value> {
    let mut command = process::command(python());
    command.arg(Path::new(HELPERS).join(script)).args(arguments);
    let output = command.output().context("cannot start Python; run: scripts/setup test")?;
    if !output.status.success() {
        bail!("{script} {arguments:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().with_context(|| format!("{script} {arguments:?} printed nothing"))?;
    serde_json::from_str(last).with_context(|| format!("{script} {arguments:?} printed: {text}"))
}

/// What curl got.
pub struct Fetched {
    /// curl's exit code.
    pub code: i32,
    /// curl's `%{json}`: `http_code`, `http_version`, `num_connects`, `errormsg` and more.
    pub facts: Value,
    /// Body bytes.
    pub body: Vec<u8>,
    /// The last response head.
    pub head: String,
}

impl std::fmt::Debug for Fetched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetched")
            .field("code", &self.code)
            .field("error", &self.facts["errormsg"])
            .field("connect", &self.facts["http_connect"])
            .field("head", &self.head)
            .field("body", &self.text().chars().take(300).collect::<String>())
            .finish_non_exhaustive()
    }
}

impl Fetched {
    /// Status code; 0 without a response.
    #[must_use]
    pub fn status(&self) -> u64 {
        self.facts["http_code"].as_u64().unwrap_or_default()
    }

    /// HTTP version as curl prints it: `1.1`, `2`.
    #[must_use]
    pub fn version(&self) -> &str {
        self.facts["http_version"].as_str().unwrap_or_default()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Runs curl through `weir`, trusting its CA, with more arguments.
///
/// # Errors
/// When curl cannot be run. That curl fails is an answer, not an error.
pub fn curl(weir: &Weir, arguments: &[&str], url: &str) -> Result<Fetched> {
    let ca = weir.ca();
    let proxy = format!("http://{}", weir.proxy());
    let mut all = vec!["--proxy", &proxy, "--cacert", ca.to_str().context("a plain path")?];
    all.extend(arguments);
    curl_without_proxy(&all, url)
}

/// Runs curl as it is.
///
/// # Errors
/// When curl cannot be run.
pub fn curl_without_proxy(arguments: &[&str], url: &str) -> Result<Fetched> {
    let folder = TempDir::with_prefix("weir-curl-")?;
    let (body, head) = (folder.path().join("body"), folder.path().join("head"));
    let mut command = process::command("curl");
    command.args(["--silent", "--show-error", "--noproxy", "", "--max-time", "60", "--write-out", "%{json}"]);
    command.arg("--output").arg(&body).arg("--dump-header").arg(&head);
    let Output { status, stdout, stderr } = command.args(arguments).arg(url).output().context("cannot run curl")?;
    let text = String::from_utf8_lossy(&stdout);
    let facts = serde_json::from_str(&text)
        .with_context(|| format!("curl printed {text:?} and {:?}", String::from_utf8_lossy(&stderr)))?;
    let head = String::from_utf8_lossy(&std::fs::read(head).unwrap_or_default()).into_owned();
    let head = head.trim_end().rsplit("\r\n\r\n").next().unwrap_or_default().to_owned();
    Ok(Fetched { code: status.code().unwrap_or(-1), facts, body: std::fs::read(body).unwrap_or_default(), head })
}

/// A connection to the proxy that sends exactly what it is told.
pub struct Raw {
    stream: TcpStream,
}

impl Raw {
    /// Connects to the proxy.
    ///
    /// # Errors
    /// When it does not accept.
    pub fn connect(proxy: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&proxy, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.set_write_timeout(Some(Duration::from_secs(30)))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream })
    }

    /// Sends bytes. The proxy may already have closed: that is not an error here.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.stream.write_all(bytes.as_ref());
        self
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) -> &mut Self {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
        self
    }

    /// Everything until the proxy closes.
    ///
    /// # Errors
    /// When it neither sends nor closes for 30 s.
    pub fn rest(&mut self) -> Result<String> {
        let mut bytes = Vec::new();
        let mut buffer = [0; 65536];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(len) => bytes.extend_from_slice(&buffer[..len]),
                // A reset is a way to close: the proxy had unread bytes.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
                Err(error) => bail!("{error}, after {:?}", String::from_utf8_lossy(&bytes)),
            }
            ensure!(bytes.len() < 64 << 20, "the proxy sends without end");
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Reads until `end` was seen.
    ///
    /// # Errors
    /// When the proxy closes before, or is silent for 30 s.
    pub fn until(&mut self, end: &str) -> Result<String> {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(end.as_bytes()) {
            let len = self.stream.read(&mut byte).with_context(|| String::from_utf8_lossy(&bytes).into_owned())?;
            ensure!(len == 1, "closed after {:?}", String::from_utf8_lossy(&bytes));
            bytes.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

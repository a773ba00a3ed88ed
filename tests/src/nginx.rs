//! A real nginx over HTTP/1.1, HTTP/2, TLS 1.2 and 1.3, with files of many sizes and types.
//!
//! Its access log is the second witness: one JSON line a request it answered.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::{Certificates, Process, process};

/// Files nginx serves: path, size. Types follow from the ending.
pub const FILES: &[(&str, usize)] = &[
    ("/empty.txt", 0),
    ("/one.bin", 1),
    ("/data.json", 600),
    ("/page.html", 4_321),
    ("/style.css", 10 * 1024),
    ("/script.js", 65_535),
    ("/archive.bin", 65_536),
    ("/report.xml", 65_537),
    ("/large.bin", 1024 * 1024 + 7),
    ("/huge.bin", 5 * 1024 * 1024),
    ("/picture.png", 20_000),
    ("/drawing.svg", 2_000),
    ("/clip.mp4", 300_000),
    ("/letters.woff2", 30_000),
];

/// A listener of the running nginx.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listener {
    /// HTTP/1.1 in the clear.
    Plain,
    /// TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
    Tls,
    /// TLS 1.2 only, HTTP/2 and HTTP/1.1.
    Tls12,
    /// TLS 1.3 only, HTTP/1.1 only.
    Tls13Http1,
    /// An expired certificate.
    Expired,
    /// A certificate for another name.
    WrongName,
    /// A certificate that nobody vouches for.
    SelfSigned,
}

const LISTENERS: [(Listener, &str, &str, &str); 7] = [
    (Listener::Plain, "", "", ""),
    (Listener::Tls, " ssl http2", "good", "TLSv1.2 TLSv1.3"),
    (Listener::Tls12, " ssl http2", "good", "TLSv1.2"),
    (Listener::Tls13Http1, " ssl", "good", "TLSv1.3"),
    (Listener::Expired, " ssl http2", "expired", "TLSv1.2 TLSv1.3"),
    (Listener::WrongName, " ssl http2", "wrong-name", "TLSv1.2 TLSv1.3"),
    (Listener::SelfSigned, " ssl http2", "self-signed", "TLSv1.2 TLSv1.3"),
];

/// A running nginx, ended on drop.
pub struct Nginx {
    process: Process,
    ports: BTreeMap<Listener, u16>,
    /// The authority its certificates come from.
    pub certificates: Certificates,
    root: PathBuf,
    folder: TempDir,
}

impl Nginx {
    /// Starts nginx on free ports of the loopback.
    ///
    /// # Errors
    /// When it does not come up; the error carries what nginx said.
    pub fn start() -> Result<Self> {
        let folder = TempDir::with_prefix("weir-nginx-")?;
        let certificates = Certificates::make(folder.path())?;
        let root = folder.path().join("root");
        fs::create_dir(&root)?;
        for (path, size) in FILES {
            fs::write(root.join(&path[1..]), content(path, *size))?;
        }
        // A port that was free a moment ago may be taken by another story: try again.
        let mut last = None;
        for _ in 0..5 {
            let ports = free_ports(LISTENERS.len())?;
            let ports: BTreeMap<_, _> = LISTENERS.iter().map(|listener| listener.0).zip(ports).collect();
            fs::write(folder.path().join("nginx.conf"), configuration(folder.path(), &ports, &certificates)?)?;
            match run(folder.path(), &ports) {
                Ok(process) => return Ok(Self { process, ports, certificates, root, folder }),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("no attempt was made")?)
    }

    /// `http://127.0.0.1:PORT` or `https://localhost:PORT`.
    #[must_use]
    pub fn url(&self, listener: Listener, path: &str) -> String {
        let port = self.port(listener);
        match listener {
            Listener::Plain => format!("http://127.0.0.1:{port}{path}"),
            _ => format!("https://localhost:{port}{path}"),
        }
    }

    /// Port of a listener.
    #[must_use]
    pub fn port(&self, listener: Listener) -> u16 {
        self.ports[&listener]
    }

    /// The bytes behind a path.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn file(&self, path: &str) -> Result<Vec<u8>> {
        Ok(fs::read(self.root.join(&path[1..]))?)
    }

    /// Adds a file to what is served.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&self, path: &str, bytes: &[u8]) -> Result<()> {
        Ok(fs::write(self.root.join(&path[1..]), bytes)?)
    }

    /// Requests answered so far.
    ///
    /// # Errors
    /// When the access log cannot be read.
    pub fn answered(&self) -> Result<usize> {
        let log = fs::read(self.folder.path().join("access.log"))?;
        Ok(log.iter().filter(|&&byte| byte == b'\n').count())
    }

    /// Ends nginx after its last answer and reads its access log.
    ///
    /// # Errors
    /// When it does not end, or its log is not JSON.
    pub fn stop(mut self) -> Result<Vec<Value>> {
        self.process.signal(Signal::QUIT)?;
        self.process.wait(Duration::from_secs(20))?;
        let log = fs::read_to_string(self.folder.path().join("access.log"))?;
        log.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }
}

/// `count` ports of the loopback that are free now.
///
/// # Errors
/// When none can be had.
pub fn free_ports(count: usize) -> Result<Vec<u16>> {
    let held: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

/// Bytes that look like nothing, the same for the same path in every run.
fn content(path: &str, size: usize) -> Vec<u8> {
    let hash = blake3::hash(path.as_bytes());
    let mut state = u64::from_le_bytes([1, 2, 3, 4, 5, 6, 7, 8]) ^ u64::from(hash.as_bytes()[0]) << 32 | 1;
    let text = !path.ends_with(".bin") && !path.ends_with(".png") && !path.ends_with(".mp4");
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Text is printable, so that types and bodies agree.
        let [byte, ..] = state.to_le_bytes();
        bytes.push(if text { b' ' + byte % 90 } else { byte });
    }
    bytes
}

fn configuration(folder: &Path, ports: &BTreeMap<Listener, u16>, certificates: &Certificates) -> Result<String> {
    let place = folder.display();
    let mut text = String::new();
    if rustix::process::geteuid().is_root() {
        // Workers must read a folder that is root's alone.
        text.push_str("user root;\n");
    }
    write!(
        text,
        r#"worker_processes 1;
worker_rlimit_nofile 16000;
daemon off;
pid {place}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 8000; }}
http {{
  types {{
    text/plain txt; text/html html; text/css css; text/xml xml; application/json json;
    application/javascript js; image/png png; image/svg+xml svg; video/mp4 mp4; font/woff2 woff2;
  }}
  default_type application/octet-stream;
  log_format story escape=json '{{"method":"$request_method","uri":"$request_uri","status":$status,'
    '"bytes":$body_bytes_sent,"protocol":"$server_protocol","tls":"$ssl_protocol","host":"$http_host"}}';
  access_log {place}/access.log story;
  client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/fastcgi;
  uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;
  client_max_body_size 64m; keepalive_requests 1000000; keepalive_timeout 120;
  http2_max_concurrent_streams 256;
  root {place}/root;
"#
    )?;
    for (listener, flags, certificate, versions) in LISTENERS {
        let port = ports[&listener];
        writeln!(text, "  server {{ listen 127.0.0.1:{port}{flags} backlog=4096; listen 127.0.0.2:{port}{flags};")?;
        if !certificate.is_empty() {
            let (chain, key) = (certificates.chain(certificate), certificates.key(certificate));
            writeln!(text, "    ssl_certificate {}; ssl_certificate_key {};", chain.display(), key.display())?;
            writeln!(text, "    ssl_protocols {versions};")?;
        }
        for code in [204, 304, 404, 500, 503] {
            writeln!(text, "    location = /status/{code} {{ return {code}; }}")?;
        }
        text.push_str(
            r#"    location /gzip/ { alias ROOT/; gzip on; gzip_min_length 0; gzip_types *; gzip_comp_level 3; }
    location /moved { return 302 /data.json; }
    location /put/ { dav_methods PUT DELETE; create_full_put_path on; root ROOT; }
    location /items { default_type application/json; return 200 '{"uri":"$request_uri","method":"$request_method"}'; }
  }
"#
            .replace("ROOT", &format!("{place}/root"))
            .as_str(),
        );
    }
    text.push_str("}\n");
    Ok(text)
}

fn run(folder: &Path, ports: &BTreeMap<Listener, u16>) -> Result<Process> {
    let program = if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
    let mut command = process::command(program);
    command.arg("-p").arg(folder).arg("-c").arg(folder.join("nginx.conf"));
    let mut process = Process::start("nginx", command, folder)?;
    process::eventually("nginx listens", Duration::from_secs(10), || {
        if process.has_ended() {
            bail!("nginx ended: {}", process.errors());
        }
        Ok(ports.values().all(|&port| TcpStream::connect(("127.0.0.1", port)).is_ok()))
    })?;
    Ok(process)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::curl_without_proxy;

    #[test]
    fn serves_what_the_stories_ask_for() -> Result<()> {
        let nginx = Nginx::start()?;
        let authority = nginx.certificates.authority();
        let trust = ["--cacert", authority.to_str().context("path")?];
        for (listener, version) in
            [(Listener::Plain, "1.1"), (Listener::Tls, "2"), (Listener::Tls12, "2"), (Listener::Tls13Http1, "1.1")]
        {
            let got = curl_without_proxy(&trust, &nginx.url(listener, "/large.bin"))?;
            anyhow::ensure!(got.status() == 200 && got.version() == version, "{listener:?}: {got:?}");
            anyhow::ensure!(got.body == nginx.file("/large.bin")?);
        }
        for (path, status) in [("/status/503", 503), ("/status/204", 204), ("/moved", 302), ("/items?n=1", 200)] {
            let got = curl_without_proxy(&[], &nginx.url(Listener::Plain, path))?;
            anyhow::ensure!(got.status() == status, "{path}: {got:?}");
        }
        let zipped = curl_without_proxy(&["--compressed"], &nginx.url(Listener::Plain, "/gzip/script.js"))?;
        anyhow::ensure!(zipped.body == nginx.file("/script.js")? && zipped.head.contains("gzip"), "{}", zipped.head);
        for bad in [Listener::Expired, Listener::WrongName, Listener::SelfSigned] {
            let got = curl_without_proxy(&trust, &nginx.url(bad, "/one.bin"))?;
            anyhow::ensure!(got.code == 60, "{bad:?}: {got:?}");
        }
        anyhow::ensure!(nginx.stop()?.len() == 9);
        Ok(())
    }
}

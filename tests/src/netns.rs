//! Two hosts in network namespaces of their own, joined by a veth pair: `client` with curl, `server` with nginx.
//!
//! In: what lies between them. Out: commands that run inside. Everything is gone when it is dropped; what an earlier run
//! that was killed left behind is removed by the next one.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::{Process, process};

/// What the interfaces of both hosts are called.
pub const INTERFACE: &str = "veth0";
/// Where nginx listens.
pub const PORT: u16 = 8080;
/// All names of ours begin with this.
const PREFIX: &str = "weir-";

/// Whether network namespaces can be made here; says so when not.
#[must_use]
pub fn can_run(story: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    let can = is_root && Command::new("ip").args(["netns", "list"]).output().is_ok_and(|out| out.status.success());
    if !can {
        eprintln!("{story}: left out: network namespaces need root and iproute2");
    }
    can
}

/// What lies between the hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Between {
    /// The veth pair itself.
    Veth,
    /// A VLAN on it.
    Vlan,
    /// A VXLAN over it.
    Vxlan,
    /// GRE over it.
    Gre,
    /// A third host, whose line loses, doubles and reorders packets (`python/line.py`).
    FaultyLine,
}

/// Two hosts.
pub struct Net {
    client: String,
    server: String,
    between: Between,
    /// Addresses of the server: IPv4, IPv6.
    addresses: [&'static str; 2],
    /// What forwards on the third host, and the folder of what it says.
    line: Option<(Process, TempDir)>,
}

fn ip(arguments: &[&str]) -> Result<()> {
    run(Command::new("ip").args(arguments), "ip").map(drop)
}

fn run(command: &mut Command, what: &str) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {what}; run: scripts/setup test"))?;
    ensure!(output.status.success(), "{what} {command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

impl Net {
    /// Makes two hosts, or says that this kernel has no such devices.
    ///
    /// # Errors
    /// When a step fails otherwise; what was made is removed.
    pub fn if_possible(between: Between) -> Result<Option<Self>> {
        match Self::new(between) {
            Err(error) if format!("{error:#}").contains("Unknown device type") => {
                eprintln!("left out: this kernel has no devices for {between:?}");
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// Makes two hosts.
    ///
    /// # Errors
    /// When a step fails; what was made is removed.
    pub fn new(between: Between) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        sweep();
        let base = format!("{PREFIX}{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
        let (client, server) = (format!("{base}-c"), format!("{base}-s"));
        let mut net = Self { client, server, between, addresses: ["10.99.0.2", "fd99::2"], line: None };
        ip(&["netns", "add", &net.client])?;
        ip(&["netns", "add", &net.server])?;
        for host in [&net.client, &net.server] {
            ip(&["-n", host, "link", "set", "lo", "up"])?;
        }
        if between == Between::FaultyLine {
            ip(&["netns", "add", &net.third()])?;
        }
        net.renew()?;
        if between == Between::FaultyLine {
            net.line = Some(net.forward()?);
        }
        Ok(net)
    }

    /// The host that a faulty line passes.
    fn third(&self) -> String {
        format!("{}-line", self.client)
    }

    /// Forwards between the hosts and does harm. What is read there must be whole frames with checksums.
    fn forward(&self) -> Result<(Process, TempDir)> {
        for host in [self.on_client(), self.on_server()] {
            inside(&host, &["ethtool", "-K", INTERFACE, "tx", "off", "gso", "off", "tso", "off", "gro", "off"])?;
        }
        let folder = TempDir::with_prefix("weir-line-")?;
        let mut command = process::command("ip");
        command.args(["netns", "exec", &self.third(), "python3"]);
        command.args([concat!(env!("CARGO_MANIFEST_DIR"), "/python/line.py"), "one", "other", "5"]);
        let process = Process::start("line", command, folder.path())?;
        ensure!(process.line(Duration::from_secs(20))? == "ready", "{}", process.errors());
        Ok((process, folder))
    }

    /// Ends the line between the hosts; what it did to packets.
    ///
    /// # Errors
    /// When there is none or it does not say.
    pub fn end_line(&mut self) -> Result<Value> {
        let (process, _) = self.line.as_mut().context("there is no line between these hosts")?;
        process.signal(Signal::TERM)?;
        Ok(serde_json::from_str(&process.line(Duration::from_secs(20))?)?)
    }

    /// Makes the pair and what lies on it, again when it is gone.
    ///
    /// # Errors
    /// When a step fails.
    pub fn renew(&self) -> Result<()> {
        let pair = |end: &str, host: &str, other: &str| {
            ip(&["link", "add", end, "netns", host, "type", "veth", "peer", "name", INTERFACE, "netns", other])
        };
        if self.between == Between::FaultyLine {
            let third = self.third();
            for (end, host) in [("one", &self.client), ("other", &self.server)] {
                pair(end, &third, host)?;
                ip(&["-n", &third, "link", "set", end, "up"])?;
            }
        } else {
            pair(INTERFACE, &self.client, &self.server)?;
        }
        for (host, number) in [(&self.client, 1), (&self.server, 2)] {
            let inside = |arguments: &[&str]| ip(&[&["-n", host.as_str()][..], arguments].concat());
            inside(&["link", "set", INTERFACE, "up"])?;
            let (own, other) = (format!("10.98.0.{number}"), format!("10.98.0.{}", 3 - number));
            let device = match self.between {
                Between::Veth | Between::FaultyLine => INTERFACE,
                Between::Vlan => {
                    inside(&["link", "add", "link", INTERFACE, "name", "inner", "type", "vlan", "id", "7"])?;
                    "inner"
                }
                Between::Vxlan => {
                    inside(&["address", "add", &format!("{own}/24"), "dev", INTERFACE])?;
                    let tunnel = ["link", "add", "inner", "type", "vxlan", "id", "7", "dstport", "4789"];
                    inside(&[&tunnel[..], &["local", &own, "remote", &other, "dev", INTERFACE]].concat())?;
                    "inner"
                }
                Between::Gre => {
                    inside(&["address", "add", &format!("{own}/24"), "dev", INTERFACE])?;
                    inside(&["link", "add", "inner", "type", "gretap", "local", &own, "remote", &other])?;
                    "inner"
                }
            };
            inside(&["link", "set", device, "up"])?;
            inside(&["address", "add", &format!("10.99.0.{number}/24"), "dev", device])?;
            inside(&["-6", "address", "add", &format!("fd99::{number}/64"), "dev", device, "nodad"])?;
        }
        Ok(())
    }

    /// `http://…` of the server over IPv4 or IPv6.
    #[must_use]
    pub fn url(&self, is_v6: bool, path: &str) -> String {
        match is_v6 {
            false => format!("http://{}:{PORT}{path}", self.addresses[0]),
            true => format!("http://[{}]:{PORT}{path}", self.addresses[1]),
        }
    }

    /// Address of the server.
    #[must_use]
    pub fn server_address(&self) -> &str {
        self.addresses[0]
    }

    /// A command line that runs on the server.
    #[must_use]
    pub fn on_server(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.server]
    }

    /// The same for a program that looks at cgroups: `ip netns exec` would hide them behind a new /sys.
    #[must_use]
    pub fn beside_server(&self) -> [String; 2] {
        ["nsenter".to_owned(), format!("--net=/run/netns/{}", self.server)]
    }

    /// A command line that runs on the client.
    #[must_use]
    pub fn on_client(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.client]
    }

    /// Runs a command on the client to its end.
    ///
    /// # Errors
    /// When it cannot be run or fails.
    pub fn client(&self, line: &[&str]) -> Result<String> {
        inside(&self.on_client(), line)
    }

    /// Runs a command on the server to its end.
    ///
    /// # Errors
    /// When it cannot be run or fails.
    pub fn server(&self, line: &[&str]) -> Result<String> {
        inside(&self.on_server(), line)
    }

    /// Fetches with curl on the client; its standard output.
    ///
    /// # Errors
    /// When curl cannot be run.
    pub fn curl(&self, arguments: &[&str]) -> Result<Output> {
        let line = [&self.on_client()[1..], &["curl", "-sS", "--noproxy", "*"], arguments].concat();
        process::command("ip").args(line).output().context("cannot run curl; run: scripts/setup test")
    }

    /// How many packets passed the server's interface in both directions, by its own counters.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn packets(&self) -> Result<u64> {
        let counter = |name: &str| -> Result<u64> {
            let file = format!("/sys/class/net/{INTERFACE}/statistics/{name}");
            Ok(self.server(&["cat", &file])?.trim().parse()?)
        };
        Ok(counter("rx_packets")? + counter("tx_packets")?)
    }
}

fn inside(host: &[&str], line: &[&str]) -> Result<String> {
    run(process::command(host[0]).args(&host[1..]).args(line), line[0])
}

impl Drop for Net {
    fn drop(&mut self) {
        let third = (self.between == Between::FaultyLine).then(|| self.third());
        for host in [Some(&self.client), Some(&self.server), third.as_ref()].into_iter().flatten() {
            // With the last process in it the namespace goes, and its interfaces with it.
            let _ = ip(&["netns", "delete", host]);
        }
    }
}

/// Removes namespaces of test processes that are no more.
fn sweep() {
    let Ok(names) = fs::read_dir("/run/netns") else { return };
    for name in names.flatten() {
        let name = name.file_name().to_string_lossy().into_owned();
        let Some(pid) = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()) else { continue };
        if pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists() {
            let _ = ip(&["netns", "delete", &name]);
        }
    }
}

/// nginx on the server, ended on drop. Its access log is the second witness.
pub struct Server {
    process: Process,
    folder: TempDir,
}

impl Server {
    /// Starts it; it serves `/SIZE.bin` for the sizes given.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(net: &Net, sizes: &[usize]) -> Result<Self> {
        let folder = TempDir::with_prefix("weir-nginx-")?;
        let place = folder.path().display();
        for size in sizes {
            let bytes: Vec<u8> = (0..*size).map(|at| (at * 31 + at / 251) as u8).collect();
            fs::write(folder.path().join(format!("{size}.bin")), bytes)?;
        }
        let configuration = format!(
            r#"user root; worker_processes 1; daemon off; pid {place}/nginx.pid; error_log stderr warn;
events {{ worker_connections 1000; }}
http {{
  log_format story escape=json '{{"method":"$request_method","uri":"$request_uri","status":$status,"bytes":$body_bytes_sent,"client":"$remote_addr:$remote_port"}}';
  access_log {place}/access.log story; client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;
  fastcgi_temp_path {place}/fastcgi; uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;
  keepalive_requests 1000000; client_max_body_size 64m; root {place};
  server {{ listen {PORT}; listen [::]:{PORT}; location = /post {{ return 200 "posted"; }} }}
}}
"#
        );
        fs::write(folder.path().join("nginx.conf"), configuration)?;
        let mut command = process::command("ip");
        command.args(&net.on_server()[1..]).arg("nginx").arg("-p").arg(folder.path());
        command.arg("-c").arg(folder.path().join("nginx.conf"));
        command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
        let mut process = Process::start("nginx", command, folder.path())?;
        process::eventually("nginx listens", Duration::from_secs(20), || {
            if process.has_ended() {
                bail!("nginx ended: {}", process.errors());
            }
            Ok(!net.server(&["ss", "-Hltn", &format!("sport = {PORT}")])?.trim().is_empty())
        })?;
        Ok(Self { process, folder })
    }

    /// Ends it after its last answer and reads its access log.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(mut self) -> Result<Vec<Value>> {
        self.process.signal(Signal::QUIT)?;
        self.process.wait(Duration::from_secs(20))?;
        let log = fs::read_to_string(self.folder.path().join("access.log"))?;
        log.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }
}

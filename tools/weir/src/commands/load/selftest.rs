//! `weir load selftest`: origin, proxy, load and verify in one go; what this machine does, on one page.
//!
//! The capture is this binary, started again in a home of its own that is removed at the end: first as a proxy, then on
//! the loopback of a network namespace of its own, where that may be made.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::{
    process::{Pid, Signal, kill_process},
    thread::{UnshareFlags, unshare_unsafe},
};
use serde_json::{Value, json};
use weir_load::{
    certificates::{Identity, Trust},
    origin::{self, Origin},
    plan::{Plan, Template, Way},
    run::{self, Arrivals, Progress, report::Report},
    truth::Writer,
    verify::{Verdict, verify},
};
use weir_storage::{Catalogue, Home, Session};

use crate::{
    cli::load::SelfTestArgs,
    outcome::Outcome,
    output::{
        Out,
        table::Column,
        units::{count, duration_us, percent, rate},
    },
};

/// How the traffic is captured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Through {
    Proxy,
    /// Packets of the loopback.
    Interface,
}

/// A step: its name and how it is done.
struct Step {
    name: &'static str,
    through: Through,
    is_tls: bool,
    http2: bool,
    rate: Option<f64>,
}

/// What a step showed.
struct Shown {
    name: &'static str,
    report: Report,
    verdict: Verdict,
    cpu_us: f64,
}

/// Runs all steps and tells.
pub(super) fn run(args: &SelfTestArgs, out: &mut Out) -> Result<Outcome> {
    let folder = Folder::new()?;
    let step = |name, is_tls, http2, rate| Step { name, through: Through::Proxy, is_tls, http2, rate };
    let proxied = [
        step("HTTP, constant rate", false, false, Some(args.rate)),
        step("HTTP, as fast as it goes", false, false, None),
        step("HTTPS intercepted", true, false, None),
        step("HTTP/2 intercepted", true, true, None),
    ];
    let mut shown = all(&proxied, args, &folder.0)?;
    let step = |name, rate| Step { name, through: Through::Interface, is_tls: false, http2: false, rate };
    let seen = [step("interface, constant rate", Some(args.rate)), step("interface, as fast as it goes", None)];
    let inside = thread::scope(|scope| {
        let test = || match own_network() {
            Ok(()) => all(&seen, args, &folder.0).map(Ok),
            Err(why) => Ok(Err(why)),
        };
        scope.spawn(test).join().map_err(|_| anyhow!("the test of the interface ended by itself"))?
    });
    let left_out = match inside? {
        Ok(more) => {
            shown.extend(more);
            None
        }
        Err(why) => Some(format!("{why:#}")),
    };
    tell(&shown, left_out.as_deref(), out)
}

/// Gives the calling thread, and those it starts, a network with nothing in it but a loopback.
#[allow(unsafe_code, reason = "rustix marks all of unshare as unsafe")]
fn own_network() -> Result<()> {
    // SAFETY: a new network namespace only; the table of file descriptors stays shared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }
        .context("a network namespace cannot be made (run as root to have the interface tested too)")?;
    let output = Command::new("ip").args(["link", "set", "lo", "up"]).output().context("ip (iproute2) is not there")?;
    ensure!(output.status.success(), "the loopback of a new namespace does not come up");
    Ok(())
}

fn all(steps: &[Step], args: &SelfTestArgs, folder: &Path) -> Result<Vec<Shown>> {
    let identity = Identity::make(&[])?;
    let authority = folder.join("origin.pem");
    std::fs::write(&authority, identity.authority.as_deref().unwrap_or_default())?;
    let local = "127.0.0.1:0".parse()?;
    let options =
        origin::Options { listen: local, tls: Some(local), threads: super::threads(None), log: None, stall: None };
    let origin = Origin::start(&options, &identity)?;
    let https = origin.tls().context("it listens for TLS")?;
    let urls = (format!("http://{}", origin.address()), format!("https://localhost:{}", https.port()));
    let mut shown = Vec::new();
    for step in steps {
        let base = if step.is_tls { &urls.1 } else { &urls.0 };
        shown.push(one(step, base, args, folder, &authority).with_context(|| step.name.to_owned())?);
    }
    origin.stop()?;
    Ok(shown)
}

fn one(step: &Step, base: &str, args: &SelfTestArgs, folder: &Path, authority: &Path) -> Result<Shown> {
    let home = folder.join("home");
    let capture = Capture::start(step.through, &home, authority)?;
    let templates = mix(base);
    let is_proxied = step.through == Through::Proxy;
    let authorities = if is_proxied { vec![capture.text("ca")?.into()] } else { Vec::new() };
    let proxy = if is_proxied { Some(capture.text("proxy")?) } else { None };
    let way = Way { proxy, trust: Trust { authorities, insecure: false }, http2: step.http2, ids: true };
    let plan = Arc::new(Plan::build(&templates, &way)?);
    let truth = folder.join("truth.parquet");
    let number = run::new_run();
    let (writer, sender) = Writer::begin(&truth, &plan, number)?;
    let options = run::Options {
        threads: super::threads(None),
        connections: args.connections as usize,
        depth: if step.http2 { 8 } else { 1 },
        rate: step.rate.map(|rate| (Arrivals::Constant, rate)),
        duration: Some(args.duration),
        requests: None,
        warm_up: Duration::ZERO,
        timeout: Duration::from_secs(30),
        seed: 1,
    };
    let report = run::run(plan, &options, number, &Arc::new(Progress::default()), Some(sender))?;
    writer.finish()?;
    let (session, cpu_us) = capture.stop()?;
    let home = Home::resolve(Some(home))?;
    let entry = Catalogue::open(&home).find(Some(&session))?;
    let verdict = verify(&truth, &Session::open(&home, entry))?;
    let cpu_us = cpu_us / verdict.sent.max(1) as f64;
    Ok(Shown { name: step.name, report, verdict, cpu_us })
}

/// Small and larger answers, bodies that go up, chunks and codings.
fn mix(base: &str) -> Vec<Template> {
    let get = |path: &str, weight| Template { weight, ..Template::get(&format!("{base}{path}")) };
    let echo = Template {
        method: "POST".to_owned(),
        url: format!("{base}/echo"),
        headers: vec![("Content-Type".to_owned(), "application/json".to_owned())],
        body: r#"{"order":17}"#.into(),
        weight: 1.0,
        http2: false,
    };
    vec![get("/bytes/600", 6.0), get("/unique/200", 2.0), echo, get("/chunked/5000/700", 0.5), get("/gzip/4000", 0.5)]
}

fn tell(shown: &[Shown], left_out: Option<&str>, out: &mut Out) -> Result<Outcome> {
    let is_good = shown.iter().all(|step| step.verdict.is_good());
    if out.json {
        let steps: Vec<Value> = shown
            .iter()
            .map(|step| {
                json!({
                    "step": step.name, "measured": step.report, "capture_cpu_us_per_exchange": step.cpu_us,
                    "verdict": step.verdict, "good": step.verdict.is_good(),
                })
            })
            .collect();
        out.json_line(&json!({ "good": is_good, "steps": steps, "left_out": left_out }))?;
    } else {
        let mut table = out.table(vec![
            Column::text("STEP"),
            Column::number("RATE"),
            Column::number("P50"),
            Column::number("P99"),
            Column::number("CPU/EXCHANGE"),
            Column::number("RECORDED"),
            Column::number("MISSING"),
            Column::number("WRONG"),
            Column::text("VERDICT"),
        ]);
        for Shown { name, report, verdict, cpu_us } in shown {
            let wrong = verdict.wrong_pairs + verdict.wrong_requests + verdict.wrong_statuses + verdict.wrong_bodies;
            let us = |us: f64| duration_us(us.round() as u64);
            let cells = vec![
                (*name).into(),
                rate(report.rate).into(),
                us(report.latency.p50_us).into(),
                us(report.latency.p99_us).into(),
                format!("{cpu_us:.1} µs").into(),
                percent(verdict.found, verdict.answered).into(),
                count(verdict.missing).into(),
                count(wrong).into(),
                if verdict.is_good() { "good" } else { "NOT good" }.into(),
            ];
            table.row(out, cells)?;
        }
        table.finish(out)?;
        writeln!(out, "CPU/EXCHANGE is that of the capture; load and origin run on the same cores.")?;
        if let Some(why) = left_out {
            writeln!(out, "The interface was left out: {why}.")?;
        }
        writeln!(out, "{}", if is_good { "verdict: good" } else { "verdict: NOT good" })?;
    }
    Ok(if is_good { Outcome::Done } else { Outcome::Lost })
}

/// A folder that goes away.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("weir-selftest-{}-{:08x}", std::process::id(), run::new_run()));
        std::fs::create_dir(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is left to whoever cleans the temporary folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A capture by this binary; killed when it is dropped before its end.
struct Capture {
    child: Child,
    lines: BufReader<ChildStdout>,
    ready: Value,
}

impl Capture {
    fn start(through: Through, home: &Path, authority: &Path) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["capture", "--json", "--no-ui", "--home"]).arg(home);
        match through {
            Through::Proxy => command.args(["--proxy", "127.0.0.1:0", "--upstream-ca"]).arg(authority),
            Through::Interface => command.args(["--no-proxy", "--interface", "lo"]),
        };
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().context("this binary cannot be started again")?;
        let stdout = child.stdout.take().context("standard output was piped")?;
        let mut capture = Self { child, lines: BufReader::new(stdout), ready: Value::Null };
        capture.ready = capture.event("ready")?;
        Ok(capture)
    }

    fn event(&mut self, name: &str) -> Result<Value> {
        let mut line = String::new();
        while self.lines.read_line(&mut line)? > 0 {
            let value: Value = serde_json::from_str(&line).with_context(|| format!("the capture said {line}"))?;
            if value["event"] == name {
                return Ok(value);
            }
            line.clear();
        }
        bail!("the capture ended before it was {name}");
    }

    fn text(&self, key: &str) -> Result<String> {
        Ok(self.ready[key].as_str().with_context(|| format!("the ready line tells no {key}"))?.to_owned())
    }

    /// Stops it; its session and the CPU it took, in microseconds.
    fn stop(mut self) -> Result<(String, f64)> {
        let session = self.text("session")?;
        let cpu_us = cpu_us(self.child.id())?;
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        self.event("stopped")?;
        let status = self.child.wait()?;
        if !matches!(status.code(), Some(0 | 3)) {
            bail!("the capture ended with {status}");
        }
        Ok((session, cpu_us))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // It has ended already when all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// User and system time of a process so far.
fn cpu_us(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(ticks as f64 * 1e6 / rustix::param::clock_ticks_per_second() as f64)
}

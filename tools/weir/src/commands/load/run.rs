//! `weir load run`: makes a plan, shows how it goes, tells what was measured.

use std::{
    io::{IsTerminal as _, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use weir_engine::filter::Expr;
use weir_load::{
    certificates::Trust,
    plan::{Plan, Template, Way, scenario},
    replay::retarget,
    run::{
        self, Arrivals, Options, Progress,
        report::{Report, Threshold},
    },
    truth::Writer,
};
use weir_storage::{Home, RequestsQuery, Session};

use crate::{
    cli::load::RunArgs,
    outcome::{Outcome, Usage},
    output::{
        Out,
        bars::bar,
        units::{bytes, count, counted, duration_us, rate},
    },
    signals::Signals,
};

/// Requests of a session that make a mix at most.
const MOST_REQUESTS: usize = 100_000;
/// Without --duration and --requests.
const LENGTH: Duration = Duration::from_secs(10);
/// How often progress is shown.
const SHOWN: Duration = Duration::from_millis(200);

/// Sends and tells.
pub(super) fn run(args: &RunArgs, home: impl Fn() -> Result<Home>, out: &mut Out) -> Result<Outcome> {
    let (runtime, mut signals) = Signals::begin()?;
    let way = Way {
        proxy: args.proxy.clone(),
        trust: Trust { authorities: args.cacert.clone(), insecure: args.insecure },
        http2: args.http2,
        ids: args.truth.is_some(),
    };
    let plan = Arc::new(Plan::build(&templates(args, home)?, &way)?);
    let options = Options {
        threads: super::threads(args.threads),
        connections: args.connections as usize,
        depth: if args.http2 { args.streams } else { args.pipeline } as usize,
        rate: args.rate.map(|rate| (if args.poisson { Arrivals::Poisson } else { Arrivals::Constant }, rate)),
        duration: args.duration.or(args.requests.is_none().then_some(LENGTH)),
        requests: args.requests,
        warm_up: args.warm_up,
        timeout: args.timeout,
        seed: args.seed,
    };
    let number = run::new_run();
    let (writer, sender) = match &args.truth {
        Some(path) => Writer::begin(path, &plan, number).map(|(writer, sender)| (Some(writer), Some(sender)))?,
        None => (None, None),
    };
    let progress = Arc::new(Progress::default());
    let stop = Arc::clone(&progress);
    // A signal ends the run early; what was measured is told all the same.
    thread::spawn(move || {
        runtime.block_on(signals.any());
        stop.stop.store(true, Ordering::Relaxed);
    });
    let shown = show(&options, &progress);
    let report = run::run(plan, &options, number, &progress, sender);
    shown.finish();
    let written = writer.map(Writer::finish).transpose()?;
    let report = report?;
    if let Some(path) = &args.svg {
        std::fs::write(path, report.svg()).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    tell(&report, written, args, out)?;
    if report.requests == report.failed && report.warm_up_requests == 0 {
        bail!("no request was answered: {}; look whether the server is there", reasons(&report));
    }
    let crossed: Vec<&str> =
        args.fail_if.iter().filter(|threshold| threshold.is_crossed(&report)).map(Threshold::as_str).collect();
    for threshold in &crossed {
        eprintln!("failed: {threshold}");
    }
    Ok(if crossed.is_empty() { Outcome::Done } else { Outcome::No })
}

fn templates(args: &RunArgs, home: impl Fn() -> Result<Home>) -> Result<Vec<Template>> {
    if let Some(path) = &args.scenario {
        return Ok(scenario(path, args.url.as_deref())?);
    }
    if let Some(selector) = &args.from {
        let home = home()?;
        let entry = super::super::find(&home, Some(selector))?;
        let filter = args.condition.as_deref().map(Expr::parse).transpose().map_err(Usage::new)?;
        return captured(&Session::open(&home, entry), filter, args.url.as_deref());
    }
    let body = match args.body.as_deref() {
        Some(text) => match text.strip_prefix('@') {
            Some(file) => std::fs::read(file).with_context(|| format!("{file} cannot be read"))?.into(),
            None => Bytes::copy_from_slice(text.as_bytes()),
        },
        None => Bytes::new(),
    };
    let url = args.url.clone().unwrap_or_default();
    Ok(vec![Template {
        method: args.method.clone(),
        url,
        headers: args.headers.clone(),
        body,
        weight: 1.0,
        http2: false,
    }])
}

/// The requests of a session whose bodies are there; towards `target` when one is given.
fn captured(session: &Session, filter: Option<Expr>, target: Option<&str>) -> Result<Vec<Template>> {
    let query = RequestsQuery { filter, limit: Some(MOST_REQUESTS), ..RequestsQuery::default() };
    let mut templates = Vec::new();
    let mut left_out = 0_u64;
    let mut rows = session.requests(&query)?;
    for row in rows.by_ref() {
        let body = match &row.request_body {
            Some(hash) => session.body(&hash.0)?.map(|body| body.bytes),
            None => Some(Bytes::new()).filter(|_| row.request_size == 0),
        };
        let (Some(body), true) = (body, matches!(row.scheme.as_str(), "http" | "https")) else {
            left_out += 1;
            continue;
        };
        let url = match target {
            Some(target) => retarget(target, &row.path, &row.query),
            None => row.url,
        };
        let headers = row
            .request_headers
            .into_iter()
            .map(|line| (line.name, line.value))
            .filter(|(name, _)| !name.starts_with(':'));
        templates.push(Template {
            method: row.method,
            url,
            headers: headers.collect(),
            body,
            weight: 1.0,
            http2: false,
        });
    }
    super::super::warn(rows.warnings());
    if left_out > 0 {
        eprintln!(
            "warning: {} cannot be sent again (no HTTP, or a body that was not stored)",
            counted(left_out, "request", "requests")
        );
    }
    Ok(templates)
}

/// A line that tells how it goes.
pub(super) struct Shown {
    over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Shown {
    pub(super) fn finish(self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread {
            thread.thread().unpark();
            // It only draws.
            let _ = thread.join();
        }
    }
}

pub(super) fn show(options: &Options, progress: &Arc<Progress>) -> Shown {
    let over = Arc::new(AtomicBool::new(false));
    if !std::io::stderr().is_terminal() {
        return Shown { over, thread: None };
    }
    let (progress, ended) = (Arc::clone(progress), Arc::clone(&over));
    let (length, most) = (options.duration.map(|duration| duration + options.warm_up), options.requests);
    let thread = thread::spawn(move || {
        let bar = ProgressBar::new(1_000);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {msg}") {
            bar.set_style(style);
        }
        let begin = Instant::now();
        let mut before = 0;
        while !ended.load(Ordering::Relaxed) {
            thread::park_timeout(SHOWN);
            let (done, failed) = (progress.done.load(Ordering::Relaxed), progress.failed.load(Ordering::Relaxed));
            let by_time = length.map_or(0.0, |length| begin.elapsed().as_secs_f64() / length.as_secs_f64());
            let by_count = most.map_or(0.0, |most| done as f64 / most as f64);
            bar.set_position((by_time.max(by_count).min(1.0) * 1_000.0) as u64);
            let now = (done - before) as f64 / SHOWN.as_secs_f64();
            before = done;
            bar.set_message(format!("{} answered, {}, {} failed", count(done - failed), rate(now), count(failed)));
        }
        bar.finish_and_clear();
    });
    Shown { over, thread: Some(thread) }
}

fn reasons(report: &Report) -> String {
    let all = report.failures.iter().chain(&report.connect_failures);
    let told: Vec<String> = all.map(|(reason, count)| format!("{reason} {count}")).collect();
    if told.is_empty() { "nothing came".to_owned() } else { told.join(", ") }
}

fn tell(report: &Report, written: Option<u64>, args: &RunArgs, out: &mut Out) -> Result<()> {
    if out.json {
        let mut document = serde_json::to_value(report)?;
        document["event"] = "measured".into();
        document["truth_rows"] = written.into();
        out.json_line(&document)?;
        return Ok(());
    }
    let us = |us: f64| duration_us(us.round() as u64);
    let statuses: Vec<String> =
        report.statuses.iter().map(|(status, number)| format!("{status}: {}", count(*number))).collect();
    let mut facts = vec![
        (
            "answers",
            format!("{} in {:.1} s: {}", count(report.requests - report.failed), report.seconds, rate(report.rate)),
        ),
        ("bytes", bytes(report.bytes)),
        ("status", statuses.join("  ")),
        ("connections", count(report.connections)),
        ("CPU", format!("{:.1} µs a request, in the generator's threads", report.cpu_us_per_request)),
    ];
    if report.failed > 0 || !report.connect_failures.is_empty() {
        facts.push(("failed", format!("{}: {}", count(report.failed), reasons(report))));
    }
    if report.unsent > 0 {
        facts.push(("unsent", format!("{} were due and found no free connection", count(report.unsent))));
    }
    if let (Some(path), Some(rows)) = (&args.truth, written) {
        facts.push(("truth", format!("{}: {}", path.display(), counted(rows, "row", "rows"))));
    }
    out.facts(&facts)?;
    writeln!(out)?;
    out.heading(if args.rate.is_some() { "Latency, from when a request was due" } else { "Latency" })?;
    let latency = &report.latency;
    let lines = [
        ("min", latency.min_us),
        ("mean", latency.mean_us),
        ("p50", latency.p50_us),
        ("p75", latency.p75_us),
        ("p90", latency.p90_us),
        ("p95", latency.p95_us),
        ("p99", latency.p99_us),
        ("p99.9", latency.p99_9_us),
        ("p99.99", latency.p99_99_us),
        ("max", latency.max_us),
    ];
    for (name, value) in lines {
        let drawn = bar(value as u64, (latency.max_us as u64).max(1), 40);
        writeln!(out, "{name:>7}  {:>9}  {drawn}", us(value))?;
    }
    if args.rate.is_some() {
        writeln!(
            out,
            "from sending: p50 {}, p99 {}, max {}",
            us(report.service.p50_us),
            us(report.service.p99_us),
            us(report.service.max_us)
        )?;
    }
    Ok(())
}

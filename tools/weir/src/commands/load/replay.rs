//! `weir load replay`: a captured session sent again, and what is other about its answers.

use std::{
    io::Write as _,
    sync::{Arc, atomic::Ordering},
    thread,
};

use anyhow::Result;
use weir_load::{
    certificates::Trust,
    plan::Way,
    replay::{self, MOST_REQUESTS, Replayed, Request, replay},
    run::Progress,
};
use weir_storage::{Home, Session};

use crate::{
    cli::load::{ReplayArgs, Speed},
    outcome::{Outcome, Usage},
    output::{
        Out,
        bars::bar,
        units::{count, counted, duration_us, rate},
    },
    signals::Signals,
};

/// Sends again and tells.
pub(super) fn run(args: &ReplayArgs, home: &Home, out: &mut Out) -> Result<Outcome> {
    let (runtime, mut signals) = Signals::begin()?;
    let filter = args.filters.build().map_err(Usage::new)?;
    let session = Session::open(home, super::super::find(home, args.session.as_deref())?);
    let request = Request {
        filter: filter.to_expr(),
        target: args.target.clone(),
        speed: match args.speed {
            Speed::Times(times) => replay::Speed::Times(times),
            Speed::Max => replay::Speed::Max(args.connections),
        },
        way: Way {
            proxy: args.proxy.clone(),
            trust: Trust { authorities: args.cacert.clone(), insecure: args.insecure },
            http2: false,
            ids: false,
        },
        threads: super::threads(args.threads),
        timeout: args.timeout,
    };
    let progress = Arc::new(Progress::default());
    let stop = Arc::clone(&progress);
    // A signal ends it early; what was sent is compared all the same.
    thread::spawn(move || {
        runtime.block_on(signals.any());
        stop.stop.store(true, Ordering::Relaxed);
    });
    let replayed = replay(&session, &request, &progress)?;
    if replayed.sent + replayed.left_out >= MOST_REQUESTS as u64 {
        eprintln!("warning: the first {} requests were read; choose others with a filter", count(MOST_REQUESTS as u64));
    }
    if out.json {
        out.json_line(&replayed)?;
    } else {
        tell(&replayed, out)?;
    }
    let is_same = replayed.unsent == 0 && replayed.same_status == replayed.sent && replayed.other_body == 0;
    Ok(if is_same { Outcome::Done } else { Outcome::No })
}

fn tell(replayed: &Replayed, out: &mut Out) -> Result<()> {
    let us = |us: f64| duration_us(us.round() as u64);
    let latency = |latency: &weir_load::run::report::Latency| {
        format!("p50 {}, p99 {}, max {}", us(latency.p50_us), us(latency.p99_us), us(latency.max_us))
    };
    let mut facts = vec![
        (
            "sent",
            format!(
                "{} on {}: {}",
                count(replayed.sent),
                counted(replayed.lanes, "lane", "lanes"),
                rate(replayed.measured.rate)
            ),
        ),
        (
            "status",
            format!("{} the same, {} not", count(replayed.same_status), count(replayed.sent - replayed.same_status)),
        ),
        (
            "body",
            format!(
                "{} the same, {} not, {} without a captured hash",
                count(replayed.same_body),
                count(replayed.other_body),
                count(replayed.unknown_body)
            ),
        ),
        ("then", latency(&replayed.latency_then)),
        ("now", latency(&replayed.latency_now)),
        ("late", latency(&replayed.lateness_us)),
    ];
    if replayed.unsent > 0 {
        facts.push(("unsent", format!("{}: it ended early", count(replayed.unsent))));
    }
    if replayed.left_out > 0 {
        facts.push(("left out", format!("{} (no HTTP, or a body that was not stored)", count(replayed.left_out))));
    }
    out.facts(&facts)?;
    writeln!(out)?;
    out.heading("Gaps between requests: distance from the captured ones")?;
    for bucket in &replayed.gap_error {
        let label = bucket.up_to_us.map_or_else(|| "more".to_owned(), |limit| format!("≤ {}", duration_us(limit)));
        writeln!(out, "{label:>10}  {:>9}  {}", count(bucket.count), bar(bucket.count, replayed.sent.max(1), 40))?;
    }
    if !replayed.others.is_empty() {
        writeln!(out)?;
        out.heading("Some that differ (captured, now)")?;
        for other in &replayed.others {
            let status = |status: Option<u16>| status.map_or_else(|| "none".to_owned(), |status| status.to_string());
            let why = other.failure.map(|why| format!(" ({why})")).unwrap_or_default();
            let line = format!(
                "{}  {} {}: {}, {}{why}; {} and {} bytes",
                other.id,
                other.method,
                other.url,
                status(other.status.0),
                status(other.status.1),
                other.size.0,
                other.size.1
            );
            writeln!(out, "{}", crate::output::text::one_line(&line))?;
        }
    }
    Ok(())
}

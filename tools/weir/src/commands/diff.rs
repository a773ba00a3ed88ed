//! `weir diff A B`: how a second session differs from a first; exit code 1 when it does.

use std::io::Write;

use anyhow::Result;
use serde_json::json;
use weir_storage::{
    Home, Session,
    query::{Changes, CompareQuery, Comparison},
};

use super::{Outcome, Usage, find, warn};
use crate::{
    cli::DiffArgs,
    output::{Out, Tone, text::one_line, units},
};

/// Lines of one kind that are printed for people.
const MOST: usize = 200;

/// Compares two sessions.
pub(super) fn run(args: &DiffArgs, home: &Home, out: &mut Out) -> Result<Outcome> {
    if !(args.tolerance.is_finite() && args.tolerance >= 0.0) {
        return Err(Usage::new("--tolerance is a number of per cent, 0 or more").into());
    }
    let filter = args.filters.build().map_err(Usage::new)?.to_expr();
    let (before, after) = (find(home, Some(&args.before))?, find(home, Some(&args.after))?);
    let (before, after) = (Session::open(home, before), Session::open(home, after));
    let query = CompareQuery { filter, tolerance: args.tolerance / 100.0 };
    let found = before.compare(&after, &query)?;
    warn(&found.warnings);
    let differs = found.differs(!args.ignore_shifts);
    if out.json {
        let mut document = serde_json::to_value(&found)?;
        document["before"] = json!(before.entry().id);
        document["after"] = json!(after.entry().id);
        document["differs"] = json!(differs);
        out.json_line(&document)?;
    } else {
        print(&found, &before, &after, !args.ignore_shifts, out)?;
        if !differs {
            writeln!(out, "no differences")?;
        }
    }
    Ok(if differs { Outcome::No } else { Outcome::Done })
}

fn print(found: &Comparison, before: &Session, after: &Session, shifts: bool, out: &mut Out) -> Result<()> {
    let side = |session: &Session, count: u64| {
        format!("{} ({})", one_line(&session.entry().name), units::counted(count, "request", "requests"))
    };
    out.facts(&[("before", side(before, found.exchanges.0)), ("after", side(after, found.exchanges.1))])?;
    changes("endpoints", &found.endpoints, out)?;
    changes("statuses", &found.statuses, out)?;
    if shifts {
        let percent = |part: f64| format!("{:.1} %", part * 100.0);
        let mix = found.status_mix.iter();
        let lines: Vec<String> = mix
            .map(|shift| format!("{} of all: {} → {}", shift.status, percent(shift.before), percent(shift.after)))
            .collect();
        section("status mix", Tone::Warn, "~", &lines, out)?;
        let value = |measure: &str, value: u64| match measure {
            "mean_response_bytes" => units::bytes(value),
            _ => units::duration_us(value),
        };
        let name = |measure: &'static str| match measure {
            "mean_response_bytes" => "size",
            measure => measure.trim_end_matches("_us"),
        };
        let lines: Vec<String> = found
            .shifts
            .iter()
            .map(|shift| {
                let (before, after) = (value(shift.measure, shift.before), value(shift.measure, shift.after));
                format!("{} {}: {before} → {after}", shift.endpoint, name(shift.measure))
            })
            .collect();
        section("times and sizes", Tone::Warn, "~", &lines, out)?;
    }
    changes("request headers", &found.request_headers, out)?;
    changes("response headers", &found.response_headers, out)?;
    changes("cookies", &found.cookies, out)?;
    changes("domains", &found.domains, out)?;
    changes("third parties", &found.third_parties, out)
}

fn changes(title: &str, changes: &Changes, out: &mut Out) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    section(title, Tone::Bad, "-", &changes.gone, out)?;
    section(if changes.gone.is_empty() { title } else { "" }, Tone::Good, "+", &changes.new, out)
}

fn section(title: &str, tone: Tone, mark: &str, lines: &[String], out: &mut Out) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    if !title.is_empty() {
        writeln!(out)?;
        out.heading(title)?;
    }
    for line in lines.iter().take(MOST) {
        let line = out.style.paint(tone, format!("{mark} {}", one_line(line))).into_owned();
        writeln!(out, "{line}")?;
    }
    if lines.len() > MOST {
        writeln!(out, "{mark} and {} more; --json has all of them", units::count((lines.len() - MOST) as u64))?;
    }
    Ok(())
}

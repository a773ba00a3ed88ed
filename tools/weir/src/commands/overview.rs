//! `weir overview`: a session in counts, with bars.

use std::{io::Write, str::FromStr};

use anyhow::Result;
use weir_storage::{GroupBy, Home, Overview, OverviewQuery, Session, query::Group};

use super::{Outcome, Usage, find, warn};
use crate::{
    cli::OverviewArgs,
    output::{Cell, Column, Cut, Out, Tone, bars, text::one_line, units},
};

/// Groups shown to people of each column unless told otherwise.
const TOP: usize = 10;
/// Columns of a bar at most, and what the other columns of the table take beside the key.
const BAR: usize = 24;

/// Prints the overview of a session.
pub(super) fn run(args: &OverviewArgs, home: &Home, out: &mut Out) -> Result<Outcome> {
    let by: Vec<GroupBy> =
        args.by.iter().map(|column| GroupBy::from_str(column.trim())).collect::<Result<_, _>>().map_err(Usage::new)?;
    let filter = args.filters.build().map_err(Usage::new)?.to_expr();
    let filtered = filter.is_some();
    let by = if by.is_empty() { GroupBy::DEFAULT.to_vec() } else { by };
    let top = args.top.filter(|top| *top > 0);
    // People get one group more than they see, to know whether there are more.
    let asked = if out.json || args.top == Some(0) { top } else { Some(top.unwrap_or(TOP).saturating_add(1)) };
    let query = OverviewQuery { by, filter, top: asked };
    let overview = Session::open(home, find(home, args.session.as_deref())?).overview(&query)?;
    if out.json {
        out.json_line(&overview)?;
        return Ok(Outcome::Done);
    }
    warn(&overview.warnings);
    print(&overview, filtered, asked.map(|asked| asked - 1), out)?;
    Ok(Outcome::Done)
}

fn print(overview: &Overview, filtered: bool, top: Option<usize>, out: &mut Out) -> Result<()> {
    let heading = format!("{} ({}, {})", one_line(&overview.name), overview.session, overview.state);
    out.heading(&heading)?;
    let seconds = overview.duration_s;
    let rate = if seconds > 0.0 { overview.exchanges as f64 / seconds } else { 0.0 };
    let requests = units::counted(overview.exchanges, "request", "requests");
    let mut facts = vec![
        (if filtered { "chosen" } else { "requests" }, format!("{requests}, {}", units::rate(rate))),
        ("started", units::local_time(&overview.started.to_string())),
        ("time", units::duration_us((seconds * 1e6) as u64)),
        (
            "bodies",
            format!(
                "{} sent, {} received",
                units::bytes(overview.request_bytes),
                units::bytes(overview.response_bytes)
            ),
        ),
    ];
    let lost = overview.ledger.lost();
    if lost > 0 {
        facts.push(("lost", format!("{}; weir ledger says why", units::count(lost))));
    }
    out.facts(&facts)?;
    for (by, groups) in &overview.by {
        writeln!(out)?;
        section(by.as_str(), groups, overview.exchanges, top, out)?;
    }
    Ok(())
}

fn section(title: &'static str, groups: &[Group], all: u64, top: Option<usize>, out: &mut Out) -> Result<()> {
    let shown = &groups[..groups.len().min(top.unwrap_or(usize::MAX))];
    let most = shown.iter().map(|group| group.count).max().unwrap_or(0);
    let mut table = out.table(vec![
        Column::text(title).cut(Cut::Middle, 12),
        Column::number("requests"),
        Column::number("share").optional(),
        Column::text("").cut(Cut::End, 4),
        Column::number("errors").optional(),
        Column::number("received").optional(),
        Column::number("p50"),
        Column::number("p95").optional(),
        Column::number("p99").optional(),
    ]);
    for group in shown {
        let time = |us: Option<u64>| us.map_or_else(|| "–".to_owned(), units::duration_us);
        let key_tone = if title == "status" { Tone::of_status(group.key.parse().ok()) } else { Tone::Plain };
        table.row(
            out,
            vec![
                Cell::toned(key_tone, group.key.as_str()),
                units::count(group.count).into(),
                Cell::toned(Tone::Faint, units::percent(group.count, all)),
                Cell::toned(Tone::Info, bars::bar(group.count, most, BAR)),
                Cell::toned(if group.errors > 0 { Tone::Bad } else { Tone::Faint }, units::count(group.errors)),
                units::bytes(group.response_bytes).into(),
                time(group.p50_us).into(),
                time(group.p95_us).into(),
                time(group.p99_us).into(),
            ],
        )?;
    }
    table.finish(out)?;
    if shown.len() < groups.len() {
        let note = format!("the first {} of more; --top N shows N, --top 0 all", shown.len());
        let note = out.style.paint(Tone::Faint, note).into_owned();
        writeln!(out, "{note}")?;
    }
    Ok(())
}

//! `weir overview`: a session in counts, with bars.

use std::io::Write;

use anyhow::Result;
use weir_storage::{GroupBy, Home, Overview, OverviewQuery, Session, query::Group};

use super::{Outcome, Usage, find, warn};
use crate::{
    api::group_list,
    cli::OverviewArgs,
    output::{Cell, Column, Cut, Out, Tone, bars, text::one_line, units},
};

/// Groups shown to people of each column unless told otherwise.
const TOP: usize = 10;
/// Columns of a bar at most.
const BAR: usize = 24;

/// Prints the overview of a session.
pub(super) fn run(args: &OverviewArgs, home: &Home, out: &mut Out) -> Result<Outcome> {
    let (mut by, mut crossed) = (Vec::new(), Vec::new());
    for columns in &args.by {
        let columns = group_list(columns).map_err(Usage::new)?;
        match columns.len() {
            // What is crossed is in the document column by column too.
            2.. if out.json => by.extend(columns.iter().copied()),
            2.. => {}
            _ => by.extend(columns.iter().copied()),
        }
        if columns.len() > 1 {
            crossed.push(columns);
        }
    }
    let filter = args.filters.build().map_err(Usage::new)?.to_expr();
    let filtered = filter.is_some();
    let by = if args.by.is_empty() { GroupBy::DEFAULT.to_vec() } else { by };
    let top = args.top.filter(|top| *top > 0);
    // People get one group more than they see, to know whether there are more.
    let asked = if out.json || args.top == Some(0) { top } else { Some(top.unwrap_or(TOP).saturating_add(1)) };
    let query = OverviewQuery { by, crossed, filter, top: asked };
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
        section(&[*by], groups, overview.exchanges, top, out)?;
    }
    for (by, groups) in &overview.crossed {
        writeln!(out)?;
        section(by, groups, overview.exchanges, top, out)?;
    }
    Ok(())
}

fn section(by: &[GroupBy], groups: &[Group], all: u64, top: Option<usize>, out: &mut Out) -> Result<()> {
    let shown = &groups[..groups.len().min(top.unwrap_or(usize::MAX))];
    let most = shown.iter().map(|group| group.count).max().unwrap_or(0);
    // A bar that were cut would lie: it is drawn to a scale that leaves room for the figures.
    let bar = out.width.map_or(BAR, |width| (width / 6).min(BAR));
    let mut columns: Vec<Column> = by.iter().map(|by| Column::text(by.as_str()).cut(Cut::Middle, 12)).collect();
    columns.extend([
        Column::number("requests"),
        Column::number("share").optional(),
        Column::text("").optional(),
        Column::number("errors").optional(),
        Column::number("received").optional(),
        Column::number("p50"),
        Column::number("p95").optional(),
        Column::number("p99").optional(),
    ]);
    let mut table = out.table(columns);
    for group in shown {
        let time = |us: Option<u64>| us.map_or_else(|| "–".to_owned(), units::duration_us);
        let keys = if group.keys.is_empty() { std::slice::from_ref(&group.key) } else { &group.keys };
        let toned = |(by, key): (&GroupBy, &String)| {
            let tone = if *by == GroupBy::Status { Tone::of_status(key.parse().ok()) } else { Tone::Plain };
            Cell::toned(tone, key.as_str())
        };
        // A hostile value that holds the mark between keys has more of them than there are columns.
        let mut cells: Vec<Cell> = by.iter().zip(keys).map(toned).collect();
        cells.resize_with(by.len(), || Cell::from(""));
        cells.extend([
            units::count(group.count).into(),
            Cell::toned(Tone::Faint, units::percent(group.count, all)),
            Cell::toned(Tone::Info, bars::bar(group.count, most, bar)),
            Cell::toned(if group.errors > 0 { Tone::Bad } else { Tone::Faint }, units::count(group.errors)),
            units::bytes(group.response_bytes).into(),
            time(group.p50_us).into(),
            time(group.p95_us).into(),
            time(group.p99_us).into(),
        ]);
        table.row(out, cells)?;
    }
    table.finish(out)?;
    if shown.len() < groups.len() {
        let note = format!("the first {} of more; --top N shows N, --top 0 all", shown.len());
        let note = out.style.paint(Tone::Faint, note).into_owned();
        writeln!(out, "{note}")?;
    }
    Ok(())
}

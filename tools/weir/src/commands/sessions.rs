//! `weir sessions`, `weir sessions prune` and `weir session show | start | rename | delete`.

use std::io::Write;

use anyhow::Result;
use hyper::Method;
use serde_json::json;
use weir_storage::{Catalogue, Home, SessionEntry, SessionState};

use super::{Outcome, catalogue, control, find, ledger};
use crate::{
    api::{NextSession, described},
    cli::{PruneArgs, SessionCommand},
    output::{Cell, Column, Cut, Out, Tone, text::one_line, units},
};

/// Lists the sessions, the latest first.
pub(super) fn list(home: &Home, out: &mut Out) -> Result<Outcome> {
    let catalogue = catalogue(home);
    let mut entries = catalogue.list()?;
    entries.reverse();
    if out.json {
        for entry in &entries {
            out.json_line(&described(&catalogue, entry)?)?;
        }
        return Ok(Outcome::Done);
    }
    if entries.is_empty() {
        writeln!(out, "no sessions yet; weir capture records one")?;
        return Ok(Outcome::Done);
    }
    let mut table = out.table(vec![
        Column::text("id"),
        Column::text("name").cut(Cut::End, 12),
        Column::text("state"),
        Column::text("source").optional(),
        Column::text("started"),
        Column::number("recorded"),
        Column::number("wall").optional(),
        Column::number("requests"),
        Column::number("bodies").optional(),
        Column::number("on disk").optional(),
        Column::number("lost").optional(),
    ]);
    for entry in &entries {
        let lost = entry.ledger.lost();
        table.row(
            out,
            vec![
                entry.id.to_string().into(),
                entry.name.as_str().into(),
                Cell::toned(tone(entry.state), entry.state.as_str()),
                entry.source.as_str().into(),
                units::local_time(&entry.started.to_string()).into(),
                units::duration_us((entry.duration_s() * 1e6) as u64).into(),
                Cell::toned(Tone::Faint, units::duration_us((entry.wall_s() * 1e6) as u64)),
                units::count(entry.exchanges).into(),
                units::bytes(entry.request_bytes.saturating_add(entry.response_bytes)).into(),
                units::bytes(catalogue.disk_bytes(&entry.id)?).into(),
                Cell::toned(if lost > 0 { Tone::Bad } else { Tone::Faint }, units::count(lost)),
            ],
        )?;
    }
    table.finish(out)?;
    Ok(Outcome::Done)
}

/// One session: shown, renamed, deleted.
pub(super) fn one(command: SessionCommand, home: &Home, out: &mut Out) -> Result<Outcome> {
    match command {
        SessionCommand::Show(args) => show(home, &find(home, args.session.as_deref())?, out),
        SessionCommand::Start { session, name } => start(home, session.as_deref(), name, out),
        SessionCommand::Rename { session, name } => rename(home, &session, &name, out),
        SessionCommand::Delete { sessions } => delete(home, &sessions, out),
    }
}

fn show(home: &Home, entry: &SessionEntry, out: &mut Out) -> Result<Outcome> {
    let catalogue = Catalogue::open(home);
    if out.json {
        out.json_line(&described(&catalogue, entry)?)?;
        return Ok(Outcome::Done);
    }
    let heading = one_line(&entry.name).into_owned();
    out.heading(&heading)?;
    let mut facts = vec![
        ("id", entry.id.to_string()),
        ("state", entry.state.to_string()),
        ("source", entry.source.clone()),
        ("started", units::local_time(&entry.started.to_string())),
    ];
    if let Some(ended) = &entry.ended {
        facts.push(("ended", units::local_time(&ended.to_string())));
    }
    facts.push(("recorded", units::duration_us((entry.duration_s() * 1e6) as u64)));
    if entry.paused_us > 0 {
        let wall = units::duration_us((entry.wall_s() * 1e6) as u64);
        facts.push(("wall time", format!("{wall}, of it paused {}", units::duration_us(entry.paused_us))));
    }
    facts.push(("on disk", units::bytes(catalogue.disk_bytes(&entry.id)?)));
    facts.push(("requests", units::count(entry.exchanges)));
    facts.push(("request bodies", units::bytes(entry.request_bytes)));
    facts.push(("response bodies", units::bytes(entry.response_bytes)));
    for (label, fact) in [("records only", &entry.filters), ("proxy", &entry.proxy), ("live page", &entry.ui)] {
        facts.extend(fact.clone().map(|fact| (label, fact)));
    }
    facts.extend(entry.last_error.clone().map(|error| ("last error", error)));
    out.facts(&facts)?;
    if entry.ledger.layers().next().is_some() {
        writeln!(out)?;
        ledger::table(&entry.ledger, out)?;
    }
    Ok(Outcome::Done)
}

fn start(home: &Home, session: Option<&str>, name: Option<String>, out: &mut Out) -> Result<Outcome> {
    let next = NextSession { name, rules: None };
    let status = control::call(home, session, Method::POST, "/api/v1/sessions", Some(&json!(next)))?;
    if out.json {
        out.json_line(&status)?;
    } else {
        let text = |field: &str| one_line(status[field].as_str().unwrap_or_default()).into_owned();
        writeln!(out, "records {} ({}) from now on", text("name"), text("session"))?;
    }
    Ok(Outcome::Done)
}

fn rename(home: &Home, session: &str, name: &str, out: &mut Out) -> Result<Outcome> {
    let entry = find(home, Some(session))?;
    // A running capture knows its name itself; one without a control API reads it from the catalogue.
    if entry.state.is_open() && entry.ui.is_some() {
        let body = json!({ "name": name });
        let path = format!("/api/v1/sessions/{}", entry.id);
        control::client(home, &entry)?.call(Method::PATCH, &path, Some(&body))?;
    } else {
        Catalogue::open(home).rename(&entry.id, name)?;
    }
    if out.json {
        let catalogue = Catalogue::open(home);
        out.json_line(&described(&catalogue, &catalogue.load(&entry.id)?)?)?;
    } else {
        writeln!(out, "{} is now called {}", entry.id, one_line(name))?;
    }
    Ok(Outcome::Done)
}

fn delete(home: &Home, sessions: &[String], out: &mut Out) -> Result<Outcome> {
    // All are looked up before one is gone: a mistyped name deletes nothing.
    let entries = sessions.iter().map(|session| find(home, Some(session))).collect::<Result<Vec<_>>>()?;
    for entry in &entries {
        Catalogue::open(home).delete(&entry.id)?;
        if out.json {
            out.json_line(&json!({"event": "deleted", "session": entry.id, "name": entry.name}))?;
        } else {
            writeln!(out, "deleted {} ({})", one_line(&entry.name), entry.id)?;
        }
    }
    Ok(Outcome::Done)
}

/// Deletes what is not to be kept.
pub(super) fn prune(args: &PruneArgs, home: &Home, out: &mut Out) -> Result<Outcome> {
    let catalogue = catalogue(home);
    let (mut count, mut bytes) = (0, 0);
    for (entry, size) in catalogue.surplus(args.keep)? {
        if !args.dry_run {
            catalogue.delete(&entry.id)?;
        }
        (count, bytes) = (count + 1, bytes + size);
        let event = if args.dry_run { "would_delete" } else { "deleted" };
        if out.json {
            out.json_line(&json!({"event": event, "session": entry.id, "name": entry.name, "disk_bytes": size}))?;
        } else {
            let verb = if args.dry_run { "would delete" } else { "deleted" };
            let started = units::local_time(&entry.started.to_string());
            writeln!(out, "{verb} {} ({}, {started}, {})", one_line(&entry.name), entry.id, units::bytes(size))?;
        }
    }
    if !out.json {
        let sessions = units::counted(count, "session", "sessions");
        writeln!(out, "{sessions}, {}", units::bytes(bytes))?;
    }
    Ok(Outcome::Done)
}

fn tone(state: SessionState) -> Tone {
    match state {
        SessionState::Running => Tone::Good,
        SessionState::Paused | SessionState::Recovered => Tone::Warn,
        SessionState::Stopped => Tone::Plain,
        SessionState::Failed => Tone::Bad,
    }
}

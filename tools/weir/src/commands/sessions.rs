//! `weir sessions` and `weir session show | rename | delete`.

use std::io::Write;

use anyhow::Result;
use hyper::Method;
use serde_json::{Value, json};
use weir_storage::{Catalogue, Home, SessionEntry, SessionState};

use super::{Outcome, control, find, ledger};
use crate::{
    cli::SessionCommand,
    output::{Cell, Column, Cut, Out, Tone, text::one_line, units},
};

/// Lists the sessions, the latest first.
pub(super) fn list(home: &Home, out: &mut Out) -> Result<Outcome> {
    let mut entries = Catalogue::open(home).list()?;
    entries.reverse();
    if out.json {
        for entry in &entries {
            out.json_line(&document(entry)?)?;
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
        Column::number("time"),
        Column::number("requests"),
        Column::number("bodies").optional(),
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
                units::count(entry.exchanges).into(),
                units::bytes(entry.request_bytes.saturating_add(entry.response_bytes)).into(),
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
        SessionCommand::Show(args) => show(&find(home, args.session.as_deref())?, out),
        SessionCommand::Rename { session, name } => rename(home, &session, &name, out),
        SessionCommand::Delete { sessions } => delete(home, &sessions, out),
    }
}

/// The entry as it is stored, with what follows from it.
fn document(entry: &SessionEntry) -> Result<Value> {
    let mut document = serde_json::to_value(entry)?;
    document["duration_s"] = json!(entry.duration_s());
    document["lost"] = json!(entry.ledger.lost());
    Ok(document)
}

fn show(entry: &SessionEntry, out: &mut Out) -> Result<Outcome> {
    if out.json {
        out.json_line(&document(entry)?)?;
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
    facts.push(("time", units::duration_us((entry.duration_s() * 1e6) as u64)));
    if entry.paused_us > 0 {
        facts.push(("of it paused", units::duration_us(entry.paused_us)));
    }
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

fn rename(home: &Home, session: &str, name: &str, out: &mut Out) -> Result<Outcome> {
    let entry = find(home, Some(session))?;
    // A running capture knows its name itself; one without a control API reads it from the catalogue.
    if entry.state.is_open() && entry.ui.is_some() {
        let body = json!({ "name": name });
        control::client(home, &entry)?.call(Method::PATCH, "/api/v1/session", Some(&body))?;
    } else {
        Catalogue::open(home).rename(&entry.id, name)?;
    }
    if out.json {
        out.json_line(&document(&Catalogue::open(home).load(&entry.id)?)?)?;
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

fn tone(state: SessionState) -> Tone {
    match state {
        SessionState::Running => Tone::Good,
        SessionState::Paused | SessionState::Recovered => Tone::Warn,
        SessionState::Stopped => Tone::Plain,
        SessionState::Failed => Tone::Bad,
    }
}

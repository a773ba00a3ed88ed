//! `weir send`: a captured request sent again, changed or not; shown, compared, recorded in a session of its own.

use std::io::Write;

use anyhow::{Context, Result};
use weir_storage::{Catalogue, Home, Session};

use super::{Outcome, find, show, warn};
use crate::{
    cli::SendArgs,
    output::{Out, Tone, text::one_line},
    send::{
        again::{self, Plan},
        answers::Differences,
        delivery::Way,
        request::Edits,
    },
};

/// Sends a request again.
pub(super) fn run(args: &SendArgs, home: &Home, out: &mut Out) -> Result<Outcome> {
    let session = Session::open(home, find(home, args.session.as_deref())?);
    let row = session.exchange(args.id)?.with_context(|| {
        format!("session {} has no request {}; weir requests lists them", session.entry().id, args.id)
    })?;
    let plan = plan(args)?;
    let request = again::build(&session, &row, &plan, home)?;
    let sent = again::send(home, (&session, &row), &request, &plan, way(args, home)?)?;
    warn(&sent.refused);
    if out.json {
        out.json_line(&sent.document()?)?;
    } else {
        match &sent.differences {
            Some(differences) => print(differences, out)?,
            None => show::print(&sent.session, &sent.answer, out)?,
        }
        let entry = sent.session.entry();
        eprintln!("recorded in session {} ({})", one_line(&entry.name), entry.id);
    }
    let failed = sent.answer.status.is_none() || sent.answer.error.is_some();
    Ok(if failed || sent.differences.is_some_and(|differences| !differences.is_empty()) {
        Outcome::No
    } else {
        Outcome::Done
    })
}

fn plan(args: &SendArgs) -> Result<Plan> {
    let body = match args.body.as_deref() {
        None => None,
        Some(body) => Some(match body.strip_prefix('@') {
            Some(file) => std::fs::read(file)
                .with_context(|| format!("cannot read {file}; give a file you may read, or the body itself"))?,
            None => body.as_bytes().to_vec(),
        }),
    };
    let edits = Edits {
        headers: args.set_header.clone(),
        method: args.method.clone(),
        url: args.url.clone(),
        body,
        cookies: None,
    };
    Ok(Plan { edits, jar: args.jar, diff: args.diff, name: args.name.clone() })
}

fn way(args: &SendArgs, home: &Home) -> Result<Way> {
    let way = Way { proxy: None, extra_ca: args.upstream_ca.clone(), insecure: args.insecure_upstream };
    again::through(way, args.proxy.as_deref(), home, || {
        let entries = Catalogue::open(home).list()?;
        let address = entries.iter().rev().filter(|entry| entry.state.is_open()).find_map(|entry| entry.proxy.clone());
        address.context("no capture with a proxy is running; weir capture starts one")
    })
}

fn print(found: &Differences, out: &mut Out) -> Result<()> {
    if found.is_empty() {
        writeln!(out, "the answer is the captured one")?;
        return Ok(());
    }
    if let Some((before, after)) = found.status {
        let status = |status: Option<u16>| status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        writeln!(out, "status {} → {}", status(before), status(after))?;
    }
    for (title, lines) in [("headers", &found.headers), ("body", &found.body)] {
        if lines.is_empty() {
            continue;
        }
        out.heading(title)?;
        for line in lines {
            let tone = match line.as_bytes().first() {
                Some(b'-') => Tone::Bad,
                Some(b'+') => Tone::Good,
                Some(b'~') => Tone::Warn,
                _ => Tone::Faint,
            };
            let line = out.style.paint(tone, one_line(line)).into_owned();
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

//! `weir show`: one exchange in full: heads as sent, bodies decoded and readable.

use std::io::{self, Write};

use anyhow::{Context, Result, bail};
use weir_engine::record::Flags;
use weir_storage::{ExchangeRow, Home, MessageRow, Session, query::HeaderLine};

use super::{Outcome, find, warn};
use crate::{
    cli::{Half, ShowArgs},
    content::{content_type, document, load},
    output::{
        Out, Tone, hex,
        text::{many_lines, one_line},
        units,
    },
    pretty,
};

/// Bytes of a body printed to a person at most; `--body` writes all of it.
const MOST_TEXT: usize = 256 << 10;
/// Bytes of a body dumped in hexadecimal at most.
const MOST_HEX: usize = 4 << 10;
/// Messages printed at most.
const MOST_MESSAGES: usize = 200;

/// Shows one exchange.
pub(super) fn run(args: &ShowArgs, home: &Home, out: &mut Out) -> Result<Outcome> {
    let session = Session::open(home, find(home, args.session.as_deref())?);
    let row = session.exchange(args.id)?.with_context(|| {
        format!("session {} has no request {}; weir requests lists them", session.entry().id, args.id)
    })?;
    match args.body {
        Some(half) => write_body(&session, &row, half, out)?,
        None if out.json => out.json_line(&document(&session, &row)?)?,
        None => print(&session, &row, out)?,
    }
    Ok(Outcome::Done)
}

fn write_body(session: &Session, row: &ExchangeRow, half: Half, out: &mut Out) -> Result<()> {
    match load(session, row, half)? {
        Some(shown) => {
            if let Some(note) = shown.note {
                writeln!(io::stderr(), "warning: {}", one_line(&note))?;
            }
            out.write_all(&shown.bytes)?;
            Ok(())
        }
        None => match half.state(row) {
            ("none", _) => Ok(()),
            (state, size) => bail!(
                "the {} body ({}) was not stored ({state}); capture with --bodies all to keep it",
                half.name(),
                units::bytes(size)
            ),
        },
    }
}

/// Prints one exchange for people.
pub(super) fn print(session: &Session, row: &ExchangeRow, out: &mut Out) -> Result<()> {
    let heading = format!("#{}  {} {}", row.id, one_line(&row.method), one_line(&row.url));
    out.heading(&heading)?;
    out.facts(&facts(row))?;
    writeln!(out)?;
    let target = if row.query.is_empty() { row.path.clone() } else { format!("{}?{}", row.path, row.query) };
    let request = format!("{} {target} {}", row.method, row.protocol);
    head(&request, Tone::Strong, &row.request_headers, out)?;
    body(session, row, Half::Request, out)?;
    writeln!(out)?;
    match row.status {
        Some(status) => {
            let reason = row.reason.as_deref().unwrap_or_default();
            head(format!("{status} {reason}").trim_end(), Tone::of_status(Some(status)), &row.response_headers, out)?;
            body(session, row, Half::Response, out)?;
        }
        None => {
            let why = row.error.as_deref().unwrap_or("not seen");
            let line = out.style.paint(Tone::Bad, format!("no response: {why}")).into_owned();
            writeln!(out, "{line}")?;
        }
    }
    let messages = session.messages(row.id)?;
    warn(&messages.warnings);
    print_messages(&messages.rows, out)
}

fn facts(row: &ExchangeRow) -> Vec<(&'static str, String)> {
    let mut facts = vec![("started", units::local_time(&row.started.to_string()))];
    facts.extend(row.client.clone().map(|client| ("client", client)));
    facts.extend(row.server.clone().map(|server| ("server", server)));
    let phases = [
        ("dns", row.dns_us),
        ("connect", row.connect_us),
        ("tls", row.tls_us),
        ("wait", row.wait_us),
        ("receive", row.receive_us),
    ];
    if let Some(duration) = row.duration_us {
        let phases: Vec<String> = phases
            .into_iter()
            .filter_map(|(name, us)| us.map(|us| format!("{name} {}", units::duration_us(us))))
            .collect();
        let phases = if phases.is_empty() { String::new() } else { format!(" ({})", phases.join(", ")) };
        facts.push(("time", format!("{}{phases}", units::duration_us(duration))));
    }
    if let Some(process) = &row.process {
        facts.push(("process", row.pid.map_or_else(|| process.clone(), |pid| format!("{process} ({pid})"))));
    }
    facts.extend(row.error.clone().map(|error| ("error", error)));
    let flags: Vec<&str> = Flags(row.flags).names().collect();
    if !flags.is_empty() {
        facts.push(("flags", flags.join(", ")));
    }
    facts
}

fn head(first: &str, tone: Tone, headers: &[HeaderLine], out: &mut Out) -> Result<()> {
    let first = out.style.paint(tone, one_line(first)).into_owned();
    writeln!(out, "{first}")?;
    for line in headers {
        let name = out.style.paint(Tone::Info, one_line(&line.name)).into_owned();
        writeln!(out, "{name}: {}", one_line(&line.value))?;
    }
    Ok(())
}

fn body(session: &Session, row: &ExchangeRow, half: Half, out: &mut Out) -> Result<()> {
    let (state, size) = half.state(row);
    if state == "none" {
        return Ok(());
    }
    writeln!(out)?;
    let Some(shown) = load(session, row, half)? else {
        return note(&format!("{} of body, not stored ({state})", units::bytes(size)), out);
    };
    if let Some(why) = &shown.note {
        note(why, out)?;
    }
    if matches!(state, "truncated" | "gap") {
        note(&format!("the body is {state}: {} on the wire", units::bytes(size)), out)?;
    }
    readable(&shown.bytes, content_type(half.headers(row)), out)?;
    Ok(())
}

/// Prints a body: made readable, or as bytes.
fn readable(bytes: &[u8], content_type: &str, out: &mut Out) -> Result<()> {
    let pretty = pretty::body(bytes, content_type);
    if !matches!(pretty.kind, "text" | "json" | "binary") {
        note(pretty.kind, out)?;
    }
    match pretty.text {
        Some(shown) => text(&shown, out)?,
        None => hex::dump(out, &bytes[..bytes.len().min(MOST_HEX)])?,
    }
    if pretty.kind == "binary" && bytes.len() > MOST_HEX {
        note(&format!("{} in all; --body writes them", units::bytes(bytes.len() as u64)), out)?;
    }
    Ok(())
}

fn text(body: &str, out: &mut Out) -> Result<()> {
    let end = body.floor_char_boundary(MOST_TEXT);
    let shown = many_lines(&body[..end]);
    out.write_all(shown.as_bytes())?;
    if !shown.ends_with('\n') {
        writeln!(out)?;
    }
    if end < body.len() {
        note(&format!("{} in all; --body writes them", units::bytes(body.len() as u64)), out)?;
    }
    Ok(())
}

fn print_messages(messages: &[MessageRow], out: &mut Out) -> Result<()> {
    if messages.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let heading = units::counted(messages.len() as u64, "message", "messages");
    out.heading(&heading)?;
    for message in messages.iter().take(MOST_MESSAGES) {
        let (arrow, tone) = if message.direction == "sent" { ("→", Tone::Info) } else { ("←", Tone::Good) };
        let arrow = out.style.paint(tone, arrow).into_owned();
        let payload = match &message.payload {
            Some(payload) => std::str::from_utf8(payload)
                .map_or_else(|_| format!("{} bytes", payload.len()), |text| one_line(text).into_owned()),
            None => format!("not stored ({})", message.state),
        };
        let at = units::local_time_of_day(&message.at.to_string());
        writeln!(out, "{at} {arrow} {} {}  {payload}", message.kind, units::bytes(message.size))?;
    }
    if messages.len() > MOST_MESSAGES {
        note(&format!("the first {MOST_MESSAGES}; --json prints all of them"), out)?;
    }
    Ok(())
}

fn note(sentence: &str, out: &mut Out) -> Result<()> {
    let sentence = out.style.paint(Tone::Faint, format!("[{}]", one_line(sentence))).into_owned();
    writeln!(out, "{sentence}")?;
    Ok(())
}

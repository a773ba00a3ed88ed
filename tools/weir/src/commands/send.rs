//! `weir send`: a captured request sent again, changed or not; shown, compared, recorded in a session of its own.

use std::io::Write;

use anyhow::{Context, Result, bail};
use serde_json::json;
use weir_proxy::{ca::Authority, config::UpstreamProxy};
use weir_storage::{Catalogue, ExchangeRow, Home, Jar, RequestsQuery, Session, Timestamp};

use super::{Outcome, Usage, find, show};
use crate::{
    cli::{Half, SendArgs},
    content::{self, content_type},
    output::{Out, Tone, text::one_line},
    pretty,
    send::{
        answers::{Comparable, Differences, compare},
        delivery::{self, Way},
        request::{Edits, Request},
    },
};

/// Characters of a session's name that is made from a request.
const MOST_NAME: usize = 150;

/// Sends a request again.
pub(super) fn run(args: &SendArgs, home: &Home, out: &mut Out) -> Result<Outcome> {
    let session = Session::open(home, find(home, args.session.as_deref())?);
    let row = session.exchange(args.id)?.with_context(|| {
        format!("session {} has no request {}; weir requests lists them", session.entry().id, args.id)
    })?;
    let request = build(args, &session, &row, home)?;
    let name = args.name.clone().unwrap_or_else(|| name(&request));
    let sent = Session::open(home, delivery::send(home, name, &request, way(args, home)?)?);
    let answer = sent.requests(&RequestsQuery::default())?.next().context("the answer cannot be read again")?;
    if args.jar {
        keep_cookies(&request, &answer, home)?;
    }
    let differences = args.diff.then(|| differences(&session, &row, &sent, &answer)).transpose()?;
    if out.json {
        let document = content::document(&sent, &answer)?;
        let event = json!({"event": "sent", "session": sent.entry().id, "request": document, "diff": differences});
        out.json_line(&event)?;
    } else {
        match &differences {
            Some(differences) => print(differences, out)?,
            None => show::print(&sent, &answer, out)?,
        }
        eprintln!("recorded in session {} ({})", one_line(&sent.entry().name), sent.entry().id);
    }
    let failed = answer.status.is_none() || answer.error.is_some();
    Ok(if failed || differences.is_some_and(|differences| !differences.is_empty()) {
        Outcome::No
    } else {
        Outcome::Done
    })
}

fn build(args: &SendArgs, session: &Session, row: &ExchangeRow, home: &Home) -> Result<Request> {
    let given = match args.body.as_deref() {
        None => None,
        Some(body) => Some(match body.strip_prefix('@') {
            Some(file) => std::fs::read(file)
                .with_context(|| format!("cannot read {file}; give a file you may read, or the body itself"))?,
            None => body.as_bytes().to_vec(),
        }),
    };
    let captured = match row.request_body {
        _ if given.is_some() || row.request_size == 0 => Vec::new(),
        hash => {
            let stored = hash.map(|hash| session.body(&hash.0)).transpose()?.flatten();
            match stored.filter(|_| row.request_body_state == "stored") {
                Some(body) => body.bytes.to_vec(),
                None => {
                    bail!("the request's body is not stored whole ({}); give one with --body", row.request_body_state)
                }
            }
        }
    };
    let mut edits = Edits {
        headers: args.set_header.clone(),
        method: args.method.clone(),
        url: args.url.clone(),
        body: given,
        cookies: None,
    };
    if args.jar {
        // The URL is known once the request is built.
        let url = Request::build(row, Vec::new(), Edits { body: None, ..edits.clone() })?.url;
        edits.cookies = Some(Jar::load(home)?.field_for(&url, Timestamp::now()));
    }
    Request::build(row, captured, edits)
}

/// What the answer sets goes into the jar, as into a browser's.
fn keep_cookies(request: &Request, answer: &ExchangeRow, home: &Home) -> Result<()> {
    let lines: Vec<&str> = answer
        .response_headers
        .iter()
        .filter(|line| line.name.eq_ignore_ascii_case("set-cookie"))
        .map(|line| line.value.as_str())
        .collect();
    if lines.is_empty() {
        return Ok(());
    }
    let refused = Jar::update(home, |jar| {
        let set = |line: &&str| jar.set(&request.url, line, Timestamp::now()).err();
        lines.iter().filter_map(set).map(|error| error.to_string()).collect::<Vec<_>>()
    })?;
    super::warn(&refused);
    Ok(())
}

fn way(args: &SendArgs, home: &Home) -> Result<Way> {
    let mut extra_ca = args.upstream_ca.clone();
    let proxy = match args.proxy.as_deref() {
        None => None,
        Some("running") => {
            let entries = Catalogue::open(home).list()?;
            let address =
                entries.iter().rev().filter(|entry| entry.state.is_open()).find_map(|entry| entry.proxy.clone());
            let address = address.context("no capture with a proxy is running; weir capture starts one")?;
            // What comes through it is signed by its authority, which is ours.
            extra_ca.extend(Authority::load_or_create(&home.ca_dir())?.certificate_path());
            Some(UpstreamProxy::parse(&address).map_err(Usage::new)?)
        }
        Some(proxy) => Some(UpstreamProxy::parse(proxy).map_err(Usage::new)?),
    };
    Ok(Way { proxy, extra_ca, insecure: args.insecure_upstream })
}

fn name(request: &Request) -> String {
    let text = format!("send {} {}", request.method, request.url.as_str());
    text.chars().filter(|c| !c.is_control()).take(MOST_NAME).collect()
}

fn differences(session: &Session, row: &ExchangeRow, sent: &Session, answer: &ExchangeRow) -> Result<Differences> {
    let body = |session: &Session, row: &ExchangeRow| -> Result<(Vec<u8>, Option<String>)> {
        let bytes = content::load(session, row, Half::Response)?.map(|shown| shown.bytes).unwrap_or_default();
        let text = pretty::body(&bytes, content_type(&row.response_headers)).text;
        Ok((bytes, text))
    };
    let (before, after) = (body(session, row)?, body(sent, answer)?);
    fn comparable((bytes, text): &(Vec<u8>, Option<String>)) -> Comparable<'_> {
        Comparable { bytes, text: text.as_deref() }
    }
    let mut found = compare((row, comparable(&before)), (answer, comparable(&after)));
    if !matches!(row.response_body_state.as_str(), "none" | "stored") {
        found.body = vec![format!("~ the captured body is not stored whole ({})", row.response_body_state)];
    }
    Ok(found)
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

//! `weir stop | pause | resume | filter`: talks to a running capture through its control API.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use hyper::Method;
use serde_json::{Value, json};
use weir_storage::{Catalogue, Home, SessionEntry};

use super::{Outcome, Usage, find};
use crate::{
    api::{RecordingChange, client::Client, token::TokenFile},
    capture::welcome::Stopped,
    cli::FilterCommandArgs,
    output::{Out, text::one_line, units},
};

/// How long a stop may take: what is under way, then the merging of the parts.
const STOP_LIMIT: Duration = Duration::from_secs(600);

/// Stops a capture and waits until everything is on disk.
pub(super) fn stop(session: Option<&str>, home: &Home, out: &mut Out) -> Result<Outcome> {
    let entry = running(home, session)?;
    client(home, &entry)?.call(Method::POST, "/api/v1/stop", None)?;
    let catalogue = Catalogue::open(home);
    let begun = Instant::now();
    let progress = waiting(out.json);
    let stopped = loop {
        let now = catalogue.load(&entry.id)?;
        if !now.state.is_open() {
            break now;
        }
        if begun.elapsed() > STOP_LIMIT {
            bail!(
                "session {} has not ended after {} minutes; look at its terminal",
                entry.id,
                STOP_LIMIT.as_secs() / 60
            );
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    progress.finish_and_clear();
    let id = stopped.id.to_string();
    if out.json {
        out.json_line(&Stopped::new(&id, stopped.exchanges, &stopped.ledger))?;
    } else {
        let exchanges = units::counted(stopped.exchanges, "exchange", "exchanges");
        writeln!(out, "stopped {} ({id}) with {exchanges}", one_line(&stopped.name))?;
    }
    Ok(if stopped.ledger.lost() > 0 { Outcome::Lost } else { Outcome::Done })
}

fn waiting(quiet: bool) -> indicatif::ProgressBar {
    if quiet {
        return indicatif::ProgressBar::hidden();
    }
    let bar = indicatif::ProgressBar::new_spinner().with_message("waiting until everything is on disk");
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// Pauses recording.
pub(super) fn pause(session: Option<&str>, home: &Home, out: &mut Out) -> Result<Outcome> {
    let status = call(home, session, Method::POST, "/api/v1/pause", None)?;
    told(&status, out, "paused: traffic passes and is counted, not recorded; weir resume goes on")
}

/// Records again.
pub(super) fn resume(session: Option<&str>, home: &Home, out: &mut Out) -> Result<Outcome> {
    let status = call(home, session, Method::POST, "/api/v1/resume", None)?;
    told(&status, out, "records again")
}

/// Shows or changes the capture filter.
pub(super) fn filter(args: &FilterCommandArgs, home: &Home, out: &mut Out) -> Result<Outcome> {
    // Checked here first, so that a mistake is wrong usage and not the capture's complaint.
    let filters = args.filters.build().map_err(Usage::new)?;
    let session = args.session.as_deref();
    let change = RecordingChange { bodies: args.bodies, responses: args.responses, cookies: args.cookies };
    let recording = match change.is_empty() {
        true => call(home, session, Method::GET, "/api/v1/recording", None)?,
        false => call(home, session, Method::PATCH, "/api/v1/recording", Some(&json!(change)))?,
    };
    let mut answer = match (filters.is_empty(), args.clear) {
        (false, true) => {
            return Err(Usage::new("--clear records everything and filters do not; give one of them").into());
        }
        (true, false) => call(home, session, Method::GET, "/api/v1/filter", None)?,
        _ => call(home, session, Method::PUT, "/api/v1/filter", Some(&json!({ "rules": filters })))?,
    };
    if out.json {
        answer["recording"] = recording;
        out.json_line(&answer)?;
    } else {
        let switch = |name: &str| if recording[name] == true { "on" } else { "off" };
        writeln!(
            out,
            "bodies: {}, of responses: {}, cookies: {}",
            recording["bodies"].as_str().unwrap_or_default(),
            switch("responses"),
            switch("cookies")
        )?;
        match answer["filters"].as_str() {
            Some(expression) => writeln!(out, "records: {}", one_line(expression))?,
            None => writeln!(out, "records everything")?,
        }
    }
    Ok(Outcome::Done)
}

fn told(status: &Value, out: &mut Out, sentence: &str) -> Result<Outcome> {
    if out.json {
        out.json_line(status)?;
    } else {
        writeln!(out, "{} {sentence}", one_line(status["name"].as_str().unwrap_or_default()))?;
    }
    Ok(Outcome::Done)
}

/// Asks a running capture.
pub(super) fn call(
    home: &Home,
    session: Option<&str>,
    method: Method,
    path: &str,
    document: Option<&Value>,
) -> Result<Value> {
    client(home, &running(home, session)?)?.call(method, path, document)
}

/// The running session a selector means; without one, the latest that runs.
pub(super) fn running(home: &Home, selector: Option<&str>) -> Result<SessionEntry> {
    if selector.is_none() {
        let running = Catalogue::open(home).list()?.into_iter().rfind(|entry| entry.state.is_open());
        return running.ok_or_else(|| anyhow!("no session is running; weir capture starts one"));
    }
    let entry = find(home, selector)?;
    if entry.state.is_open() { Ok(entry) } else { bail!("session {} is not running, it is {}", entry.id, entry.state) }
}

/// The way to a running capture: its address from the catalogue, its token from the token's file.
pub(super) fn client(home: &Home, entry: &SessionEntry) -> Result<Client> {
    let address = entry.ui.as_deref().with_context(|| {
        let pid = entry.pid.unwrap_or_default();
        format!(
            "session {} runs without a control API (--no-ui); press Ctrl-C in its terminal, or kill {pid}",
            entry.id
        )
    })?;
    let address = address.parse().with_context(|| format!("session {} has no usable address", entry.id))?;
    // A device's session is recorded by the capture of another one.
    let owner = entry.other.get("parent").and_then(Value::as_str).map_or_else(|| entry.id.to_string(), str::to_owned);
    let token = TokenFile::read(home.root(), &owner)
        .with_context(|| format!("the token of session {} cannot be read; is it another user's?", entry.id))?;
    Ok(Client::new(address, token))
}

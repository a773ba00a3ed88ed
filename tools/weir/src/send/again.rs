//! A captured request sent again: built from its row and edits, delivered, and its answer compared with the captured one.
//!
//! In: a session, a row, a [`Plan`]. Out: the [`Sent`] request, recorded in a session of its own.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use weir_proxy::{ca::Authority, config::UpstreamProxy};
use weir_storage::{ExchangeRow, Home, Jar, RequestsQuery, Session, Timestamp};

use super::{
    answers::{Comparable, Differences, compare},
    delivery::{self, Way},
    request::{Edits, Request},
};
use crate::{
    cli::Half,
    content::{self, content_type},
    outcome::Usage,
    pretty,
};

/// Characters of a session's name that is made from a request.
const MOST_NAME: usize = 150;

/// How a request is sent again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    /// What is changed.
    pub(crate) edits: Edits,
    /// Whether the cookies of the jar take the place of those captured, and what the answer sets is kept there.
    pub(crate) jar: bool,
    /// Whether the answer is compared with the captured one.
    pub(crate) diff: bool,
    /// Name of the session that records it; made from the request unless given.
    pub(crate) name: Option<String>,
}

/// A request that was sent again.
pub(crate) struct Sent {
    /// The session that recorded it.
    pub(crate) session: Session,
    /// Its row, with the answer.
    pub(crate) answer: ExchangeRow,
    /// How the answer differs from the captured one, when that was asked for.
    pub(crate) differences: Option<Differences>,
    /// Cookies that the jar would not keep, as sentences.
    pub(crate) refused: Vec<String>,
}

impl Sent {
    /// Its document.
    pub(crate) fn document(&self) -> Result<Value> {
        let request = content::document(&self.session, &self.answer)?;
        Ok(json!({"event": "sent", "session": self.session.entry().id, "request": request, "diff": self.differences}))
    }
}

/// The request that is to be sent.
pub(crate) fn build(session: &Session, row: &ExchangeRow, plan: &Plan, home: &Home) -> Result<Request> {
    let captured = match row.request_body {
        _ if plan.edits.body.is_some() || row.request_size == 0 => Vec::new(),
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
    let mut edits = plan.edits.clone();
    if plan.jar {
        // The URL is known once the request is built.
        let url = Request::build(row, Vec::new(), Edits { body: None, ..edits.clone() })?.url;
        edits.cookies = Some(Jar::load(home)?.field_for(&url, Timestamp::now()));
    }
    Request::build(row, captured, edits)
}

/// The way through a proxy; `running` is the one that `running` finds: what comes through it is signed by our authority.
pub(crate) fn through(
    mut way: Way,
    proxy: Option<&str>,
    home: &Home,
    running: impl FnOnce() -> Result<String>,
) -> Result<Way> {
    way.proxy = match proxy {
        None => return Ok(way),
        Some("running") => {
            let address = running()?;
            way.extra_ca.extend(Authority::load_or_create(&home.ca_dir())?.certificate_path());
            Some(UpstreamProxy::parse(&address).map_err(Usage::new)?)
        }
        Some(proxy) => Some(UpstreamProxy::parse(proxy).map_err(Usage::new)?),
    };
    Ok(way)
}

/// Sends a request that was built from a row of a session.
pub(crate) fn send(
    home: &Home,
    from: (&Session, &ExchangeRow),
    request: &Request,
    plan: &Plan,
    way: Way,
) -> Result<Sent> {
    let name = plan.name.clone().unwrap_or_else(|| name(request));
    let session = Session::open(home, delivery::send(home, name, request, way)?);
    let answer = session.requests(&RequestsQuery::default())?.next().context("the answer cannot be read again")?;
    let refused = if plan.jar { keep_cookies(request, &answer, home)? } else { Vec::new() };
    let differences = plan.diff.then(|| differences(from, (&session, &answer))).transpose()?;
    Ok(Sent { session, answer, differences, refused })
}

/// What the answer sets goes into the jar, as into a browser's.
fn keep_cookies(request: &Request, answer: &ExchangeRow, home: &Home) -> Result<Vec<String>> {
    let lines: Vec<&str> = answer
        .response_headers
        .iter()
        .filter(|line| line.name.eq_ignore_ascii_case("set-cookie"))
        .map(|line| line.value.as_str())
        .collect();
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    let refused = Jar::update(home, |jar| {
        let set = |line: &&str| jar.set(&request.url, line, Timestamp::now()).err();
        lines.iter().filter_map(set).map(|error| error.to_string()).collect()
    })?;
    Ok(refused)
}

fn name(request: &Request) -> String {
    let text = format!("send {} {}", request.method, request.url.as_str());
    text.chars().filter(|c| !c.is_control()).take(MOST_NAME).collect()
}

fn differences(before: (&Session, &ExchangeRow), after: (&Session, &ExchangeRow)) -> Result<Differences> {
    let body = |(session, row): (&Session, &ExchangeRow)| -> Result<(Vec<u8>, Option<String>)> {
        let bytes = content::load(session, row, Half::Response)?.map(|shown| shown.bytes).unwrap_or_default();
        let text = pretty::body(&bytes, content_type(&row.response_headers)).text;
        Ok((bytes, text))
    };
    fn comparable((bytes, text): &(Vec<u8>, Option<String>)) -> Comparable<'_> {
        Comparable { bytes, text: text.as_deref() }
    }
    let row = before.1;
    let bodies = (body(before)?, body(after)?);
    let mut found = compare((row, comparable(&bodies.0)), (after.1, comparable(&bodies.1)));
    if !matches!(row.response_body_state.as_str(), "none" | "stored") {
        found.body = vec![format!("~ the captured body is not stored whole ({})", row.response_body_state)];
    }
    Ok(found)
}

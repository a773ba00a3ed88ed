//! The exchanges of an export one by one, in the order of their ids, with bodies decoded, messages at hand,
//! and credentials hidden. What the formats see has passed here: none of them can forget to hide.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    path::Path,
};

use bytes::Bytes;
use weir_engine::{
    content::{self, Limits},
    record::Flags,
};

use super::{
    body_index::{BodyIndex, Stored},
    hide,
    messages::MessageIndex,
    report::{Reason, Report},
};
use crate::{
    error::StorageError,
    query::{ExchangeRow, HeaderLine, MessageRow, Requests, RequestsQuery, Session},
    schema::Table,
};

/// Rows whose bodies are looked up together.
const LOT_ROWS: usize = 2048;
/// Stored bytes of their bodies, about.
const LOT_BYTES: u64 = 8 << 20;
/// Bytes a body may decode to.
const MAX_DECODED: u64 = 64 << 20;

/// What a format needs of each exchange.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Needs {
    /// Bodies.
    pub(crate) bodies: bool,
    /// Messages of WebSockets and event streams.
    pub(crate) messages: bool,
}

/// A body as it is exported.
#[derive(Debug, Clone, Default)]
pub(crate) struct Body {
    /// Decoded bytes; `None`: there is no body, or it is not at hand for `reason`.
    pub(crate) bytes: Option<Bytes>,
    /// Bytes on the wire.
    pub(crate) size: u64,
    /// Why bytes are missing or are not all.
    pub(crate) reason: Option<Reason>,
    /// Whether a content coding was undone.
    pub(crate) was_coded: bool,
    /// As it is stored; `None`: not at hand, or credentials in it were hidden.
    pub(crate) stored: Option<Stored>,
}

impl Body {
    /// The bytes as text: UTF-8 without NUL.
    pub(crate) fn text(&self) -> Option<&str> {
        let bytes = self.bytes.as_deref()?;
        if memchr::memchr(0, bytes).is_some() { None } else { std::str::from_utf8(bytes).ok() }
    }
}

/// One exchange to export.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// Its row.
    pub(crate) row: ExchangeRow,
    /// Body of the request.
    pub(crate) request: Body,
    /// Body of the response.
    pub(crate) response: Body,
    /// Its messages.
    pub(crate) messages: Vec<MessageRow>,
}

impl Item {
    /// The value of the first header line of this name.
    pub(crate) fn request_header(&self, name: &str) -> &str {
        header(&self.row.request_headers, name)
    }

    /// The same of the response.
    pub(crate) fn response_header(&self, name: &str) -> &str {
        header(&self.row.response_headers, name)
    }

    /// Bytes it holds, about.
    pub(crate) fn size(&self) -> usize {
        let row = &self.row;
        let lines = row.request_headers.iter().chain(&row.response_headers);
        let bodies = [&self.request, &self.response].into_iter().filter_map(|body| body.bytes.as_ref());
        let payloads = self.messages.iter().filter_map(|message| message.payload.as_ref());
        size_of::<Self>()
            + row.url.len() * 2
            + lines.map(|line| line.name.len() + line.value.len()).sum::<usize>()
            + bodies.chain(payloads).map(Bytes::len).sum::<usize>()
    }

    /// Whether it became a WebSocket.
    pub(crate) fn is_websocket(&self) -> bool {
        Flags(self.row.flags).has(Flags::UPGRADED) || self.row.scheme.starts_with("ws")
    }
}

fn header<'a>(lines: &'a [HeaderLine], name: &str) -> &'a str {
    lines.iter().find(|line| line.name.eq_ignore_ascii_case(name)).map_or("", |line| &line.value)
}

/// Exchanges as they are asked for.
pub(crate) struct Feed {
    rows: Requests,
    bodies: Option<BodyIndex>,
    messages: Option<MessageIndex>,
    hides: bool,
    lot: VecDeque<ExchangeRow>,
    ahead: Option<ExchangeRow>,
    stored: HashMap<[u8; 32], Stored>,
}

impl Feed {
    /// The exchanges that a query chooses; `scratch` is a folder for temporary files.
    pub(crate) fn open(
        session: &Session,
        query: &RequestsQuery,
        needs: Needs,
        hides: bool,
        scratch: &Path,
    ) -> Result<Self, StorageError> {
        // Exchanges first: a body is on disk before what points to it.
        let rows = session.requests(query)?;
        let bodies =
            needs.bodies.then(|| BodyIndex::build(session.source(Table::Bodies, true)?, scratch)).transpose()?;
        let messages =
            needs.messages.then(|| session.source(Table::Messages, true).map(MessageIndex::new)).transpose()?;
        Ok(Self { rows, bodies, messages, hides, lot: VecDeque::new(), ahead: None, stored: HashMap::new() })
    }

    /// The next exchange.
    pub(crate) fn next(&mut self, report: &mut Report) -> Result<Option<Item>, StorageError> {
        if self.lot.is_empty() {
            self.fill()?;
        }
        let Some(row) = self.lot.pop_front() else { return self.end(report) };
        report.chosen += 1;
        let (request, response) = if self.bodies.is_some() {
            let request = self.body(row.request_body.map(|hash| hash.0), &row.request_body_state, row.request_size);
            let response = self.body(row.response_body.map(|hash| hash.0), &row.response_body_state, row.response_size);
            (request, response)
        } else {
            (Body::default(), Body::default())
        };
        let mut item = Item { row, request, response, messages: Vec::new() };
        if self.hides {
            report.hidden += hide::hide_row(&mut item.row);
            let request_type = item.request_header("content-type").to_owned();
            let response_type = item.response_header("content-type").to_owned();
            report.hidden +=
                hide_body(&mut item.request, &request_type) + hide_body(&mut item.response, &response_type);
        }
        for reason in [item.request.reason, item.response.reason].into_iter().flatten() {
            report.note(reason);
        }
        if let Some(messages) = &mut self.messages
            && may_have_messages(&item)
        {
            let found = messages.of(item.row.id)?;
            if found.is_cut {
                report.note(Reason::MessagesCut);
            }
            item.messages = found.rows;
            if self.hides {
                report.hidden += hide_messages(&mut item.messages);
            }
        }
        Ok(Some(item))
    }

    fn end(&mut self, report: &mut Report) -> Result<Option<Item>, StorageError> {
        report.warnings = self.rows.warnings().to_vec();
        report.warnings.extend(self.bodies.iter().flat_map(|bodies| bodies.warnings().to_vec()));
        report.warnings.extend(self.messages.iter().flat_map(|messages| messages.warnings().to_vec()));
        match self.rows.take_error() {
            Some(error) => Err(error),
            None => Ok(None),
        }
    }

    fn fill(&mut self) -> Result<(), StorageError> {
        let mut size = 0;
        let mut wanted = BTreeSet::new();
        while self.lot.len() < LOT_ROWS {
            let Some(row) = self.ahead.take().or_else(|| self.rows.next()) else { break };
            let bodies = [(row.request_body, row.request_size), (row.response_body, row.response_size)];
            let new: u64 = bodies
                .iter()
                .filter(|(hash, _)| hash.is_some_and(|hash| !wanted.contains(&hash.0)))
                .map(|(_, size)| size)
                .sum();
            if size > 0 && size + new > LOT_BYTES {
                self.ahead = Some(row);
                break;
            }
            size += new;
            wanted.extend(bodies.iter().filter_map(|(hash, _)| hash.map(|hash| hash.0)));
            self.lot.push_back(row);
        }
        // The bodies of the lot before go first.
        self.stored = HashMap::new();
        if let Some(bodies) = &mut self.bodies {
            self.stored = bodies.fetch(&wanted)?;
        }
        Ok(())
    }

    fn body(&self, hash: Option<[u8; 32]>, state: &str, size: u64) -> Body {
        let missing = |reason| Body { size, reason, ..Body::default() };
        if state == "none" {
            return missing(None);
        }
        let Some(stored) = hash.and_then(|hash| self.stored.get(&hash)) else {
            return missing(Some(Reason::BodyNotStored));
        };
        let is_cut = matches!(state, "truncated" | "gap");
        let coding = stored.encoding.as_deref().unwrap_or_default();
        let limits = Limits { output: MAX_DECODED, ..Limits::default() };
        match content::decode(&stored.bytes, coding, limits) {
            Ok(decoded) => {
                let was_coded = matches!(decoded.bytes, std::borrow::Cow::Owned(_));
                let reason = (is_cut || decoded.is_partial).then_some(Reason::BodyCut);
                let bytes = match decoded.bytes {
                    std::borrow::Cow::Borrowed(_) => stored.bytes.clone(),
                    std::borrow::Cow::Owned(bytes) => bytes.into(),
                };
                Body { bytes: Some(bytes), size, reason, was_coded, stored: Some(stored.clone()) }
            }
            Err(_) => {
                // What cannot be read cannot be searched for credentials.
                let stored = (!self.hides).then(|| stored.clone());
                Body { stored, ..missing(Some(Reason::BodyUndecodable)) }
            }
        }
    }
}

fn may_have_messages(item: &Item) -> bool {
    let kind = item.row.media_type.as_deref().unwrap_or_default();
    item.is_websocket() || kind == "text/event-stream" || kind.starts_with("application/grpc")
}

fn hide_body(body: &mut Body, content_type: &str) -> u64 {
    match body.bytes.as_deref().and_then(|bytes| hide::hide_body(bytes, content_type)) {
        Some((bytes, count)) => {
            body.bytes = Some(bytes.into());
            body.stored = None;
            count
        }
        None => 0,
    }
}

fn hide_messages(messages: &mut [MessageRow]) -> u64 {
    let mut hidden = 0;
    for message in messages {
        // Messages have no media type: those that look like JSON are read as such.
        if let Some((bytes, count)) = message.payload.as_deref().and_then(|payload| hide::hide_body(payload, "")) {
            message.payload = Some(bytes.into());
            hidden += count;
        }
    }
    hidden
}

//! JSON lines: one object an exchange, its keys the columns, and bodies and messages in it.

use std::io::{self, Write};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;

use super::{
    Format,
    feed::{Body, Item},
    report::{Reason, Report},
};
use crate::query::{ExchangeRow, MessageRow};

/// Writes JSON lines.
#[derive(Debug, Default)]
pub(crate) struct JsonLines {
    line: Vec<u8>,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    row: &'a ExchangeRow,
    request_content: Option<Content<'a>>,
    response_content: Option<Content<'a>>,
    messages: &'a [MessageRow],
}

/// A decoded body: as text where it is text.
#[derive(Serialize)]
struct Content<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    /// Why it is missing or not whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<Reason>,
}

fn content(body: &Body) -> Option<Content<'_>> {
    if body.bytes.is_none() && body.reason.is_none() {
        return None;
    }
    let text = body.text();
    let base64 = body.bytes.as_deref().filter(|_| text.is_none()).map(|bytes| STANDARD.encode(bytes));
    Some(Content { text, base64, note: body.reason })
}

impl Format for JsonLines {
    fn exchange(&mut self, item: Item, out: &mut dyn Write, report: &mut Report) -> io::Result<()> {
        let line = Line {
            row: &item.row,
            request_content: content(&item.request),
            response_content: content(&item.response),
            messages: &item.messages,
        };
        // Into memory first: the writer of JSON writes a few bytes at a time.
        self.line.clear();
        serde_json::to_writer(&mut self.line, &line)?;
        self.line.push(b'\n');
        report.exported += 1;
        out.write_all(&self.line)
    }
}

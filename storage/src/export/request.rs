//! A request as other programs can send it: what curl, Postman and `.http` files have in common.
//!
//! Hop-by-hop fields, pseudo-headers, Content-Length and a Host that says what the URL says are left away: who
//! sends it adds its own. What is no request (tunnels, WebSockets, halves) is refused with the reason.

use std::borrow::Cow;

use super::{
    feed::{Body, Item},
    hide::HIDDEN,
    pairs::sendable_url,
    report::{Reason, Report},
};

/// Fields about one connection (RFC 9110 §7.6.1), and those that a sender makes itself.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "content-length",
    "expect",
];

/// One header line to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    /// Name, a token.
    pub(crate) name: &'a str,
    /// Value without line breaks and NUL.
    pub(crate) value: Cow<'a, str>,
    /// Whether a credential in it was hidden.
    pub(crate) is_hidden: bool,
}

/// A request to send.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// Method, a token.
    pub(crate) method: &'a str,
    /// Absolute URL without white space and control characters.
    pub(crate) url: Cow<'a, str>,
    /// Header lines in order.
    pub(crate) fields: Vec<Field<'a>>,
    /// The body.
    pub(crate) body: &'a Body,
}

impl<'a> Request<'a> {
    /// The request of an exchange, or why there is none.
    pub(crate) fn of(item: &'a Item, report: &mut Report) -> Result<Self, Reason> {
        let row = &item.row;
        if row.method.eq_ignore_ascii_case("connect") {
            return Err(Reason::Tunnel);
        }
        if item.is_websocket() {
            return Err(Reason::WebSocket);
        }
        if row.method.is_empty() || row.url.is_empty() {
            return Err(Reason::NoRequest);
        }
        if !is_token(&row.method) || row.method.len() > 40 {
            return Err(Reason::Method);
        }
        let url = sendable_url(&row.url);
        if matches!(url, Cow::Owned(_)) {
            report.note(Reason::TextChanged);
        }
        // A fragment is never sent.
        let url = match url {
            Cow::Borrowed(url) => Cow::Borrowed(url.split('#').next().unwrap_or(url)),
            Cow::Owned(url) => Cow::Owned(url.split('#').next().unwrap_or(&url).to_owned()),
        };
        Ok(Self { method: &row.method, url, fields: fields(item, report), body: &item.request })
    }

    /// The value of the first field of this name.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| &*field.value)
    }

    /// The authority of the URL, and what comes after it.
    pub(crate) fn split_url(&self) -> (&str, &str) {
        let start = self.url.find("://").map_or(0, |at| at + 3);
        let end = self.url[start..].find(['/', '?']).map_or(self.url.len(), |at| start + at);
        self.url.split_at(end)
    }
}

/// RFC 9110 §5.6.2.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn fields<'a>(item: &'a Item, report: &mut Report) -> Vec<Field<'a>> {
    let row = &item.row;
    let named: Vec<&str> = row
        .request_headers
        .iter()
        .filter(|line| line.name.eq_ignore_ascii_case("connection"))
        .flat_map(|line| line.value.split(',').map(str::trim))
        .collect();
    let authority = row.url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let mut fields = Vec::with_capacity(row.request_headers.len());
    for line in &row.request_headers {
        let is = |name: &&str| line.name.eq_ignore_ascii_case(name);
        if line.name.starts_with(':')
            || HOP_BY_HOP.iter().any(is)
            || named.iter().any(is)
            || (is(&"host") && line.value.trim().eq_ignore_ascii_case(authority))
        {
            continue;
        }
        if is(&"content-encoding") && item.request.was_coded {
            report.note(Reason::CodingRemoved);
            continue;
        }
        if !is_token(&line.name) {
            report.note(Reason::HeaderLeftOut);
            continue;
        }
        let is_broken = |c: char| c.is_control() && c != '\t';
        let value = if line.value.contains(is_broken) {
            report.note(Reason::TextChanged);
            Cow::Owned(line.value.replace(is_broken, " "))
        } else {
            Cow::Borrowed(&*line.value)
        };
        let is_hidden = value.contains(HIDDEN);
        fields.push(Field { name: &line.name, value, is_hidden });
    }
    fields
}

/// Text as it can stand in a comment line: nothing in it ends the line or steers a terminal.
pub(crate) fn comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Whether text can be pasted: no control characters but tabs and line breaks.
pub(crate) fn is_plain(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r'))
}

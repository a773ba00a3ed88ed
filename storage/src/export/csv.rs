//! CSV (RFC 4180): a line an exchange, without bodies.
//!
//! Spreadsheets run cells that begin with `=`, `+`, `-`, `@`, a tab or a line break as formulas: such texts get an
//! apostrophe in front. Control characters other than line breaks become their pictures (U+2400 …).

use std::{
    borrow::Cow,
    io::{self, Write},
};

use weir_engine::record::Flags;

use super::{
    Format,
    feed::Item,
    report::{Reason, Report},
};
use crate::query::HeaderLine;

const COLUMNS: [&str; 36] = [
    "id",
    "started",
    "method",
    "url",
    "status",
    "reason",
    "error",
    "type",
    "category",
    "protocol",
    "scheme",
    "domain",
    "port",
    "path",
    "query",
    "endpoint",
    "duration_us",
    "dns_us",
    "connect_us",
    "tls_us",
    "wait_us",
    "receive_us",
    "request_size",
    "response_size",
    "request_body_state",
    "response_body_state",
    "source",
    "device",
    "client",
    "server",
    "connection",
    "process",
    "pid",
    "flags",
    "request_headers",
    "response_headers",
];

/// Writes CSV.
#[derive(Debug, Default)]
pub(crate) struct Csv {
    line: String,
}

impl Csv {
    fn text(&mut self, text: &str, report: &mut Report) {
        let (text, is_guarded) = guard(text);
        if is_guarded {
            report.note(Reason::FormulaGuarded);
        }
        if text.bytes().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
            self.line.push('"');
            self.line.push_str(&text.replace('"', "\"\""));
            self.line.push('"');
        } else {
            self.line.push_str(&text);
        }
        self.line.push(',');
    }

    fn number(&mut self, number: Option<u64>) {
        if let Some(number) = number {
            self.line.push_str(&number.to_string());
        }
        self.line.push(',');
    }
}

/// A text no spreadsheet runs, and whether it had to be changed for that.
fn guard(text: &str) -> (Cow<'_, str>, bool) {
    let needs_picture = |c: char| (c < ' ' && !matches!(c, '\n' | '\r' | '\t')) || c == '\u{7f}';
    let text = if text.bytes().any(|byte| needs_picture(char::from(byte))) {
        let picture = |c: char| match c {
            '\u{7f}' => '\u{2421}',
            c if needs_picture(c) => char::from_u32(0x2400 + u32::from(c)).unwrap_or(c),
            c => c,
        };
        Cow::Owned(text.chars().map(picture).collect())
    } else {
        Cow::Borrowed(text)
    };
    // Some programs skip white space before they look.
    if text.starts_with(['\t', '\r', '\n'])
        || text.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠'])
    {
        (Cow::Owned(format!("'{text}")), true)
    } else {
        (text, false)
    }
}

fn lines(headers: &[HeaderLine]) -> String {
    let mut text = String::new();
    for line in headers {
        if !text.is_empty() {
            text.push('\n');
        }
        // A line break in a value must not look like another header.
        for part in [&*line.name, ": ", &line.value] {
            text.extend(part.chars().map(|c| match c {
                '\r' => '\u{240d}',
                '\n' => '\u{240a}',
                c => c,
            }));
        }
    }
    text
}

impl Format for Csv {
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{}\r\n", COLUMNS.join(","))
    }

    fn exchange(&mut self, item: Item, out: &mut dyn Write, report: &mut Report) -> io::Result<()> {
        let row = item.row;
        self.line.clear();
        self.number(Some(row.id));
        let optional = |text: Option<String>| text.unwrap_or_default();
        for text in [row.started.to_string(), row.method, row.url] {
            self.text(&text, report);
        }
        self.number(row.status.map(u64::from));
        for text in [
            optional(row.reason),
            optional(row.error),
            optional(row.media_type),
            row.category,
            row.protocol,
            row.scheme,
            row.domain,
        ] {
            self.text(&text, report);
        }
        self.number(Some(row.port.into()));
        for text in [row.path, row.query, row.endpoint] {
            self.text(&text, report);
        }
        for number in [row.duration_us, row.dns_us, row.connect_us, row.tls_us, row.wait_us, row.receive_us] {
            self.number(number);
        }
        self.number(Some(row.request_size));
        self.number(Some(row.response_size));
        for text in [
            row.request_body_state,
            row.response_body_state,
            row.source,
            optional(row.device),
            optional(row.client),
            optional(row.server),
        ] {
            self.text(&text, report);
        }
        self.number(Some(row.connection));
        self.text(&optional(row.process), report);
        self.number(row.pid.map(u64::from));
        self.text(&Flags(row.flags).names().collect::<Vec<_>>().join(" "), report);
        self.text(&lines(&row.request_headers), report);
        self.text(&lines(&row.response_headers), report);
        self.line.pop();
        self.line.push_str("\r\n");
        report.exported += 1;
        out.write_all(self.line.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_guarded_and_control_characters_shown() {
        for (text, expected) in [
            ("=1+1", "'=1+1"),
            (" @SUM(A1)", "' @SUM(A1)"),
            ("\tx", "'\tx"),
            ("-", "'-"),
            ("/path?a=1", "/path?a=1"),
            ("a\u{0}b\u{1b}[2J\u{7f}", "a\u{2400}b\u{241b}[2J\u{2421}"),
        ] {
            assert_eq!(guard(text).0, expected, "{text:?}");
        }
        let mut csv = Csv::default();
        csv.text("a,\"b\"\n", &mut Report::default());
        assert_eq!(csv.line, "\"a,\"\"b\"\"\n\",");
    }
}

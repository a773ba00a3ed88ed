//! curl: a line a request that can be pasted into any POSIX shell.
//!
//! Everything captured stands in single quotes, in which a shell reads nothing but the next quote. Bodies that have
//! line breaks, or bytes that are not plain text, come from `printf`, a built-in whose escapes every shell knows.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, Write},
};

use super::{
    Format,
    feed::Item,
    report::{Reason, Report},
    request::{Request, comment, is_plain},
    target::{Beside, ending},
};
use weir_engine::record::media;

/// Bytes of one argument: Linux takes 128 KiB.
const MAX_ARGUMENT: usize = 100 << 10;
/// Bytes of all header lines and the URL of one command.
const MAX_LINE: usize = 1 << 20;
/// Bytes of a body on a line; larger ones are saved beside, or left out.
const MAX_INLINE: usize = 1 << 20;

/// Writes curl lines.
#[derive(Debug)]
pub(crate) struct Curl {
    beside: Option<Beside>,
    line: String,
}

impl Curl {
    /// With a folder for large bodies, when there is one.
    pub(crate) fn new(beside: Option<Beside>) -> Self {
        Self { beside, line: String::new() }
    }

    fn command(&mut self, item: &Item, request: &Request<'_>, report: &mut Report) -> io::Result<()> {
        let mut line = String::from("curl --globoff --path-as-is");
        let body = request.body.bytes.as_deref().filter(|bytes| !bytes.is_empty());
        let is_head = request.method == "HEAD";
        let wants_empty = body.is_none() && matches!(request.method, "POST" | "PUT" | "PATCH");
        match request.method {
            "HEAD" => line.push_str(" --head"),
            "GET" if body.is_none() => {}
            "POST" if body.is_some() || wants_empty => {}
            method => {
                let _ = write!(line, " -X {}", quoted(method));
            }
        }
        // curl names the codings that it can undo itself.
        let codings = request.field("accept-encoding").unwrap_or_default().to_ascii_lowercase();
        let compressed = ["gzip", "deflate", "br", "zstd"].iter().any(|coding| codings.contains(coding));
        if compressed {
            line.push_str(" --compressed");
        }
        let _ = write!(line, " {}", quoted(&request.url));
        let mut size = request.url.len();
        for field in &request.fields {
            if compressed && field.name.eq_ignore_ascii_case("accept-encoding") {
                continue;
            }
            let header = if field.value.trim().is_empty() {
                format!("{};", field.name)
            } else {
                format!("{}: {}", field.name, field.value)
            };
            size += header.len();
            if header.len() > MAX_ARGUMENT || size > MAX_LINE {
                report.note(Reason::HeaderLeftOut);
                continue;
            }
            let _ = write!(line, " -H {}", quoted(&header));
        }
        // What curl would add by itself and the captured request did not have.
        let mut own = vec!["User-Agent", "Accept"];
        if body.is_some() || wants_empty {
            own.push("Content-Type");
        }
        for name in own.into_iter().filter(|name| request.field(name).is_none()) {
            let _ = write!(line, " -H '{name}:'");
        }
        match body {
            Some(_) if is_head => report.note(Reason::BodyLeftOut),
            Some(bytes) => self.body(item, bytes, &mut line, report)?,
            None if wants_empty => line.push_str(" --data-raw ''"),
            None => {}
        }
        self.line.push_str(&line);
        self.line.push('\n');
        Ok(())
    }

    fn body(&mut self, item: &Item, bytes: &[u8], line: &mut String, report: &mut Report) -> io::Result<()> {
        let text = std::str::from_utf8(bytes).ok().filter(|text| is_plain(text) && !text.contains(['\n', '\r']));
        match text {
            Some(text) if text.len() <= MAX_ARGUMENT => {
                let _ = write!(line, " --data-raw {}", quoted(text));
            }
            _ if bytes.len() <= MAX_INLINE => {
                *line = format!("printf '{}' | {line} --data-binary @-", printf_text(bytes));
            }
            _ => match &mut self.beside {
                Some(beside) => {
                    let kind = media::essence(item.request_header("content-type").as_bytes());
                    let name = format!("{}-request.{}", item.row.id, ending(&kind));
                    let path = beside.save(&name, bytes)?;
                    let _ = write!(line, " --data-binary {}", quoted(&format!("@{path}")));
                }
                None => {
                    report.note(Reason::BodyLeftOut);
                    let _ = writeln!(self.line, "# the next request had a body of {} bytes, left out", bytes.len());
                }
            },
        }
        Ok(())
    }
}

/// A word in single quotes.
fn quoted(text: &str) -> Cow<'_, str> {
    if !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./:@%+,".contains(&byte))
        && !text.starts_with('-')
    {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")))
}

/// A format for `printf` in single quotes that prints these bytes.
fn printf_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + bytes.len() / 8);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => text.push_str(r"\n"),
                '\r' => text.push_str(r"\r"),
                '\t' => text.push_str(r"\t"),
                '\\' => text.push_str(r"\\"),
                '%' => text.push_str("%%"),
                '\'' => text.push_str(r"'\''"),
                // A format that begins with a dash could be taken for an option.
                '-' if text.is_empty() => text.push_str(r"\055"),
                c if c.is_control() => {
                    let mut buffer = [0; 4];
                    c.encode_utf8(&mut buffer).bytes().for_each(|byte| octal(byte, &mut text));
                }
                c => text.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| octal(*byte, &mut text));
    }
    text
}

fn octal(byte: u8, text: &mut String) {
    let _ = write!(text, "\\{byte:03o}");
}

impl Format for Curl {
    fn exchange(&mut self, item: Item, out: &mut dyn Write, report: &mut Report) -> io::Result<()> {
        self.line.clear();
        match Request::of(&item, report) {
            Ok(request) => {
                report.exported += 1;
                if let Some(reason) = item.request.reason {
                    let _ = writeln!(self.line, "# body of the next request: {}", reason.as_str());
                }
                self.command(&item, &request, report)?;
            }
            Err(reason) => {
                report.note(reason);
                let row = &item.row;
                let what = comment(&format!("{} {} {}", row.id, row.method, row.url));
                let _ = writeln!(self.line, "# left out: {} ({})", what, reason.as_str());
            }
        }
        out.write_all(self.line.as_bytes())
    }

    fn finish(&mut self, out: &mut dyn Write, report: &mut Report) -> io::Result<()> {
        report.files += self.beside.as_ref().map_or(0, Beside::saved);
        writeln!(out, "# weir: {}", report.comment())
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What a shell makes of a command.
    fn sh(script: &str) -> Vec<u8> {
        let output = Command::new("sh").args(["-c", script]).output().expect("sh runs");
        assert!(output.status.success(), "{script}");
        output.stdout
    }

    #[test]
    fn a_shell_gives_back_every_byte() {
        let mut all: Vec<u8> = (1..=255).collect();
        all.extend("-n é € %d \\n $(id) `id` ${HOME} ' \" ! \u{9b}".as_bytes());
        assert_eq!(sh(&format!("printf '{}'", printf_text(&all))), all);
        assert_eq!(sh(&format!("printf '{}'", printf_text(b"--help\x00%s"))), b"--help\x00%s");
        for text in ["", "a b", "it's", "$(id)`id`\\", "-n", "é\"!*?[a]{b}", "a\nb"] {
            assert_eq!(sh(&format!("printf %s {}", quoted(text))), text.as_bytes(), "{text}");
        }
    }
}

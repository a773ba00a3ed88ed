//! `.http` files, as the HTTP clients of JetBrains and VS Code run them (<https://github.com/JetBrains/http-request-in-editor-spec>).
//!
//! The format has separators, scripts, file references and variables that a captured body could contain by accident
//! or by malice, and no way to escape them: bodies with such lines are saved beside or left out.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use weir_engine::record::media::{self, Category};

use super::{
    Format,
    feed::Item,
    report::{Reason, Report},
    request::{Request, comment, is_plain},
    target::{Beside, ending},
};

/// Bytes of a header line at most.
const MAX_FIELD: usize = 64 << 10;
/// Bytes of a body in the file at most.
const MAX_BODY: usize = 1 << 20;

/// Writes a `.http` file.
#[derive(Debug)]
pub(crate) struct HttpFile {
    beside: Option<Beside>,
}

impl HttpFile {
    /// With a folder for bodies that cannot stand in the file, when there is one.
    pub(crate) fn new(beside: Option<Beside>) -> Self {
        Self { beside }
    }

    fn body(&mut self, item: &Item, bytes: &[u8], out: &mut dyn Write, report: &mut Report) -> io::Result<()> {
        let kind = media::essence(item.request_header("content-type").as_bytes()).into_owned();
        let text = item.request.text().filter(|text| is_plain(text) && text.len() <= MAX_BODY && !has_syntax(text));
        if let Some(text) = text {
            let text = without_variables(text, Category::of(&kind) == Category::Json, report);
            return write!(out, "\n{text}\n");
        }
        if let Some(beside) = &mut self.beside {
            let path = beside.save(&format!("{}-request.{}", item.row.id, ending(&kind)), bytes)?;
            let path = if path.starts_with(['/', '.']) { path } else { format!("./{path}") };
            return write!(out, "\n< {path}\n");
        }
        report.note(Reason::BodyLeftOut);
        writeln!(out, "# weir: a body of {} bytes is left out; --files DIR saves it", bytes.len())
    }
}

/// Whether a line of a body would be read as a separator, a script, a file or a response reference.
fn has_syntax(text: &str) -> bool {
    let is_syntax = |line: &str| {
        let line = line.trim_start();
        line.starts_with("###") || line.starts_with('<') && !is_markup(line) || line.starts_with('>')
    };
    text.lines().any(is_syntax)
}

/// `<tag`, `</tag`, `<!` and `<?` are bodies; `< file`, `<@ file`, `<> response` are not.
fn is_markup(line: &str) -> bool {
    line[1..].starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?'))
}

/// Text in which no variable is found: in JSON the braces are escaped, elsewhere parted.
fn without_variables<'a>(text: &'a str, is_json: bool, report: &mut Report) -> Cow<'a, str> {
    if !text.contains("{{") {
        return Cow::Borrowed(text);
    }
    if is_json {
        // In valid JSON two braces stand together only inside a string.
        return Cow::Owned(text.replace("{{", r"\u007b\u007b"));
    }
    report.note(Reason::VariableBroken);
    Cow::Owned(text.replace("{{", "{ {"))
}

impl Format for HttpFile {
    fn exchange(&mut self, item: Item, out: &mut dyn Write, report: &mut Report) -> io::Result<()> {
        let request = match Request::of(&item, report) {
            Ok(request) => request,
            Err(reason) => {
                report.note(reason);
                let what = comment(&format!("{} {} {}", item.row.id, item.row.method, item.row.url));
                return writeln!(out, "# left out: {what} ({})", reason.as_str());
            }
        };
        report.exported += 1;
        let (_, target) = request.split_url();
        writeln!(out, "### {} {} {}", item.row.id, request.method, comment(target))?;
        let url = if request.url.contains("{{") {
            report.note(Reason::TextChanged);
            Cow::Owned(request.url.replace("{{", "%7B%7B"))
        } else {
            Cow::Borrowed(&*request.url)
        };
        writeln!(out, "{} {url} HTTP/1.1", request.method)?;
        for field in &request.fields {
            if field.value.len() > MAX_FIELD {
                report.note(Reason::HeaderLeftOut);
                continue;
            }
            writeln!(out, "{}: {}", field.name, without_variables(&field.value, false, report))?;
        }
        if let Some(reason) = item.request.reason {
            writeln!(out, "# weir: the body is not whole: {}", reason.as_str())?;
        }
        if let Some(bytes) = item.request.bytes.as_deref().filter(|bytes| !bytes.is_empty()) {
            self.body(&item, bytes, out, report)?;
        }
        out.write_all(b"\n")
    }

    fn finish(&mut self, out: &mut dyn Write, report: &mut Report) -> io::Result<()> {
        report.files += self.beside.as_ref().map_or(0, Beside::saved);
        writeln!(out, "###\n# weir: {}", report.comment())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_cannot_break_out() {
        for text in
            ["a\n### GET http://evil/", "> {% client.exit() %}", "a\n  < /etc/passwd", "<@ ./x", "<> r.json", ">> o"]
        {
            assert!(has_syntax(text), "{text}");
        }
        for text in ["<?xml version='1.0'?>\n<a>\n</a>", "{\"a\": \"<b>\"}", "# a", "a=1&b=2"] {
            assert!(!has_syntax(text), "{text}");
        }
        let mut report = Report::default();
        assert_eq!(without_variables(r#"{"a":"{{x}}"}"#, true, &mut report), r#"{"a":"\u007b\u007bx}}"}"#);
        assert_eq!(without_variables("{{x}}", false, &mut report), "{ {x}}");
        assert_eq!(report.notes[&Reason::VariableBroken], 1);
    }
}

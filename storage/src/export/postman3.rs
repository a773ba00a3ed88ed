//! Postman collections, format 3: a folder tree of YAML files, a file a request.
//!
//! `.resources/definition.yaml` tells a folder's name, `NAME.request.yaml` is a request, its examples lie in
//! `.resources/NAME.resources/examples/`. Names of files come from captured paths, made harmless and unique by the
//! number of the exchange. YAML 1.2 reads every JSON string: that is how text is written where a block would not do.

use std::{
    collections::HashSet,
    fmt::Write as _,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{Format, feed::Item, postman::ItemMaker, report::Report, target::Tree};
use crate::{error::StorageError, session::SessionEntry};

/// The file that every such tree has.
pub(crate) const MARKER: &str = ".resources/definition.yaml";
/// Bytes of a file's name, without its ending.
const MAX_NAME: usize = 80;

/// Writes the tree.
pub(crate) struct Postman3 {
    maker: ItemMaker,
    tree: Tree,
    session: SessionEntry,
    /// Folders that have their definition, by a hash of their path.
    defined: HashSet<u64>,
}

impl Postman3 {
    /// A tree of a session.
    pub(crate) fn new(session: &SessionEntry, maker: ItemMaker, tree: Tree) -> Self {
        Self { maker, tree, session: session.clone(), defined: HashSet::new() }
    }

    /// The folder of an item, with its definitions written.
    fn folder(&mut self, names: &[String]) -> io::Result<PathBuf> {
        let mut path = PathBuf::new();
        for name in names {
            path.push(file_name(name));
            let hash = blake3::hash(path.to_string_lossy().to_lowercase().as_bytes());
            let half = hash.as_bytes()[..8].try_into().map_or(0, u64::from_le_bytes);
            if self.defined.insert(half) {
                let definition = format!("$kind: collection\nname: {}\n", scalar(name));
                self.tree.write(&path.join(MARKER), definition.as_bytes())?;
            }
        }
        Ok(path)
    }
}

/// Text as one part of a path on any system: letters, digits and a few signs that no shell or file system reads.
fn file_name(text: &str) -> String {
    let clean: String =
        text.chars().map(|c| if c.is_alphanumeric() || " -_.{}=+,".contains(c) { c } else { '-' }).collect();
    let clean = clean.trim_matches(['.', ' ', '-']);
    let clean = clean[..clean.floor_char_boundary(MAX_NAME)].trim_end_matches(['.', ' ']);
    if clean.is_empty() { "-".to_owned() } else { clean.to_owned() }
}

/// A text as a YAML scalar on one line: a JSON string.
fn scalar(text: &str) -> String {
    let mut json = Value::from(text).to_string();
    // What YAML takes for line breaks and JSON does not escape.
    for c in ['\u{85}', '\u{2028}', '\u{2029}', '\u{feff}', '\u{7f}'] {
        if json.contains(c) {
            json = json.replace(c, &format!("\\u{:04x}", u32::from(c)));
        }
    }
    json
}

/// A text of several lines as a block where YAML gives it back unchanged, else as a JSON string.
fn block(text: &str, indent: usize) -> String {
    let is_plain = |c: char| c == '\n' || c == ' ' || (!c.is_control() && !c.is_whitespace() && c != '\u{feff}');
    let fits =
        text.contains('\n') && !text.starts_with([' ', '\n']) && !text.ends_with('\n') && text.chars().all(is_plain);
    if !fits {
        return scalar(text);
    }
    let mut block = String::from("|-");
    for line in text.split('\n') {
        block.push('\n');
        if !line.is_empty() {
            block.push_str(&" ".repeat(indent));
            block.push_str(line);
        }
    }
    block
}

/// `key`, `value` and what else a list of pairs has.
fn pairs(name: &str, list: &Value, indent: usize, out: &mut String) {
    let Some(pairs) = list.as_array().filter(|pairs| !pairs.is_empty()) else { return };
    let pad = " ".repeat(indent);
    let _ = writeln!(out, "{pad}{name}:");
    for pair in pairs {
        let mut mark = '-';
        for key in ["key", "value", "type", "src", "contentType", "description", "disabled"] {
            match &pair[key] {
                // A query without a value has an empty one here.
                Value::Null if key == "value" && name == "queryParams" => {
                    let _ = writeln!(out, "{pad}  {mark} value: ''");
                }
                Value::Null => continue,
                Value::Bool(yes) => {
                    let _ = writeln!(out, "{pad}  {mark} {key}: {yes}");
                }
                value => {
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    let _ = writeln!(out, "{pad}  {mark} {key}: {}", scalar(&text));
                }
            }
            mark = ' ';
        }
    }
}

fn body(body: &Value, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    let Some(mode) = body["mode"].as_str() else { return };
    let _ = writeln!(out, "{pad}body:");
    match mode {
        "urlencoded" | "formdata" => {
            let _ = writeln!(out, "{pad}  type: {mode}");
            pairs("content", &body[mode], indent + 2, out);
        }
        "graphql" => {
            let _ = writeln!(out, "{pad}  type: graphql\n{pad}  content:");
            for key in ["query", "variables", "operationName"] {
                if let Some(text) = body["graphql"][key].as_str() {
                    let _ = writeln!(out, "{pad}    {key}: {}", block(text, indent + 6));
                }
            }
        }
        "file" => {
            let _ = writeln!(out, "{pad}  type: file\n{pad}  content:");
            let _ = writeln!(out, "{pad}    src: {}", scalar(body["file"]["src"].as_str().unwrap_or_default()));
        }
        _ => {
            let language = body["options"]["raw"]["language"].as_str().unwrap_or("text");
            let _ = writeln!(out, "{pad}  type: {language}");
            let _ = writeln!(out, "{pad}  content: {}", block(body["raw"].as_str().unwrap_or_default(), indent + 4));
        }
    }
}

fn request(request: &Value, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    let text = |value: &Value| scalar(value.as_str().unwrap_or_default());
    let _ = writeln!(out, "{pad}url: {}\n{pad}method: {}", text(&request["url"]["raw"]), text(&request["method"]));
    pairs("headers", &request["header"], indent, out);
    pairs("queryParams", &request["url"]["query"], indent, out);
    pairs("pathVariables", &request["url"]["variable"], indent, out);
    body(&request["body"], indent, out);
}

fn example(response: &Value) -> String {
    let mut out =
        format!("$kind: http-example\nname: {}\nrequest:\n", scalar(response["name"].as_str().unwrap_or_default()));
    request(&response["originalRequest"], 2, &mut out);
    let _ = writeln!(out, "response:\n  statusCode: {}", response["code"]);
    let _ = writeln!(out, "  statusText: {}", scalar(response["status"].as_str().unwrap_or_default()));
    pairs("headers", &response["header"], 2, &mut out);
    if let Some(text) = response["body"].as_str() {
        let language = response["_postman_previewlanguage"].as_str().unwrap_or("text");
        let _ = writeln!(out, "  body:\n    type: {language}\n    content: {}", block(text, 6));
    }
    if response["responseTime"].is_number() {
        let _ = writeln!(out, "  responseTime: {}", response["responseTime"]);
    }
    out.push_str("order: 1000\n");
    out
}

impl Format for Postman3 {
    fn exchange(&mut self, item: Item, _out: &mut dyn Write, report: &mut Report) -> io::Result<()> {
        let made = match self.maker.make(&item, report)? {
            Ok(made) => made,
            Err(reason) => {
                report.note(reason);
                return Ok(());
            }
        };
        let folder = self.folder(&made.folders)?;
        let name = made.document["name"].as_str().unwrap_or_default();
        let file = format!("{} {}", item.row.id, file_name(name));
        let mut out = format!("$kind: http-request\nname: {}\n", scalar(name));
        let _ = writeln!(
            out,
            "description: {}",
            scalar(made.document["request"]["description"].as_str().unwrap_or_default())
        );
        request(&made.document["request"], 0, &mut out);
        if let Some(response) = made.document["response"].get(0) {
            let examples = Path::new(".resources").join(format!("{file}.resources")).join("examples");
            let _ = writeln!(out, "examples: {}", scalar(&format!("./{}", examples.display())));
            self.tree.write(
                &folder.join(&examples).join(format!("{}.example.yaml", response["code"])),
                example(response).as_bytes(),
            )?;
        }
        let _ = writeln!(out, "order: {}", item.row.id.saturating_mul(1000));
        self.tree.write(&folder.join(format!("{file}.request.yaml")), out.as_bytes())?;
        report.exported += 1;
        Ok(())
    }

    fn finish(&mut self, _out: &mut dyn Write, report: &mut Report) -> io::Result<()> {
        report.files += self.maker.saved();
        let description = format!("Exported by weir from session {}. {}", self.session.id, report.comment());
        let definition =
            format!("$kind: collection\nname: {}\ndescription: {}\n", scalar(&self.session.name), scalar(&description));
        self.tree.write(Path::new(MARKER), definition.as_bytes())
    }

    fn publish(self: Box<Self>) -> Result<Option<u64>, StorageError> {
        self.tree.publish().map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside_and_text_stays_text() {
        for (text, expected) in
            [("../../etc/passwd", "etc-passwd"), ("GET /a?b", "GET -a-b"), ("", "-"), ("..", "-"), ("a\n\0b.", "a--b")]
        {
            assert_eq!(file_name(text), expected, "{text}");
        }
        assert_eq!(scalar("a: {{x}} # \"b\"\u{2028}"), r#""a: {{x}} # \"b\"\u2028""#);
        assert_eq!(block("{\n  \"a\": 1\n}", 4), "|-\n    {\n      \"a\": 1\n    }");
        for odd in [" a\nb", "a\n", "a\r\nb", "a\tb\nc", "one line"] {
            assert!(block(odd, 2).starts_with('"'), "{odd:?}");
        }
    }
}

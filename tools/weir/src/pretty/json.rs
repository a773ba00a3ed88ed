//! JSON with line breaks. Keys, numbers and duplicates stay as they were sent: only white space changes.

use serde::de::IgnoredAny;
use serde_json::Value;

/// Deeper than this only the outer levels get lines of their own.
const DEEPEST: usize = 100;

/// The text with two blanks a level; `None` where it is no JSON.
pub(super) fn indent(text: &str) -> Option<String> {
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    Some(spread(text))
}

/// Documents a line, as JSON lines have them.
pub(super) fn lines(text: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.len() < 2 {
        return None;
    }
    let indented: Option<Vec<String>> = lines.into_iter().map(indent).collect();
    indented.map(|documents| documents.join("\n"))
}

/// A GraphQL request in JSON: its query as it was written, then the rest.
pub(super) fn graphql(text: &str) -> Option<String> {
    let document: Value = serde_json::from_str(text).ok()?;
    let query = document.get("query")?.as_str()?;
    let starts = ["query", "mutation", "subscription", "fragment", "{", "#"];
    if !starts.iter().any(|start| query.trim_start().starts_with(start)) || !query.contains('{') {
        return None;
    }
    let mut shown = query.trim_end().to_owned();
    for (name, value) in document.as_object()?.iter().filter(|(name, value)| *name != "query" && !value.is_null()) {
        let value = serde_json::to_string_pretty(value).ok()?;
        shown.push_str(&format!("\n\n{name}: {value}"));
    }
    Some(shown)
}

/// Valid JSON with line breaks.
fn spread(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 5 / 4);
    let mut depth = 0_usize;
    let (mut in_string, mut escaped) = (false, false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if in_string {
            out.push(c);
            (in_string, escaped) = (escaped || c != '"', !escaped && c == '\\');
            continue;
        }
        match c {
            '"' => {
                in_string = true;
                out.push(c);
            }
            '{' | '[' => {
                out.push(c);
                while chars.peek().is_some_and(char::is_ascii_whitespace) {
                    chars.next();
                }
                if matches!(chars.peek(), Some('}' | ']')) {
                    out.extend(chars.next());
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => out.push(c),
        }
    }
    out
}

fn new_line(out: &mut String, depth: usize) {
    if depth <= DEEPEST {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    } else {
        out.push(' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_white_space_changes() {
        let text = r#"{"z":1e400,"a":{"b":[1,2,{}],"c":"x, y: {\"q\"}\\"},"a":[ ],"n":null}"#;
        let shown = indent(text).expect("is JSON");
        assert_eq!(shown.chars().filter(|c| !c.is_whitespace()).collect::<String>(), text.replace(' ', ""));
        assert!(shown.contains("\n  \"a\": [],\n") && shown.contains("\"x, y: {\\\"q\\\"}\\\\\""), "{shown}");
        assert_eq!(indent("{\"a\":1"), None);
        assert_eq!(lines("{\"a\":1}\n{\"b\":2}\n").as_deref(), Some("{\n  \"a\": 1\n}\n{\n  \"b\": 2\n}"));
        assert_eq!(indent("\"x\"").as_deref(), Some("\"x\""));
    }

    #[test]
    fn graphql_is_shown_as_it_was_written() {
        let text =
            r#"{"query":"query Q($id: ID!) {\n  user(id: $id) { name }\n}","variables":{"id":1},"operationName":"Q"}"#;
        let shown = graphql(text).expect("is GraphQL");
        assert!(
            shown.starts_with("query Q($id: ID!) {\n  user") && shown.contains("variables: {\n  \"id\": 1\n}"),
            "{shown}"
        );
        assert_eq!(graphql(r#"{"query":"shoes"}"#), None);
    }
}

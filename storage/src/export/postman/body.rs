//! The `body` of a request in the mode that says most about it, as long as sending it gives the same content.

use std::io;

use serde_json::{Value, json};
use weir_engine::record::media::{self, Category};

use super::object;
use crate::export::{
    feed::Item,
    multipart,
    pairs::{pairs, percent_decode_text},
    report::{Reason, Report},
    request::Request,
    target::{Beside, ending},
};

/// A body in a collection.
#[derive(Debug, Default)]
pub(super) struct BodyDocument {
    /// `request.body`, when there is one.
    pub(super) document: Option<Value>,
    /// Whether Postman makes the Content-Type itself (it chooses the boundary of a form).
    pub(super) makes_content_type: bool,
    /// What people should know.
    pub(super) note: Option<String>,
}

/// The body of a request.
pub(super) fn body(
    item: &Item,
    request: &Request<'_>,
    beside: &mut Option<Beside>,
    report: &mut Report,
) -> io::Result<BodyDocument> {
    let reason = request.body.reason;
    let note =
        reason.map(|reason| format!("Its body ({} bytes) is not whole here: {}.", request.body.size, reason.as_str()));
    let Some(bytes) = request.body.bytes.as_deref().filter(|bytes| !bytes.is_empty()) else {
        return Ok(BodyDocument { note, ..BodyDocument::default() });
    };
    let content_type = request.field("content-type").unwrap_or_default();
    let essence = media::essence(content_type.as_bytes());
    let found = |document| BodyDocument { document: Some(document), note: note.clone(), makes_content_type: false };
    if essence == "multipart/form-data"
        && let Some(parts) = multipart::parts(bytes, content_type)
    {
        let fields = form_data(item, bytes, &parts, beside, report)?;
        let document = object([("mode", "formdata".into()), ("formdata", fields.into())]);
        return Ok(BodyDocument { document: Some(document), makes_content_type: true, note });
    }
    let Some(text) = request.body.text() else {
        let (src, note) = save(item, "request", bytes, &essence, beside, report)?;
        let document = json!({"mode": "file", "file": {"src": src}});
        return Ok(BodyDocument { document: Some(document), makes_content_type: false, note });
    };
    if essence == "application/x-www-form-urlencoded"
        && let Some(fields) = url_encoded(text)
    {
        return Ok(found(object([("mode", "urlencoded".into()), ("urlencoded", fields.into())])));
    }
    let category = Category::of(&essence);
    if category == Category::Json
        && let Some(document) = graphql(text)
    {
        return Ok(found(json!({"mode": "graphql", "graphql": document})));
    }
    Ok(found(json!({"mode": "raw", "raw": text, "options": {"raw": {"language": language(category)}}})))
}

/// Postman's word for a language.
pub(super) fn language(category: Category) -> &'static str {
    match category {
        Category::Json => "json",
        Category::Xml => "xml",
        Category::Html => "html",
        Category::Script => "javascript",
        _ => "text",
    }
}

/// Pairs of a form; `None` when Postman would not send the same pairs.
fn url_encoded(text: &str) -> Option<Vec<Value>> {
    pairs(text)
        .map(|(key, value)| {
            let key = percent_decode_text(key, true).filter(|key| !key.is_empty())?;
            let value = percent_decode_text(value?, true)?;
            Some(json!({"key": key, "value": value, "type": "text"}))
        })
        .collect()
}

/// A GraphQL request (<https://graphql.github.io/graphql-over-http/>); `None` when it has more than the
/// mode can express.
fn graphql(text: &str) -> Option<Value> {
    // Most JSON need not be parsed to see that it has no such member (whose name could be escaped).
    if !text.contains("\"query\"") && !text.contains('\\') {
        return None;
    }
    let Value::Object(document) = serde_json::from_str(text).ok()? else { return None };
    let query = document.get("query")?.as_str()?;
    let begins = |word: &str| query.trim_start().starts_with(word);
    if !["query", "mutation", "subscription", "fragment", "{", "#"].into_iter().any(begins) {
        return None;
    }
    let mut found = json!({"query": query});
    for (key, value) in &document {
        match (&**key, value) {
            ("query", _) | ("operationName" | "variables", Value::Null) => {}
            ("operationName", Value::String(name)) => found["operationName"] = name.as_str().into(),
            // The mode holds variables as text.
            ("variables", Value::Object(_)) => found["variables"] = value.to_string().into(),
            _ => return None,
        }
    }
    Some(found)
}

fn form_data(
    item: &Item,
    body: &[u8],
    parts: &[multipart::Part],
    beside: &mut Option<Beside>,
    report: &mut Report,
) -> io::Result<Vec<Value>> {
    let mut fields = Vec::with_capacity(parts.len());
    for (number, part) in parts.iter().enumerate() {
        let content = &body[part.content.clone()];
        let text = std::str::from_utf8(content).ok().filter(|text| part.file_name.is_none() && !text.contains('\0'));
        let mut field = json!({"key": part.name});
        if let Some(kind) = &part.content_type {
            field["contentType"] = kind.as_str().into();
        }
        if let Some(text) = text {
            field["type"] = "text".into();
            field["value"] = text.into();
        } else {
            let kind = media::essence(part.content_type.as_deref().unwrap_or_default().as_bytes());
            let (src, note) = save(item, &format!("request-part-{}", number + 1), content, &kind, beside, report)?;
            field["type"] = "file".into();
            field["src"] = src;
            if let Some(note) = note {
                field["description"] = note.into();
            }
            if let Some(name) = part.file_name.as_deref().map(bare_name).filter(|name| !name.is_empty()) {
                field["fileName"] = name.into();
            }
        }
        fields.push(field);
    }
    Ok(fields)
}

/// Saves bytes beside the collection: its path, or null and what is missing.
fn save(
    item: &Item,
    what: &str,
    bytes: &[u8],
    essence: &str,
    beside: &mut Option<Beside>,
    report: &mut Report,
) -> io::Result<(Value, Option<String>)> {
    match beside {
        Some(beside) => {
            let path = beside.save(&format!("{}-{what}.{}", item.row.id, ending(essence)), bytes)?;
            Ok((path.into(), None))
        }
        None => {
            report.note(Reason::BodyLeftOut);
            Ok((Value::Null, Some(format!("{} bytes of {essence} were not exported; use --files DIR.", bytes.len()))))
        }
    }
}

/// The last part of a file name, without anything that steers a path or a terminal.
fn bare_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last.chars().filter(|c| !c.is_control()).take(200).collect();
    clean.trim_start_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_and_graphql_only_when_they_say_the_same() {
        let fields = url_encoded("a=1+2&a=%C3%A9&b=").expect("pairs");
        assert_eq!(fields[0], json!({"key": "a", "value": "1 2", "type": "text"}));
        assert_eq!((fields.len(), &fields[1]["value"]), (3, &json!("é")));
        for odd in ["a", "a=1&", "=x", "a=%ff"] {
            assert!(url_encoded(odd).is_none(), "{odd}");
        }
        let found = graphql(r#"{"query":"query A { b }","variables":{"x":1},"operationName":null}"#).expect("GraphQL");
        assert_eq!(found, json!({"query": "query A { b }", "variables": "{\"x\":1}"}));
        for odd in [r#"{"query":"red shoes"}"#, r#"{"query":"{a}","extensions":{}}"#, r#"[1]"#, "{"] {
            assert!(graphql(odd).is_none(), "{odd}");
        }
        assert_eq!(bare_name("../../etc/passwd\n"), "passwd");
        assert_eq!(bare_name("..\\..\\.ssh"), "ssh");
    }
}

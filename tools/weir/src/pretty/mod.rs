//! Bodies as people read them.
//!
//! In: the decoded bytes of a body and its Content-Type. Out: text, and the word for what it was taken for; nothing
//! where only the bytes themselves can be shown. Never fails: what is not what it claims to be is shown as it is.
//!
//! - [`json`]: JSON with line breaks, its keys in the order they were sent; GraphQL in JSON.
//! - [`markup`]: XML and HTML, indented.
//! - [`form`]: forms, urlencoded and multipart.
//! - [`protobuf`]: the wire form of protocol buffers, gRPC frames.
//! - [`image`]: what an image's first bytes say of it.

mod form;
mod image;
mod json;
mod markup;
mod protobuf;

use weir_engine::{
    content::display_text,
    record::media::{self, Category},
};

/// Bytes that are taken apart at most; longer bodies are shown as text.
const MOST: usize = 8 << 20;
/// How deep bodies are looked for in bodies (a JSON part of a multipart form).
const DEPTH: usize = 3;

/// A body made readable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pretty {
    /// `json`, `graphql`, `xml`, `html`, `form`, `multipart`, `protobuf`, `grpc`, `image`, `text` or `binary`.
    pub(crate) kind: &'static str,
    /// The text; none: show the bytes.
    pub(crate) text: Option<String>,
}

impl Pretty {
    fn new(kind: &'static str, text: String) -> Self {
        Self { kind, text: Some(text) }
    }
}

/// Makes a body readable.
pub(crate) fn body(bytes: &[u8], content_type: &str) -> Pretty {
    within(bytes, content_type, 0)
}

fn within(bytes: &[u8], content_type: &str, depth: usize) -> Pretty {
    let essence = media::essence(content_type.as_bytes());
    let category = Category::of(&essence);
    let small = bytes.len() <= MOST;
    let found = match &*essence {
        _ if !small => None,
        "application/x-www-form-urlencoded" => form::urlencoded(bytes).map(|text| Pretty::new("form", text)),
        "application/graphql" => None,
        essence if essence.starts_with("multipart/") && depth < DEPTH => {
            form::multipart(bytes, content_type, |part, kind| within(part, kind, depth + 1))
                .map(|text| Pretty::new("multipart", text))
        }
        essence if essence.starts_with("application/grpc") => {
            protobuf::grpc(bytes).map(|text| Pretty::new("grpc", text))
        }
        essence if essence.contains("protobuf") => protobuf::message(bytes).map(|text| Pretty::new("protobuf", text)),
        _ => match category {
            Category::Json => json(bytes),
            Category::Xml => markup::indent(&display_text(bytes), false).map(|text| Pretty::new("xml", text)),
            Category::Html => markup::indent(&display_text(bytes), true).map(|text| Pretty::new("html", text)),
            Category::Image => image::describe(bytes).map(|text| Pretty::new("image", text)),
            // Many senders do not say what they send.
            _ if looks_like_json(bytes) => json(bytes),
            _ => None,
        },
    };
    found.unwrap_or_else(|| as_it_is(bytes, category))
}

fn json(bytes: &[u8]) -> Option<Pretty> {
    let text = std::str::from_utf8(bytes).ok()?;
    if let Some(text) = json::graphql(text) {
        return Some(Pretty::new("graphql", text));
    }
    json::indent(text).or_else(|| json::lines(text)).map(|text| Pretty::new("json", text))
}

fn looks_like_json(bytes: &[u8]) -> bool {
    let trimmed = bytes.trim_ascii();
    matches!(trimmed, [b'{', .., b'}'] | [b'[', .., b']'])
}

fn as_it_is(bytes: &[u8], category: Category) -> Pretty {
    let is_media = category.is_media() || matches!(category, Category::Font | Category::Binary);
    match std::str::from_utf8(bytes) {
        Ok(text) if !bytes.contains(&0) => Pretty::new("text", text.to_owned()),
        Err(_) if !is_media && !bytes.contains(&0) => Pretty::new("text", display_text(bytes).into_owned()),
        _ => Pretty { kind: "binary", text: None },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(bytes: &[u8], content_type: &str) -> (&'static str, String) {
        let pretty = body(bytes, content_type);
        (pretty.kind, pretty.text.unwrap_or_default())
    }

    #[test]
    fn each_kind_is_known() {
        assert_eq!(text(b"{\"b\":1,\"a\":[]}", "application/json").1, "{\n  \"b\": 1,\n  \"a\": []\n}");
        assert_eq!(text(b"{\"b\":1}", "text/plain").0, "json");
        assert_eq!(text(b"{not json}", "application/json"), ("text", "{not json}".to_owned()));
        assert_eq!(text(b"a=1&b=x%20y", "application/x-www-form-urlencoded").0, "form");
        assert_eq!(text(b"<a><b/></a>", "text/xml"), ("xml", "<a>\n  <b/>\n</a>".to_owned()));
        assert_eq!(text(b"caf\xe9", "text/plain"), ("text", "café".to_owned()));
        assert_eq!(body(b"\0\x01", "application/octet-stream"), Pretty { kind: "binary", text: None });
        assert_eq!(text(&[0x08, 0x96, 0x01], "application/x-protobuf"), ("protobuf", "1: 150".to_owned()));
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), which in 0..8_usize) {
            let kinds = ["application/json", "text/xml", "text/html", "application/x-www-form-urlencoded",
                "multipart/form-data; boundary=x", "application/grpc", "application/x-protobuf", "image/png"];
            body(&bytes, kinds[which]);
        }
    }
}

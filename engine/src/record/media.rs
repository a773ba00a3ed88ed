//! Media types (RFC 9110 §8.3.1): the part without parameters, and its category.

use std::borrow::Cow;

/// Groups of media types people think in (column `category`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Category {
    /// `application/json`, `*+json` and kin.
    Json,
    /// `text/xml`, `*+xml` and kin.
    Xml,
    /// `text/html`, XHTML.
    Html,
    /// JavaScript and WebAssembly.
    Script,
    /// CSS.
    Style,
    /// `image/*`.
    Image,
    /// `audio/*`.
    Audio,
    /// `video/*` and streaming playlists.
    Video,
    /// `font/*` and kin.
    Font,
    /// Other `text/*`.
    Text,
    /// HTML forms as bodies.
    Form,
    /// Anything else.
    Binary,
    /// No media type.
    #[default]
    None,
}

impl Category {
    /// Every category.
    pub const ALL: [Self; 13] = [
        Self::Json,
        Self::Xml,
        Self::Html,
        Self::Script,
        Self::Style,
        Self::Image,
        Self::Audio,
        Self::Video,
        Self::Font,
        Self::Text,
        Self::Form,
        Self::Binary,
        Self::None,
    ];

    /// The word in the column.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Xml => "xml",
            Self::Html => "html",
            Self::Script => "script",
            Self::Style => "style",
            Self::Image => "image",
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Font => "font",
            Self::Text => "text",
            Self::Form => "form",
            Self::Binary => "binary",
            Self::None => "none",
        }
    }

    /// The category of a media type without parameters, lower case ([`essence`]).
    #[must_use]
    pub fn of(essence: &str) -> Self {
        let Some((kind, sub)) = essence.split_once('/') else {
            return if essence.is_empty() { Self::None } else { Self::Binary };
        };
        match (kind, sub) {
            ("image", _) => Self::Image,
            ("audio", _) => Self::Audio,
            ("video", _) => Self::Video,
            ("font", _) => Self::Font,
            (_, "html" | "xhtml+xml") => Self::Html,
            (_, "css") => Self::Style,
            (
                _,
                "javascript" | "x-javascript" | "ecmascript" | "x-ecmascript" | "jscript" | "typescript" | "wasm"
                | "livescript",
            ) => Self::Script,
            (
                _,
                "json" | "x-json" | "x-ndjson" | "ndjson" | "jsonlines" | "jsonl" | "json-seq" | "json5" | "graphql",
            ) => Self::Json,
            (_, "xml" | "xml-dtd") => Self::Xml,
            ("application", "x-www-form-urlencoded") | ("multipart", "form-data") => Self::Form,
            ("application", "vnd.apple.mpegurl" | "x-mpegurl" | "dash+xml" | "mp4") => Self::Video,
            ("application", "font-woff" | "font-woff2" | "x-font-ttf" | "x-font-woff" | "vnd.ms-fontobject") => {
                Self::Font
            }
            ("application", "yaml" | "x-yaml" | "toml" | "sql") => Self::Text,
            _ if sub.ends_with("+json") => Self::Json,
            _ if sub.ends_with("+xml") => Self::Xml,
            ("text", _) => Self::Text,
            _ => Self::Binary,
        }
    }

    /// Whether bodies of this category are passed on but not stored by default (as Postman does).
    #[must_use]
    pub const fn is_media(self) -> bool {
        matches!(self, Self::Image | Self::Audio | Self::Video)
    }
}

/// A `Content-Type` value without its parameters, trimmed and lower-cased; borrowed when it already is.
/// An empty string when nothing is left, or when it is not ASCII.
#[must_use]
pub fn essence(content_type: &[u8]) -> Cow<'_, str> {
    // A list means that the field was sent twice; browsers take the last, servers mean the first.
    let end = memchr::memchr2(b';', b',', content_type).unwrap_or(content_type.len());
    let bare = content_type[..end].trim_ascii();
    match std::str::from_utf8(bare) {
        Ok(text) if text.is_ascii() => {
            if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
                Cow::Owned(text.to_ascii_lowercase())
            } else {
                Cow::Borrowed(text)
            }
        }
        _ => Cow::Borrowed(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn essence_drops_parameters_and_case() {
        assert_eq!(essence(b"Application/JSON; charset=utf-8"), "application/json");
        assert_eq!(essence(b" text/html "), "text/html");
        assert_eq!(essence(b""), "");
        assert_eq!(essence(b"text/\xff"), "");
    }

    #[test]
    fn categories() {
        for (media_type, category) in [
            ("application/json", Category::Json),
            ("application/problem+json", Category::Json),
            ("image/svg+xml", Category::Image),
            ("application/atom+xml", Category::Xml),
            ("application/xhtml+xml", Category::Html),
            ("text/javascript", Category::Script),
            ("text/css", Category::Style),
            ("text/plain", Category::Text),
            ("text/event-stream", Category::Text),
            ("multipart/form-data", Category::Form),
            ("application/octet-stream", Category::Binary),
            ("application/grpc", Category::Binary),
            ("nonsense", Category::Binary),
            ("", Category::None),
        ] {
            assert_eq!(Category::of(media_type), category, "{media_type}");
        }
    }
}

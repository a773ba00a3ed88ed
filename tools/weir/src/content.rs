//! The bodies of an exchange, loaded, decoded and made readable.
//!
//! In: a row and its session. Out: bytes without their content coding, and the document of `weir show --json`.

use anyhow::Result;
use serde_json::{Value, json};
use weir_engine::{
    content::{self, Limits},
    record::Flags,
};
use weir_storage::{
    ExchangeRow, Session,
    query::{HashHex, HeaderLine},
};

use crate::{cli::Half, pretty};

/// A body as it can be shown.
pub(crate) struct Shown {
    /// Decoded as far as that was possible.
    pub(crate) bytes: Vec<u8>,
    /// Why it could not be decoded, or is not whole.
    pub(crate) note: Option<String>,
}

impl Half {
    fn hash(self, row: &ExchangeRow) -> Option<HashHex> {
        match self {
            Self::Request => row.request_body,
            Self::Response => row.response_body,
        }
    }

    /// The header lines of this half.
    pub(crate) fn headers(self, row: &ExchangeRow) -> &[HeaderLine] {
        match self {
            Self::Request => &row.request_headers,
            Self::Response => &row.response_headers,
        }
    }

    /// State and size on the wire.
    pub(crate) fn state(self, row: &ExchangeRow) -> (&str, u64) {
        match self {
            Self::Request => (&row.request_body_state, row.request_size),
            Self::Response => (&row.response_body_state, row.response_size),
        }
    }

    /// Its name in sentences and documents.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Response => "response",
        }
    }
}

/// The value of Content-Type, empty without one.
pub(crate) fn content_type(headers: &[HeaderLine]) -> &str {
    headers.iter().find(|line| line.name.eq_ignore_ascii_case("content-type")).map_or("", |line| &line.value)
}

/// A body without its content coding; `None` where it is not stored.
pub(crate) fn load(session: &Session, row: &ExchangeRow, half: Half) -> Result<Option<Shown>> {
    let Some(hash) = half.hash(row) else { return Ok(None) };
    // Bodies that were only hashed have a hash and no bytes.
    let Some(body) = session.body(&hash.0)? else { return Ok(None) };
    let encodings: Vec<&str> = half
        .headers(row)
        .iter()
        .filter(|line| line.name.eq_ignore_ascii_case("content-encoding"))
        .map(|line| line.value.as_str())
        .collect();
    // A recording of another program may have kept the field and removed the coding.
    let coding = if body.encoding.is_some() { encodings.join(",") } else { String::new() };
    let shown = match content::decode(&body.bytes, &coding, Limits::default()) {
        Ok(decoded) => {
            let note = decoded.is_partial.then(|| "only its beginning was stored".to_owned());
            Shown { bytes: decoded.bytes.into_owned(), note }
        }
        Err(error) => Shown { bytes: body.bytes.to_vec(), note: Some(error.to_string()) },
    };
    Ok(Some(shown))
}

/// The row with its bodies, its messages and the words for its flags.
pub(crate) fn document(session: &Session, row: &ExchangeRow) -> Result<Value> {
    let mut document = serde_json::to_value(row)?;
    for half in [Half::Request, Half::Response] {
        let content = match load(session, row, half)? {
            None => Value::Null,
            Some(Shown { bytes, note }) => {
                let pretty = pretty::body(&bytes, content_type(half.headers(row)));
                let mut content = match String::from_utf8(bytes) {
                    Ok(text) => json!({"text": text, "note": note}),
                    Err(error) => {
                        let hex: String = error.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
                        json!({"hex": hex, "note": note})
                    }
                };
                content["kind"] = json!(pretty.kind);
                content["pretty"] = json!(pretty.text);
                content
            }
        };
        document[format!("{}_content", half.name())] = content;
    }
    document["flag_names"] = Flags(row.flags).names().collect();
    document["messages"] = serde_json::to_value(session.messages(row.id)?.rows)?;
    Ok(document)
}

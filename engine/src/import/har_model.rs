//! The parts of HAR 1.2 that weir reads, as lenient as the files in the wild are.
//!
//! Names are the specification's (<http://www.softwareishard.com/blog/har-12-spec/>); every field may be
//! missing, null or -1. Underscored fields are Chrome's.

use serde::{Deserialize, Deserializer};

/// Takes null as absent.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Entry {
    #[serde(deserialize_with = "or_default")]
    pub(super) started_date_time: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) time: f64,
    #[serde(deserialize_with = "or_default")]
    pub(super) request: Request,
    #[serde(deserialize_with = "or_default")]
    pub(super) response: Response,
    #[serde(deserialize_with = "or_default")]
    pub(super) timings: Timings,
    #[serde(rename = "serverIPAddress", deserialize_with = "or_default")]
    pub(super) server_ip_address: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) connection: String,
    /// Weir's own: where `time` holds more than the exchange itself.
    #[serde(rename = "_duration")]
    pub(super) duration: Option<f64>,
    #[serde(rename = "_webSocketMessages", deserialize_with = "or_default")]
    pub(super) web_socket_messages: Vec<WebSocketMessage>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Request {
    #[serde(deserialize_with = "or_default")]
    pub(super) method: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) url: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) http_version: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) headers: Vec<Pair>,
    pub(super) post_data: Option<PostData>,
    #[serde(deserialize_with = "or_default")]
    pub(super) body_size: f64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Response {
    #[serde(deserialize_with = "or_default")]
    pub(super) status: f64,
    #[serde(deserialize_with = "or_default")]
    pub(super) status_text: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) http_version: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) headers: Vec<Pair>,
    #[serde(deserialize_with = "or_default")]
    pub(super) content: Content,
    #[serde(deserialize_with = "or_default")]
    pub(super) body_size: f64,
    #[serde(rename = "_error", deserialize_with = "or_default")]
    pub(super) error: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Pair {
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) value: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PostData {
    pub(super) text: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) params: Vec<Pair>,
    #[serde(alias = "_encoding", deserialize_with = "or_default")]
    pub(super) encoding: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Content {
    #[serde(deserialize_with = "or_default")]
    pub(super) size: f64,
    #[serde(deserialize_with = "or_default")]
    pub(super) mime_type: String,
    pub(super) text: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) encoding: String,
}

#[derive(Debug, Deserialize)]
#[serde(default)]
pub(super) struct Timings {
    #[serde(deserialize_with = "or_absent")]
    pub(super) dns: f64,
    #[serde(deserialize_with = "or_absent")]
    pub(super) connect: f64,
    #[serde(deserialize_with = "or_absent")]
    pub(super) ssl: f64,
    #[serde(deserialize_with = "or_absent")]
    pub(super) wait: f64,
    #[serde(deserialize_with = "or_absent")]
    pub(super) receive: f64,
}

/// A phase that does not apply is -1 (HAR 1.2, timings).
fn or_absent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(-1.0))
}

impl Default for Timings {
    fn default() -> Self {
        Self { dns: -1.0, connect: -1.0, ssl: -1.0, wait: -1.0, receive: -1.0 }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WebSocketMessage {
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub(super) direction: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) time: f64,
    #[serde(deserialize_with = "or_default")]
    pub(super) opcode: f64,
    #[serde(deserialize_with = "or_default")]
    pub(super) data: String,
}

//! An exchange as a row: what each column will hold once it is written.

use std::borrow::Cow;

use super::{Column, Row, Value};
use crate::record::{
    Body, BodyState, Exchange, Fault, endpoint,
    media::{self, Category},
};

impl Exchange {
    /// The value of column `type`: the media type of the response, lower case, without parameters.
    #[must_use]
    pub fn media_type(&self) -> Option<Cow<'_, str>> {
        self.response_content_type().map(media::essence).filter(|essence| !essence.is_empty())
    }

    /// The value of column `category`.
    #[must_use]
    pub fn category(&self) -> Category {
        self.media_type().map_or(Category::None, |essence| Category::of(&essence))
    }
}

/// A header value as the lake holds it: UTF-8 as it is; other bytes read as ISO 8859-1 (RFC 9110 §5.5),
/// so that nothing is lost.
#[must_use]
pub fn header_text(value: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(value)
        .map_or_else(|_| Cow::Owned(value.iter().map(|&byte| char::from(byte)).collect()), Cow::Borrowed)
}

fn body_hash(body: &Body) -> Value<'_> {
    match (&body.hash, body.state) {
        (Some(hash), _) => Value::Bytes(Cow::Borrowed(hash)),
        (None, BodyState::Stored | BodyState::Truncated | BodyState::Gap) if !body.content.is_empty() => {
            Value::Bytes(Cow::Owned(body.content.hash().to_vec()))
        }
        _ => Value::Null,
    }
}

fn text(text: impl Into<String>) -> Value<'static> {
    Value::Text(Cow::Owned(text.into()))
}

impl Row for Exchange {
    fn value(&self, column: Column) -> Value<'_> {
        match column {
            Column::Id => self.id.into(),
            Column::Source => self.source.as_str().into(),
            Column::Device => match (&self.device, self.client) {
                (Some(device), _) if !device.is_empty() => Value::from(&**device),
                (_, Some(client)) => text(client.ip().to_string()),
                _ => Value::Null,
            },
            Column::Client => self.client.map_or(Value::Null, |address| text(address.to_string())),
            Column::Server => self.server.map_or(Value::Null, |address| text(address.to_string())),
            Column::Connection => self.connection.into(),
            Column::Started => Value::Timestamp(self.started_us),
            Column::Protocol => self.protocol.as_str().into(),
            Column::Method => Value::from(&*self.method),
            Column::Scheme => self.url.scheme().into(),
            Column::Domain => self.url.domain().into(),
            Column::Type => self.media_type().map_or(Value::Null, Value::Text),
            Column::Category => self.category().as_str().into(),
            Column::Port => self.url.port().into(),
            Column::Path => self.url.path().into(),
            Column::Query => self.url.query().into(),
            Column::Url => self.url.as_str().into(),
            Column::Endpoint => Value::Text(endpoint::template(self.url.path())),
            Column::Status => self.status.into(),
            Column::Reason => self.reason.as_deref().into(),
            Column::Error => self.error.map(Fault::as_str).into(),
            Column::RequestBody => body_hash(&self.request_body),
            Column::ResponseBody => body_hash(&self.response_body),
            Column::RequestSize => self.request_body.size.into(),
            Column::ResponseSize => self.response_body.size.into(),
            Column::RequestBodyState => self.request_body.state.as_str().into(),
            Column::ResponseBodyState => self.response_body.state.as_str().into(),
            Column::DurationUs => self.timings.duration_us.into(),
            Column::DnsUs => self.timings.dns_us.into(),
            Column::ConnectUs => self.timings.connect_us.into(),
            Column::TlsUs => self.timings.tls_us.into(),
            Column::WaitUs => self.timings.wait_us.into(),
            Column::ReceiveUs => self.timings.receive_us.into(),
            Column::Process => self.process.as_deref().into(),
            Column::Pid => self.pid.into(),
            Column::Flags => self.flags.0.into(),
        }
    }

    fn header(&self, response: bool, name: &str) -> Option<Cow<'_, str>> {
        let headers = if response { &self.response_headers } else { &self.request_headers };
        headers.get(name).map(header_text)
    }
}

//! The five tables of the lake as Arrow schemas (DESIGN §5): names, types, order and which columns may
//! be null. This is a contract with other engines: columns are added at the end, never changed.
//! Null means unknown or absent (no server was dialled, the response has no media type), never empty text.

use std::{fmt, sync::LazyLock};

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

/// A table of the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// One row a request/response pair.
    Exchanges,
    /// Stored bodies by their hash.
    Bodies,
    /// WebSocket, event-stream and gRPC messages.
    Messages,
    /// Transport connections of clients.
    Connections,
    /// Cookies sent and set: what each flush saw of each of them.
    Cookies,
}

impl Table {
    /// Every table, in the order their parts are published: what is pointed to comes before what
    /// points to it, so that a crash never leaves an exchange without its body.
    pub const ALL: [Self; 5] = [Self::Bodies, Self::Connections, Self::Messages, Self::Cookies, Self::Exchanges];

    /// The folder's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exchanges => "exchanges",
            Self::Bodies => "bodies",
            Self::Messages => "messages",
            Self::Connections => "connections",
            Self::Cookies => "cookies",
        }
    }

    /// The column whose order parts in the lake are sorted by.
    #[must_use]
    pub const fn time_column(self) -> &'static str {
        match self {
            Self::Exchanges => "started",
            Self::Bodies => "first_seen",
            Self::Messages | Self::Cookies => "at",
            Self::Connections => "opened",
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The columns of a table.
#[must_use]
pub fn schema(table: Table) -> SchemaRef {
    static EXCHANGES: LazyLock<SchemaRef> = LazyLock::new(|| Schema::new(exchanges()).into());
    static BODIES: LazyLock<SchemaRef> = LazyLock::new(|| Schema::new(bodies()).into());
    static MESSAGES: LazyLock<SchemaRef> = LazyLock::new(|| Schema::new(messages()).into());
    static CONNECTIONS: LazyLock<SchemaRef> = LazyLock::new(|| Schema::new(connections()).into());
    static COOKIES: LazyLock<SchemaRef> = LazyLock::new(|| Schema::new(cookies()).into());
    SchemaRef::clone(match table {
        Table::Exchanges => &EXCHANGES,
        Table::Bodies => &BODIES,
        Table::Messages => &MESSAGES,
        Table::Connections => &CONNECTIONS,
        Table::Cookies => &COOKIES,
    })
}

/// Dictionary-encoded text: 32-bit keys.
#[must_use]
pub fn dictionary() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// Microseconds since the Unix epoch, UTC.
#[must_use]
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The fields of one header line: name and value, in the order and case seen; bytes that are not
/// UTF-8 are read as ISO-8859-1.
#[must_use]
pub fn header_fields() -> Fields {
    vec![field("name", DataType::Utf8), field("value", DataType::Utf8)].into()
}

/// The item of a header list. The name is the one that the Parquet format prescribes.
#[must_use]
pub fn header_item() -> Field {
    field("element", DataType::Struct(header_fields()))
}

fn field(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, false)
}

fn null(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

fn exchanges() -> Vec<Field> {
    let headers = || DataType::List(header_item().into());
    vec![
        field("id", DataType::UInt64),
        field("source", dictionary()),
        null("device", dictionary()),
        null("client", DataType::Utf8),
        null("server", DataType::Utf8),
        field("connection", DataType::UInt64),
        field("started", timestamp()),
        field("protocol", dictionary()),
        field("method", dictionary()),
        field("scheme", dictionary()),
        field("domain", dictionary()),
        null("type", dictionary()),
        field("category", dictionary()),
        field("port", DataType::UInt16),
        field("path", DataType::Utf8),
        field("query", DataType::Utf8),
        field("url", DataType::Utf8),
        field("endpoint", dictionary()),
        null("status", DataType::UInt16),
        null("reason", DataType::Utf8),
        null("error", DataType::Utf8),
        field("request_headers", headers()),
        field("response_headers", headers()),
        null("request_body", DataType::FixedSizeBinary(32)),
        null("response_body", DataType::FixedSizeBinary(32)),
        field("request_size", DataType::UInt64),
        field("response_size", DataType::UInt64),
        field("request_body_state", dictionary()),
        field("response_body_state", dictionary()),
        null("duration_us", DataType::UInt64),
        null("dns_us", DataType::UInt64),
        null("connect_us", DataType::UInt64),
        null("tls_us", DataType::UInt64),
        null("wait_us", DataType::UInt64),
        null("receive_us", DataType::UInt64),
        null("process", dictionary()),
        null("pid", DataType::UInt32),
        field("flags", DataType::UInt32),
    ]
}

fn bodies() -> Vec<Field> {
    vec![
        field("hash", DataType::FixedSizeBinary(32)),
        field("bytes", DataType::Binary),
        field("size", DataType::UInt64),
        null("encoding", dictionary()),
        field("first_seen", timestamp()),
    ]
}

fn messages() -> Vec<Field> {
    vec![
        field("exchange", DataType::UInt64),
        field("connection", DataType::UInt64),
        field("at", timestamp()),
        field("direction", dictionary()),
        field("kind", dictionary()),
        field("size", DataType::UInt64),
        field("state", dictionary()),
        null("payload", DataType::Binary),
        field("compressed", DataType::Boolean),
    ]
}

fn connections() -> Vec<Field> {
    vec![
        field("id", DataType::UInt64),
        field("source", dictionary()),
        null("device", dictionary()),
        null("client", DataType::Utf8),
        null("server", DataType::Utf8),
        null("domain", dictionary()),
        field("port", DataType::UInt16),
        field("opened", timestamp()),
        field("duration_us", DataType::UInt64),
        field("kind", dictionary()),
        null("sni", dictionary()),
        null("client_tls_version", dictionary()),
        null("client_tls_cipher", dictionary()),
        null("client_alpn", dictionary()),
        null("server_tls_version", dictionary()),
        null("server_tls_cipher", dictionary()),
        null("server_alpn", dictionary()),
        null("certificate_subject", dictionary()),
        null("certificate_issuer", dictionary()),
        null("certificate_not_after", timestamp()),
        field("exchanges", DataType::UInt64),
        field("sent_bytes", DataType::UInt64),
        field("received_bytes", DataType::UInt64),
        null("error", dictionary()),
        null("process", dictionary()),
        null("pid", DataType::UInt32),
        field("flags", DataType::UInt32),
    ]
}

fn cookies() -> Vec<Field> {
    vec![
        field("exchange", DataType::UInt64),
        field("at", timestamp()),
        field("direction", dictionary()),
        field("domain", dictionary()),
        field("path", dictionary()),
        field("name", dictionary()),
        field("value", DataType::Utf8),
        null("expires", timestamp()),
        null("max_age_s", DataType::Int64),
        field("secure", DataType::Boolean),
        field("http_only", DataType::Boolean),
        null("same_site", dictionary()),
        null("host_only", DataType::Boolean),
        field("last_seen", timestamp()),
        field("count", DataType::UInt64),
        null("refused", dictionary()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_table_has_its_time_column_and_no_name_twice() {
        for table in Table::ALL {
            let schema = schema(table);
            assert_eq!(schema.field_with_name(table.time_column()).expect("is there").data_type(), &timestamp());
            let mut names: Vec<_> = schema.fields().iter().map(|field| field.name()).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), schema.fields().len(), "{table}");
        }
    }
}

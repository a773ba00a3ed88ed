//! The columns of `exchanges`.

use arrow::{
    array::RecordBatch,
    datatypes::{UInt16Type, UInt32Type, UInt64Type},
    error::ArrowError,
};
use weir_engine::record::{BodyHash, Exchange, Fault, media, media::Category};

use super::{
    cache::{Addresses, Endpoints},
    numbers::{Optionals, numbers, times},
    text::{Hashes, HeaderLists, Texts, Words},
};
use crate::schema::{Table, schema};

/// Bytes of the columns of fixed width, a row.
const FIXED_BYTES: usize = 220;

/// Rows of `exchanges` being gathered.
#[derive(Default)]
pub(crate) struct Exchanges {
    id: Vec<u64>,
    source: Words,
    device: Words,
    client: Texts,
    server: Texts,
    connection: Vec<u64>,
    started: Vec<i64>,
    protocol: Words,
    method: Words,
    scheme: Words,
    domain: Words,
    media_type: Words,
    category: Words,
    port: Vec<u16>,
    path: Texts,
    query: Texts,
    url: Texts,
    endpoint: Words,
    status: Optionals<UInt16Type>,
    reason: Texts,
    error: Texts,
    request_headers: HeaderLists,
    response_headers: HeaderLists,
    request_body: Hashes,
    response_body: Hashes,
    request_size: Vec<u64>,
    response_size: Vec<u64>,
    request_body_state: Words,
    response_body_state: Words,
    duration_us: Optionals<UInt64Type>,
    dns_us: Optionals<UInt64Type>,
    connect_us: Optionals<UInt64Type>,
    tls_us: Optionals<UInt64Type>,
    wait_us: Optionals<UInt64Type>,
    receive_us: Optionals<UInt64Type>,
    process: Words,
    pid: Optionals<UInt32Type>,
    flags: Vec<u32>,
    addresses: Addresses,
    endpoints: Endpoints,
}

impl Exchanges {
    /// Adds a row. The hashes are those of the bodies, where they have one.
    pub(crate) fn push(&mut self, exchange: &Exchange, request: Option<&BodyHash>, response: Option<&BodyHash>) {
        self.push_origin(exchange);
        self.push_target(exchange);
        self.push_outcome(exchange);
        self.request_headers.push(&exchange.request_headers);
        self.response_headers.push(&exchange.response_headers);
        self.request_body.push(request);
        self.response_body.push(response);
        self.request_size.push(exchange.request_body.size);
        self.response_size.push(exchange.response_body.size);
        self.request_body_state.push(exchange.request_body.state.as_str());
        self.response_body_state.push(exchange.response_body.state.as_str());
    }

    fn push_origin(&mut self, exchange: &Exchange) {
        self.id.push(exchange.id);
        self.source.push(exchange.source.as_str());
        let label = exchange.device.as_deref().filter(|label| !label.is_empty());
        match exchange.client.map(|client| self.addresses.text(client)) {
            Some((client, address)) => {
                self.client.push(client);
                self.device.push(label.unwrap_or(address));
            }
            None => {
                self.client.push_option(None);
                self.device.push_option(label);
            }
        }
        self.server.push_option(exchange.server.map(|server| self.addresses.text(server).0));
        self.connection.push(exchange.connection);
        self.process.push_option(exchange.process.as_deref());
        self.pid.push(exchange.pid);
    }

    fn push_target(&mut self, exchange: &Exchange) {
        self.protocol.push(exchange.protocol.as_str());
        self.method.push(&exchange.method);
        let url = &exchange.url;
        self.scheme.push(url.scheme());
        self.domain.push(url.domain());
        self.port.push(url.port());
        self.path.push(url.path());
        self.query.push(url.query());
        self.url.push(url.as_str());
        let endpoint = self.endpoints.key(url.path(), &mut self.endpoint);
        self.endpoint.push_key(endpoint);
    }

    fn push_outcome(&mut self, exchange: &Exchange) {
        self.started.push(exchange.started_us);
        self.status.push(exchange.status);
        self.reason.push_option(exchange.reason.as_deref());
        self.error.push_option(exchange.error.map(Fault::as_str));
        match exchange.response_content_type().map(media::essence).filter(|essence| !essence.is_empty()) {
            Some(essence) => {
                self.media_type.push(&essence);
                self.category.push(Category::of(&essence).as_str());
            }
            None => {
                self.media_type.push_option(None);
                self.category.push(Category::None.as_str());
            }
        }
        let timings = &exchange.timings;
        self.duration_us.push(timings.duration_us);
        self.dns_us.push(timings.dns_us);
        self.connect_us.push(timings.connect_us);
        self.tls_us.push(timings.tls_us);
        self.wait_us.push(timings.wait_us);
        self.receive_us.push(timings.receive_us);
        self.flags.push(exchange.flags.0);
    }

    pub(crate) fn rows(&self) -> usize {
        self.id.len()
    }

    /// Bytes the columns take, about.
    pub(crate) fn byte_len(&self) -> usize {
        self.rows() * FIXED_BYTES
            + [&self.client, &self.server, &self.path, &self.query, &self.url, &self.reason, &self.error]
                .map(Texts::byte_len)
                .iter()
                .sum::<usize>()
            + [&self.domain, &self.endpoint, &self.device, &self.media_type].map(Words::byte_len).iter().sum::<usize>()
            + self.request_headers.byte_len()
            + self.response_headers.byte_len()
            + self.request_body.byte_len()
            + self.response_body.byte_len()
    }

    /// The rows as a batch; the columns are empty afterwards.
    pub(crate) fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        self.endpoints.forget();
        let columns = vec![
            numbers::<UInt64Type>(&mut self.id),
            self.source.finish()?,
            self.device.finish()?,
            self.client.finish()?,
            self.server.finish()?,
            numbers::<UInt64Type>(&mut self.connection),
            times(&mut self.started),
            self.protocol.finish()?,
            self.method.finish()?,
            self.scheme.finish()?,
            self.domain.finish()?,
            self.media_type.finish()?,
            self.category.finish()?,
            numbers::<UInt16Type>(&mut self.port),
            self.path.finish()?,
            self.query.finish()?,
            self.url.finish()?,
            self.endpoint.finish()?,
            self.status.finish(),
            self.reason.finish()?,
            self.error.finish()?,
            self.request_headers.finish()?,
            self.response_headers.finish()?,
            self.request_body.finish()?,
            self.response_body.finish()?,
            numbers::<UInt64Type>(&mut self.request_size),
            numbers::<UInt64Type>(&mut self.response_size),
            self.request_body_state.finish()?,
            self.response_body_state.finish()?,
            self.duration_us.finish(),
            self.dns_us.finish(),
            self.connect_us.finish(),
            self.tls_us.finish(),
            self.wait_us.finish(),
            self.receive_us.finish(),
            self.process.finish()?,
            self.pid.finish(),
            numbers::<UInt32Type>(&mut self.flags),
        ];
        RecordBatch::try_new(schema(Table::Exchanges), columns)
    }
}

#[cfg(test)]
mod tests {
    use arrow::{array::AsArray, datatypes::Int32Type};
    use weir_engine::record::{Headers, Url};

    use super::*;

    #[test]
    fn a_row_has_every_column() {
        let mut columns = Exchanges::default();
        let exchange = Exchange {
            id: 7,
            client: Some(([10, 0, 0, 1], 5).into()),
            url: Url::parse("http://A.example/users/17?x".into()).expect("parses"),
            method: "GET".into(),
            status: Some(200),
            response_headers: Headers::from_pairs([("Content-Type", "Application/JSON; a=b")]),
            ..Exchange::default()
        };
        columns.push(&exchange, None, Some(&[1; 32]));
        columns.push(&Exchange::default(), None, None);
        let batch = columns.finish().expect("fits the schema");
        assert_eq!(batch.num_rows(), 2);
        let word = |name: &str, row: usize| {
            let column = batch.column_by_name(name).expect("is there").as_dictionary::<Int32Type>();
            column.key(row).map(|key| column.values().as_string::<i32>().value(key).to_owned())
        };
        assert_eq!(word("device", 0).as_deref(), Some("10.0.0.1"));
        assert_eq!(word("endpoint", 0).as_deref(), Some("/users/{id}"));
        assert_eq!(word("type", 0).as_deref(), Some("application/json"));
        assert_eq!(word("category", 0).as_deref(), Some("json"));
        assert_eq!(word("domain", 0).as_deref(), Some("a.example"));
        assert_eq!(word("device", 1), None);
        assert_eq!(columns.finish().expect("is empty").num_rows(), 0);
    }
}

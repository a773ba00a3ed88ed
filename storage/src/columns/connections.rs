//! The columns of `connections`.

use arrow::{
    array::RecordBatch,
    datatypes::{TimestampMicrosecondType, UInt16Type, UInt32Type, UInt64Type},
    error::ArrowError,
};
use weir_engine::record::{Connection, Fault};

use super::{
    cache::Addresses,
    numbers::{Optionals, numbers, times},
    text::{Texts, Words},
};
use crate::schema::{Table, schema};

/// Rows of `connections` being gathered.
#[derive(Default)]
pub(crate) struct Connections {
    id: Vec<u64>,
    source: Words,
    device: Words,
    client: Texts,
    server: Texts,
    domain: Words,
    port: Vec<u16>,
    opened: Vec<i64>,
    duration_us: Vec<u64>,
    kind: Words,
    sni: Words,
    client_tls_version: Words,
    client_tls_cipher: Words,
    client_alpn: Words,
    server_tls_version: Words,
    server_tls_cipher: Words,
    server_alpn: Words,
    certificate_subject: Words,
    certificate_issuer: Words,
    certificate_not_after: Optionals<TimestampMicrosecondType>,
    exchanges: Vec<u64>,
    sent_bytes: Vec<u64>,
    received_bytes: Vec<u64>,
    error: Words,
    process: Words,
    pid: Optionals<UInt32Type>,
    flags: Vec<u32>,
    addresses: Addresses,
}

impl Connections {
    pub(crate) fn push(&mut self, connection: &Connection) {
        self.id.push(connection.id);
        self.source.push(connection.source.as_str());
        let label = connection.device.as_deref().filter(|label| !label.is_empty());
        match connection.client.map(|client| self.addresses.text(client)) {
            Some((client, address)) => {
                self.client.push(client);
                self.device.push(label.unwrap_or(address));
            }
            None => {
                self.client.push_option(None);
                self.device.push_option(label);
            }
        }
        self.server.push_option(connection.server.map(|server| self.addresses.text(server).0));
        self.domain.push_option(connection.domain.as_deref());
        self.port.push(connection.port);
        self.opened.push(connection.opened_us);
        self.duration_us.push(connection.duration_us);
        self.kind.push(connection.kind.as_str());
        self.sni.push_option(connection.sni.as_deref());
        let (client, server) = (&connection.client_tls, &connection.server_tls);
        self.client_tls_version.push_option(client.version.as_deref());
        self.client_tls_cipher.push_option(client.cipher.as_deref());
        self.client_alpn.push_option(client.alpn.as_deref());
        self.server_tls_version.push_option(server.version.as_deref());
        self.server_tls_cipher.push_option(server.cipher.as_deref());
        self.server_alpn.push_option(server.alpn.as_deref());
        self.certificate_subject.push_option(connection.certificate_subject.as_deref());
        self.certificate_issuer.push_option(connection.certificate_issuer.as_deref());
        self.certificate_not_after.push(connection.certificate_not_after_us);
        self.exchanges.push(connection.exchanges);
        self.sent_bytes.push(connection.sent_bytes);
        self.received_bytes.push(connection.received_bytes);
        self.error.push_option(connection.error.map(Fault::as_str));
        self.process.push_option(connection.process.as_deref());
        self.pid.push(connection.pid);
        self.flags.push(connection.flags.0);
    }

    pub(crate) fn rows(&self) -> usize {
        self.id.len()
    }

    pub(crate) fn byte_len(&self) -> usize {
        self.rows() * 200
            + self.client.byte_len()
            + self.server.byte_len()
            + [&self.domain, &self.sni, &self.certificate_subject, &self.certificate_issuer]
                .map(Words::byte_len)
                .iter()
                .sum::<usize>()
    }

    pub(crate) fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let columns = vec![
            numbers::<UInt64Type>(&mut self.id),
            self.source.finish()?,
            self.device.finish()?,
            self.client.finish()?,
            self.server.finish()?,
            self.domain.finish()?,
            numbers::<UInt16Type>(&mut self.port),
            times(&mut self.opened),
            numbers::<UInt64Type>(&mut self.duration_us),
            self.kind.finish()?,
            self.sni.finish()?,
            self.client_tls_version.finish()?,
            self.client_tls_cipher.finish()?,
            self.client_alpn.finish()?,
            self.server_tls_version.finish()?,
            self.server_tls_cipher.finish()?,
            self.server_alpn.finish()?,
            self.certificate_subject.finish()?,
            self.certificate_issuer.finish()?,
            self.certificate_not_after.finish_times(),
            numbers::<UInt64Type>(&mut self.exchanges),
            numbers::<UInt64Type>(&mut self.sent_bytes),
            numbers::<UInt64Type>(&mut self.received_bytes),
            self.error.finish()?,
            self.process.finish()?,
            self.pid.finish(),
            numbers::<UInt32Type>(&mut self.flags),
        ];
        RecordBatch::try_new(schema(Table::Connections), columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_every_column() {
        let mut columns = Connections::default();
        columns.push(&Connection { id: 1, error: Some(Fault::ClientRefusedCa), ..Connection::default() });
        let batch = columns.finish().expect("fits the schema");
        assert_eq!((batch.num_rows(), columns.rows()), (1, 0));
    }
}

//! Rows out of the lake, owned. Their serde form is the JSON of the command line and the API: keys are
//! columns, hashes are hexadecimal, times are RFC 3339.

use std::collections::BTreeSet;

use arrow::{array::RecordBatch, error::ArrowError};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::cell::{HashHex, HeaderLine, cell_of};
use crate::time::Timestamp;

macro_rules! row {
    (
        $(#[$attribute:meta])*
        pub struct $name:ident {
            $($(#[$field_attribute:meta])* $field:ident / $column:literal: $type:ty,)*
        }
        $(derived { $($(#[$derived_attribute:meta])* $derived:ident: $derived_type:ty = $make:expr,)* })?
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        pub struct $name {
            $($(#[$field_attribute])* #[serde(rename = $column)] pub $field: $type,)*
            $($($(#[$derived_attribute])* pub $derived: $derived_type,)*)?
        }

        impl $name {
            /// The columns a row is made of.
            #[must_use]
            pub(crate) fn columns() -> BTreeSet<&'static str> {
                BTreeSet::from([$($column,)*])
            }

            /// Reads rows of a batch by their numbers; its columns are looked up once.
            pub(crate) fn reader(batch: &RecordBatch) -> impl Fn(usize) -> Result<Self, ArrowError> {
                let columns = [$(batch.column_by_name($column)),*];
                move |row| {
                    let mut columns = columns.iter().copied();
                    $(let $field: $type = cell_of(columns.next().flatten(), $column, row)?;)*
                    $($(let $derived = $make;)*)?
                    Ok(Self { $($field,)* $($($derived,)*)? })
                }
            }
        }
    };
}

row! {
    /// One exchange: the columns of `exchanges`, and the cookies in its headers.
    pub struct ExchangeRow {
        /// Position in the session.
        id / "id": u64,
        /// Way into weir.
        source / "source": String,
        /// Label of the client.
        device / "device": Option<String>,
        /// Address and port of the client.
        client / "client": Option<String>,
        /// Address and port of the server.
        server / "server": Option<String>,
        /// Row in `connections`.
        connection / "connection": u64,
        /// First byte of the request.
        started / "started": Timestamp,
        /// Version of the request.
        protocol / "protocol": String,
        /// Method, case as seen.
        method / "method": String,
        /// Scheme of the URL.
        scheme / "scheme": String,
        /// Host, lower case, no port.
        domain / "domain": String,
        /// Media type of the response without parameters.
        media_type / "type": Option<String>,
        /// Group of media types.
        category / "category": String,
        /// Port as requested.
        port / "port": u16,
        /// Path of the URL.
        path / "path": String,
        /// Query of the URL.
        query / "query": String,
        /// The complete URL.
        url / "url": String,
        /// Path with ids replaced.
        endpoint / "endpoint": String,
        /// Status code; none: no response seen.
        status / "status": Option<u16>,
        /// Reason phrase.
        reason / "reason": Option<String>,
        /// Stable code of what went wrong.
        error / "error": Option<String>,
        /// Header lines of the request.
        request_headers / "request_headers": Vec<HeaderLine>,
        /// Header lines of the response.
        response_headers / "response_headers": Vec<HeaderLine>,
        /// Key of the request body in `bodies`.
        request_body / "request_body": Option<HashHex>,
        /// Key of the response body in `bodies`.
        response_body / "response_body": Option<HashHex>,
        /// Request body bytes on the wire.
        request_size / "request_size": u64,
        /// Response body bytes on the wire.
        response_size / "response_size": u64,
        /// What became of the request body.
        request_body_state / "request_body_state": String,
        /// What became of the response body.
        response_body_state / "response_body_state": String,
        /// Request start to response end.
        duration_us / "duration_us": Option<u64>,
        /// Name look-up.
        dns_us / "dns_us": Option<u64>,
        /// TCP connect.
        connect_us / "connect_us": Option<u64>,
        /// TLS handshake.
        tls_us / "tls_us": Option<u64>,
        /// Request end to response start.
        wait_us / "wait_us": Option<u64>,
        /// Response start to response end.
        receive_us / "receive_us": Option<u64>,
        /// Process of the client.
        process / "process": Option<String>,
        /// Its process id.
        pid / "pid": Option<u32>,
        /// Oddities, a set of bits.
        flags / "flags": u32,
    }
    derived {
        /// Cookies sent and set, in the order of the header lines.
        cookies: Vec<Cookie> = cookies(&request_headers, &response_headers),
    }
}

row! {
    /// One message inside an exchange: the columns of `messages`.
    pub struct MessageRow {
        /// Exchange it belongs to.
        exchange / "exchange": u64,
        /// Connection it came on.
        connection / "connection": u64,
        /// Last byte of it.
        at / "at": Timestamp,
        /// `sent` or `received`.
        direction / "direction": String,
        /// `text`, `binary`, `event`, …
        kind / "kind": String,
        /// Payload bytes on the wire.
        size / "size": u64,
        /// What became of the payload.
        state / "state": String,
        /// The payload as the application sees it. In JSON: text, or `{"hex": …}` where it is not UTF-8.
        #[serde(with = "payload")]
        payload / "payload": Option<Bytes>,
        /// Whether it was compressed on the wire.
        compressed / "compressed": bool,
    }
}

row! {
    /// One connection: the columns of `connections`.
    pub struct ConnectionRow {
        /// Number in the session.
        id / "id": u64,
        /// Way into weir.
        source / "source": String,
        /// Label of the client.
        device / "device": Option<String>,
        /// Address and port of the client.
        client / "client": Option<String>,
        /// Address and port of the server.
        server / "server": Option<String>,
        /// Host asked for.
        domain / "domain": Option<String>,
        /// Port asked for.
        port / "port": u16,
        /// When it was accepted.
        opened / "opened": Timestamp,
        /// Accepted to closed.
        duration_us / "duration_us": u64,
        /// `plain`, `intercepted`, `tunnel`, `passthrough`.
        kind / "kind": String,
        /// Server name in the ClientHello.
        sni / "sni": Option<String>,
        /// TLS version between client and weir.
        client_tls_version / "client_tls_version": Option<String>,
        /// Cipher suite between client and weir.
        client_tls_cipher / "client_tls_cipher": Option<String>,
        /// ALPN protocol between client and weir.
        client_alpn / "client_alpn": Option<String>,
        /// TLS version between weir and server.
        server_tls_version / "server_tls_version": Option<String>,
        /// Cipher suite between weir and server.
        server_tls_cipher / "server_tls_cipher": Option<String>,
        /// ALPN protocol between weir and server.
        server_alpn / "server_alpn": Option<String>,
        /// Subject of the server's certificate.
        certificate_subject / "certificate_subject": Option<String>,
        /// Its issuer.
        certificate_issuer / "certificate_issuer": Option<String>,
        /// End of its validity.
        certificate_not_after / "certificate_not_after": Option<Timestamp>,
        /// Exchanges made on it.
        exchanges / "exchanges": u64,
        /// Bytes from the client.
        sent_bytes / "sent_bytes": u64,
        /// Bytes to the client.
        received_bytes / "received_bytes": u64,
        /// Stable code of what went wrong.
        error / "error": Option<String>,
        /// Process of the client.
        process / "process": Option<String>,
        /// Its process id.
        pid / "pid": Option<u32>,
        /// Oddities, a set of bits.
        flags / "flags": u32,
    }
}

row! {
    /// What a flush saw of a cookie: the columns of `cookies`.
    pub struct SeenCookie {
        /// Exchange that sent or set it, the last of the flush.
        exchange / "exchange": u64,
        /// First seen.
        at / "at": Timestamp,
        /// `sent` or `received`.
        direction / "direction": String,
        /// Host or domain it is for; of one that was sent, the host it was sent to.
        domain / "domain": String,
        /// Path it is for.
        path / "path": String,
        /// Its name.
        name / "name": String,
        /// Its value.
        value / "value": String,
        /// When it ends.
        expires / "expires": Option<Timestamp>,
        /// `Max-Age` as sent.
        max_age_s / "max_age_s": Option<i64>,
        /// Only over TLS.
        secure / "secure": bool,
        /// Not for scripts.
        http_only / "http_only": bool,
        /// `Strict`, `Lax`, `None`.
        same_site / "same_site": Option<String>,
        /// For that host alone; not known of one that was sent.
        host_only / "host_only": Option<bool>,
        /// Last seen.
        last_seen / "last_seen": Timestamp,
        /// How often.
        count / "count": u64,
        /// Why a browser would not keep it.
        refused / "refused": Option<String>,
    }
}

/// A cookie in the headers of an exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cookie {
    /// `sent` by the client (Cookie) or `received` from the server (Set-Cookie).
    pub direction: String,
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Cookies as RFC 6265 §5.2 and §5.4 read them, without attributes.
fn cookies(request: &[HeaderLine], response: &[HeaderLine]) -> Vec<Cookie> {
    let cookie = |direction: &str, pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or(("", pair));
        let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
        (!name.is_empty() || !value.is_empty()).then(|| Cookie { direction: direction.to_owned(), name, value })
    };
    let lines = |lines: &'_ [HeaderLine], name: &'static str| {
        lines
            .iter()
            .filter(move |line| line.name.eq_ignore_ascii_case(name))
            .map(|line| line.value.clone())
            .collect::<Vec<_>>()
    };
    let mut cookies = Vec::new();
    for line in lines(request, "cookie") {
        cookies.extend(line.split(';').filter_map(|pair| cookie("sent", pair)));
    }
    for line in lines(response, "set-cookie") {
        cookies.extend(cookie("received", line.split(';').next().unwrap_or_default()));
    }
    cookies
}

/// Payloads in JSON.
mod payload {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Form {
        Text(String),
        Hex { hex: String },
    }

    pub(super) fn serialize<S: Serializer>(payload: &Option<Bytes>, serializer: S) -> Result<S::Ok, S::Error> {
        let form = payload.as_ref().map(|bytes| match std::str::from_utf8(bytes) {
            Ok(text) => Form::Text(text.to_owned()),
            Err(_) => Form::Hex { hex: bytes.iter().map(|byte| format!("{byte:02x}")).collect() },
        });
        form.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Bytes>, D::Error> {
        let bytes = |form| match form {
            Form::Text(text) => Ok(Bytes::from(text)),
            Form::Hex { hex } => hex
                .as_bytes()
                .chunks(2)
                .map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()))
                .collect::<Option<Vec<u8>>>()
                .map(Bytes::from)
                .ok_or_else(|| de::Error::custom("not hexadecimal")),
        };
        Option::<Form>::deserialize(deserializer)?.map(bytes).transpose()
    }
}

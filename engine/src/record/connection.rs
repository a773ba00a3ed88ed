//! One transport connection of a client: the row of the `connections` table.

use std::{net::SocketAddr, sync::Arc};

use bytestring::ByteString;

use super::{Fault, Flags, Source};

/// How weir treated a connection (column `kind`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConnectionKind {
    /// HTTP in the clear: absolute-form requests to the proxy, or packets.
    #[default]
    Plain,
    /// CONNECT, TLS terminated by weir and recorded.
    Intercepted,
    /// CONNECT to something that is neither TLS nor HTTP: bytes passed through and counted.
    Tunnel,
    /// TLS passed through untouched because the host is on the passthrough list, or was learnt as pinned.
    Passthrough,
}

impl ConnectionKind {
    /// The word in the column.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Intercepted => "intercepted",
            Self::Tunnel => "tunnel",
            Self::Passthrough => "passthrough",
        }
    }
}

/// What a TLS handshake settled, on one side.
#[derive(Debug, Clone, Default)]
pub struct TlsDetails {
    /// `TLSv1.2`, `TLSv1.3`.
    pub version: Option<ByteString>,
    /// Cipher suite in IANA's name.
    pub cipher: Option<ByteString>,
    /// ALPN protocol settled, `h2` or `http/1.1`.
    pub alpn: Option<ByteString>,
}

/// One connection of a client, recorded when it ends.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    /// Number in the session, from 1.
    pub id: u64,
    /// Way into weir.
    pub source: Source,
    /// Label of the client.
    pub device: Option<Arc<str>>,
    /// Address of the client.
    pub client: Option<SocketAddr>,
    /// Address of the server, the last one dialled for it.
    pub server: Option<SocketAddr>,
    /// Host asked for by CONNECT, or by SNI, or the last Host; lower case, no port.
    pub domain: Option<ByteString>,
    /// Port asked for.
    pub port: u16,
    /// When it was accepted, microseconds since the Unix epoch.
    pub opened_us: i64,
    /// Accepted to closed, microseconds.
    pub duration_us: u64,
    /// How it was treated.
    pub kind: ConnectionKind,
    /// Server name the client sent in its ClientHello.
    pub sni: Option<ByteString>,
    /// TLS between client and weir.
    pub client_tls: TlsDetails,
    /// TLS between weir and server.
    pub server_tls: TlsDetails,
    /// Subject of the server's leaf certificate.
    pub certificate_subject: Option<ByteString>,
    /// Issuer of the server's leaf certificate.
    pub certificate_issuer: Option<ByteString>,
    /// End of validity of the server's leaf certificate, microseconds since the Unix epoch.
    pub certificate_not_after_us: Option<i64>,
    /// Exchanges that were made on it.
    pub exchanges: u64,
    /// Bytes from the client, inside the tunnel.
    pub sent_bytes: u64,
    /// Bytes to the client, inside the tunnel.
    pub received_bytes: u64,
    /// Why it failed or was cut.
    pub error: Option<Fault>,
    /// Process on this host, where known.
    pub process: Option<Arc<str>>,
    /// Process id on this host, where known.
    pub pid: Option<u32>,
    /// Oddities.
    pub flags: Flags,
}

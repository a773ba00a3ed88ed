//! Where the other rooms hook into the proxy's core: TLS interception and the set-up page.
//!
//! The core knows only these shapes. [`Interceptor`] is made by `tls`; the set-up page is a function
//! from a request head to an [`Answer`]. HTTP/2 is called from one place,
//! [`client::serve_decrypted`](crate::client), when an [`Interception`] settled on `h2`.

use std::{
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
};

use bytes::Bytes;
use bytestring::ByteString;
use futures_util::future::LocalBoxFuture;
use weir_engine::record::TlsDetails;

use crate::{client::Client, failure::Failure, message::RequestHead, setup::SetupResponse, stream::Stream};

/// A whole response that weir makes itself.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Value of Content-Type.
    pub content_type: ByteString,
    /// Further field lines.
    pub headers: Vec<(ByteString, ByteString)>,
    /// The body.
    pub body: Bytes,
}

impl From<SetupResponse> for Answer {
    fn from(response: SetupResponse) -> Self {
        let SetupResponse { status, content_type, headers, body } = response;
        Self { status, content_type, headers, body }
    }
}

/// Answers requests to the proxy itself; the address is the client's.
pub type SetupPage = dyn Fn(&RequestHead, SocketAddr) -> Answer + Send + Sync;

/// What the other rooms give the core at start.
#[derive(Clone, Default)]
pub struct Hooks {
    /// TLS; without it CONNECT to TLS is passed through.
    pub interceptor: Option<Arc<dyn Interceptor>>,
    /// The set-up page; without it requests to the proxy itself get a short explanation.
    pub setup: Option<Arc<SetupPage>>,
}

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hooks")
            .field("interceptor", &self.interceptor.is_some())
            .field("setup", &self.setup.is_some())
            .finish()
    }
}

/// HTTP version settled by ALPN (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Alpn {
    /// `http/1.1`, or nothing.
    #[default]
    Http11,
    /// `h2`.
    Http2,
}

/// What is known of the TLS connection to a server; shared by all exchanges on it.
#[derive(Debug, Clone, Default)]
pub struct ServerTls {
    /// Version, cipher, ALPN.
    pub details: TlsDetails,
    /// Subject of the leaf certificate.
    pub certificate_subject: Option<ByteString>,
    /// Issuer of the leaf certificate.
    pub certificate_issuer: Option<ByteString>,
    /// End of validity of the leaf certificate, microseconds since the Unix epoch.
    pub certificate_not_after_us: Option<i64>,
}

/// A connection to a server with TLS on it.
#[derive(Debug)]
pub struct Secured {
    /// Decrypted stream.
    pub stream: Stream,
    /// Settled version.
    pub alpn: Alpn,
    /// What the handshake told.
    pub tls: Rc<ServerTls>,
    /// How long the handshake took, microseconds.
    pub tls_us: u64,
}

/// A connection to a server that was made while intercepting, to be used for the first request.
#[derive(Debug)]
pub struct Upstream {
    /// The connection.
    pub secured: Secured,
    /// Address that was dialled.
    pub address: SocketAddr,
    /// Resolving took, microseconds.
    pub dns_us: Option<u64>,
    /// Connecting took, microseconds.
    pub connect_us: Option<u64>,
}

/// What became of a TLS connection inside CONNECT.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "made once a connection and taken apart at once")]
pub enum Interception {
    /// Decrypted: HTTP goes on inside.
    Decrypted {
        /// Decrypted stream to the client.
        client: Stream,
        /// Version settled with the client.
        alpn: Alpn,
        /// The client's side of TLS.
        tls: TlsDetails,
        /// Name the client asked for, lower case.
        sni: Option<ByteString>,
        /// The server connection, when it was needed to settle ALPN.
        upstream: Option<Upstream>,
        /// Why the server cannot be reached over TLS: each request is answered with this failure.
        failure: Option<Failure>,
    },
    /// Not to be decrypted: the core tunnels and counts. Bytes read are in the client's stream again.
    Passthrough {
        /// The untouched stream to the client.
        client: Stream,
        /// Name the client asked for.
        sni: Option<ByteString>,
    },
    /// The client's handshake failed; the connection is closed and the row carries the fault.
    Failed {
        /// Why.
        failure: Failure,
        /// Name the client asked for.
        sni: Option<ByteString>,
        /// What was settled so far.
        tls: TlsDetails,
    },
}

/// TLS for the core. Futures run on the worker that asked.
pub trait Interceptor: Send + Sync {
    /// Whether a client's connections to a host pass untouched (by configuration, or learnt).
    fn is_passthrough(&self, client: IpAddr, host: &str, port: u16) -> bool;

    /// The name asked for in a hello that passes untouched, lower case; `None` where the bytes are not all of it.
    fn name_asked_for(&self, hello: &[u8]) -> Option<ByteString>;

    /// Takes over a client whose first bytes look like a ClientHello (they are in the stream). The
    /// server is dialled with [`dial::dial`](crate::dial::dial), which honours the upstream proxy and
    /// refuses our own listeners.
    fn intercept<'a>(
        &'a self,
        context: &'a Rc<Client>,
        client: Stream,
        host: &'a str,
        port: u16,
    ) -> LocalBoxFuture<'a, Interception>;

    /// TLS towards a server on a dialled stream, verified for this name as configured, offering only these versions.
    fn secure<'a>(
        &'a self,
        stream: Stream,
        name: &'a str,
        offer: &'a [Alpn],
    ) -> LocalBoxFuture<'a, Result<Secured, Failure>>;
}

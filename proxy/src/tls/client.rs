//! TLS towards clients: answered with a leaf of our CA.
//!
//! In: streams whose next bytes look like TLS. Out: what the client asks for, a decision, and the decrypted
//! stream. Shared by all workers; everything remembered is bounded.
//!
//! What is kept between connections is the leaf of each host (in the [`Authority`]) and one key for session
//! tickets: tickets make clients resume without our keeping anything for them. A configuration for a
//! connection is a shallow copy of one template, some reference counts; there is nothing to cache in it.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytestring::ByteString;
use rustls::{
    ServerConfig,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout_at,
};
use tokio_rustls::{StartHandshake, server::TlsStream};
use weir_engine::record::TlsDetails;

use super::{
    Alpn, ClientTlsError, Hello, TlsSetupError,
    alpn::{Origins, Settlement},
    details, hello,
    passthrough::Passthrough,
    pinned::{Outcome, Pinned},
};
use crate::ca::{Authority, HostName};

/// What interception is told.
#[derive(Debug, Clone)]
pub struct ClientTlsOptions {
    /// Hosts to let through, in the form of [`Passthrough::parse`].
    pub passthrough: Vec<String>,
    /// Whether hosts whose clients refuse our CA are let through from then on.
    pub passthrough_pinned: bool,
    /// Longest a client may take for its hello, and again for the rest of the handshake.
    pub handshake_timeout: Duration,
}

impl Default for ClientTlsOptions {
    fn default() -> Self {
        Self { passthrough: Vec::new(), passthrough_pinned: false, handshake_timeout: Duration::from_secs(10) }
    }
}

/// Why a connection is let through untouched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetThrough {
    /// The list says so.
    Listed,
    /// The client refused our CA for this host before.
    Pinned,
    /// It is no HTTP by what the client offers.
    NotHttp,
}

/// What to do with a client whose hello was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Pass the bytes on untouched.
    LetThrough(LetThrough),
    /// Answer with this protocol; no server is needed for it.
    Answer(Option<Alpn>),
    /// Connect to the server first, offering [`BOTH`](super::alpn::BOTH), and answer what it chooses.
    AskOrigin,
}

/// A decrypted connection of a client.
#[derive(Debug)]
pub struct Intercepted<S> {
    /// The decrypted stream.
    pub stream: TlsStream<S>,
    /// Protocol settled; `None`: the client offered none, which means HTTP/1.1.
    pub alpn: Option<Alpn>,
    /// Name the client asked for, lower case.
    pub sni: Option<ByteString>,
    /// What the handshake settled.
    pub tls: TlsDetails,
}

/// TLS towards clients.
#[derive(Debug)]
pub struct ClientTls {
    authority: Arc<Authority>,
    template: ServerConfig,
    passthrough: Passthrough,
    pinned: Option<Mutex<Pinned>>,
    origins: Mutex<Origins>,
    handshake_timeout: Duration,
}

impl ClientTls {
    /// Sets interception up.
    ///
    /// # Errors
    /// When a passthrough rule cannot be read or rustls refuses the configuration.
    pub fn new(authority: Arc<Authority>, options: &ClientTlsOptions) -> Result<Self, TlsSetupError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut template = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(rustls::ALL_VERSIONS)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(NoLeaf));
        template.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        template.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self {
            authority,
            template,
            passthrough: Passthrough::parse(&options.passthrough)?,
            pinned: options.passthrough_pinned.then(Mutex::default),
            origins: Mutex::default(),
            handshake_timeout: options.handshake_timeout,
        })
    }

    /// The authority whose leaves are shown.
    #[must_use]
    pub fn authority(&self) -> &Arc<Authority> {
        &self.authority
    }

    /// Whether a client's connection to a host (of CONNECT, or SNI) is to be let through untouched.
    #[must_use]
    pub fn lets_through(&self, client: IpAddr, host: &str, port: u16) -> Option<LetThrough> {
        // What is no host is refused elsewhere, with a better message.
        let host = HostName::parse(host).ok()?;
        if self.passthrough.contains(&host, port) {
            return Some(LetThrough::Listed);
        }
        let pinned = self.pinned.as_ref()?;
        let pinned = pinned.lock().unwrap_or_else(PoisonError::into_inner).contains(client, &host, Instant::now());
        pinned.then_some(LetThrough::Pinned)
    }

    /// Reads a client's hello, bounded in size and time.
    ///
    /// # Errors
    /// When it is none, or does not come in time. What is not TLS has been answered with an alert.
    pub async fn read_hello<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Result<Hello<S>, ClientTlsError> {
        let deadline = tokio::time::Instant::now() + self.handshake_timeout;
        timeout_at(deadline, hello::read(stream))
            .await
            .unwrap_or_else(|_| Err(ClientTlsError::failed("The client's hello did not arrive in time.")))
    }

    /// What to do with a client, by its hello and what is known of the origin.
    #[must_use]
    pub fn decide<S>(&self, client: IpAddr, host: &str, port: u16, hello: &Hello<S>) -> Decision {
        let name = hello.sni().map_or(host, |sni| sni);
        if let Some(why) = self.lets_through(client, name, port) {
            return Decision::LetThrough(why);
        }
        let origin = || self.origins.lock().unwrap_or_else(PoisonError::into_inner).get(name, port, Instant::now());
        match hello.offer().settle(hello.offer().h2.then(origin).flatten()) {
            Settlement::Answer(alpn) => Decision::Answer(alpn),
            Settlement::AskOrigin => Decision::AskOrigin,
            Settlement::NotHttp => Decision::LetThrough(LetThrough::NotHttp),
        }
    }

    /// Remembers what an origin chose when it was offered [`BOTH`](super::alpn::BOTH). `name` is what the client asked
    /// for (SNI, or the host of CONNECT), lower case.
    pub fn learn_origin(&self, name: &str, port: u16, chosen: Option<Alpn>) {
        let mut origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
        origins.learn(name, port, chosen, Instant::now());
    }

    /// Takes in what became of a connection after its handshake: [`Outcome::Served`] with its first request,
    /// [`Outcome::ClosedUnused`] when there came none. (Failures of the handshake are taken in by itself.)
    pub fn note(&self, client: IpAddr, name: &str, outcome: Outcome) {
        if let (Some(pinned), Ok(host)) = (&self.pinned, HostName::parse(name)) {
            let mut pinned = pinned.lock().unwrap_or_else(PoisonError::into_inner);
            pinned.note(client, &host, outcome, Instant::now());
        }
    }

    /// Completes the handshake with a leaf for the name the client asked for, or the host of CONNECT.
    ///
    /// # Errors
    /// When the client refuses our CA, or the handshake fails otherwise or takes too long.
    pub async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        client: IpAddr,
        hello: Hello<S>,
        connect_host: &str,
        alpn: Option<Alpn>,
    ) -> Result<Intercepted<S>, ClientTlsError> {
        let sni = hello.sni().cloned();
        let with_sni = |error: ClientTlsError| ClientTlsError { sni: sni.clone(), ..error };
        let name = hello.name(connect_host).map_err(|error| with_sni(ClientTlsError::failed(error.to_string())))?;
        let leaf =
            self.authority.leaf_for(&name).map_err(|error| with_sni(ClientTlsError::failed(error.to_string())))?;
        let mut config = self.template.clone();
        config.cert_resolver = Arc::new(OneLeaf(leaf));
        config.alpn_protocols = alpn.map(|alpn| alpn.as_str().as_bytes().to_vec()).into_iter().collect();

        let version = hello.version();
        let Hello { stream, accepted, raw, rest, .. } = hello;
        let handshake = StartHandshake::from_parts(accepted, stream).into_stream_with(Arc::new(config), |connection| {
            let mut unread = &raw[rest..];
            while !unread.is_empty() {
                // What does not fit is more than a client may send before our answer; the handshake will fail on it.
                match connection.read_tls(&mut unread) {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                }
            }
        });
        let deadline = tokio::time::Instant::now() + self.handshake_timeout;
        let stream = match timeout_at(deadline, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                let mut error = with_sni(ClientTlsError::of_handshake(&error, &name.to_string()));
                if error.outcome.is_some() {
                    // It ended on our certificate, so the version had been settled.
                    error.tls.version = Some(ByteString::from_static(version));
                }
                if let (Some(pinned), Some(outcome)) = (&self.pinned, error.outcome) {
                    let mut pinned = pinned.lock().unwrap_or_else(PoisonError::into_inner);
                    pinned.note(client, &name, outcome, Instant::now());
                }
                return Err(error);
            }
            Err(_) => {
                return Err(with_sni(ClientTlsError::failed("The client did not complete the TLS handshake in time.")));
            }
        };
        let tls = details(stream.get_ref().1);
        let alpn = stream.get_ref().1.alpn_protocol().and_then(Alpn::from_bytes);
        Ok(Intercepted { stream, alpn, sni, tls })
    }
}

/// Stands in the template, which is never used itself.
#[derive(Debug)]
struct NoLeaf;

impl ResolvesServerCert for NoLeaf {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

/// The leaf of one connection, whatever name is asked for: it was made for that name.
#[derive(Debug)]
struct OneLeaf(Arc<CertifiedKey>);

impl ResolvesServerCert for OneLeaf {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

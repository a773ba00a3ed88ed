//! TLS towards servers: verified as configured, with the protocols the client offers.
//!
//! In: a dialled stream, the host, the protocols to offer. Out: the decrypted stream with what the handshake settled
//! and what the server's certificate says. Shared by all workers; sessions are kept for resumption, bounded.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytestring::ByteString;
use rustls::{ClientConfig, HandshakeKind, client::Resumption};
use rustls_pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use weir_engine::record::{Fault, TlsDetails};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Alpn, TlsSetupError, UpstreamTlsError, details, verifier::Verifier};
use crate::ca::HostName;

/// Sessions that are kept for resumption, over all servers.
const SESSIONS: usize = 4_096;

/// What the connector is told.
#[derive(Debug, Clone)]
pub struct UpstreamTlsOptions {
    /// PEM (or DER) files with authorities trusted beside the system's (`--upstream-ca`).
    pub extra_ca: Vec<PathBuf>,
    /// Accept any certificate (`--insecure-upstream`).
    pub insecure: bool,
    /// Longest a handshake may take.
    pub handshake_timeout: Duration,
}

impl Default for UpstreamTlsOptions {
    fn default() -> Self {
        Self { extra_ca: Vec::new(), insecure: false, handshake_timeout: Duration::from_secs(10) }
    }
}

/// What a server's leaf certificate says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Subject.
    pub subject: Option<ByteString>,
    /// Issuer.
    pub issuer: Option<ByteString>,
    /// End of validity, for people.
    pub not_after: Option<ByteString>,
    /// End of validity, microseconds since the Unix epoch.
    pub not_after_us: Option<i64>,
}

/// A decrypted connection to a server.
#[derive(Debug)]
pub struct UpstreamStream<S> {
    /// The decrypted stream.
    pub stream: TlsStream<S>,
    /// What the server chose; `None` means HTTP/1.1.
    pub alpn: Option<Alpn>,
    /// What the handshake settled.
    pub tls: TlsDetails,
    /// What the server's certificate says.
    pub certificate: CertificateFacts,
    /// Whether a former session was resumed.
    pub resumed: bool,
}

/// TLS towards servers.
#[derive(Debug, Clone)]
pub struct UpstreamTls {
    template: ClientConfig,
    /// For the offers that are made nearly always.
    both: Arc<ClientConfig>,
    http11: Arc<ClientConfig>,
    handshake_timeout: Duration,
}

impl UpstreamTls {
    /// Loads the system's roots and the extra authorities.
    ///
    /// # Errors
    /// When an extra file cannot be read, or rustls refuses the configuration.
    pub fn new(options: &UpstreamTlsOptions) -> Result<Self, TlsSetupError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = Verifier::new(&options.extra_ca, options.insecure, Arc::clone(&provider))?;
        let mut template = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(rustls::ALL_VERSIONS)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        template.resumption = Resumption::in_memory_sessions(SESSIONS);
        let both = Arc::new(offering(&template, super::alpn::BOTH));
        let http11 = Arc::new(offering(&template, super::alpn::HTTP_11));
        Ok(Self { template, both, http11, handshake_timeout: options.handshake_timeout })
    }

    /// TLS on a dialled stream. `host` is what the certificate has to be for, and SNI unless it is an address;
    /// `offer` is offered by ALPN in this order.
    ///
    /// # Errors
    /// Why it failed: the row's code, a sentence with what to do, and the certificate when it came that far.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        host: &HostName,
        offer: &[Alpn],
    ) -> Result<UpstreamStream<S>, UpstreamTlsError> {
        let config = match offer {
            super::alpn::BOTH => Arc::clone(&self.both),
            super::alpn::HTTP_11 => Arc::clone(&self.http11),
            offer => Arc::new(offering(&self.template, offer)),
        };
        let handshake = TlsConnector::from(config).connect(host.to_server_name(), stream);
        let stream = match timeout(self.handshake_timeout, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(UpstreamTlsError::of_handshake(&error, &host.to_string())),
            Err(_) => {
                return Err(UpstreamTlsError {
                    fault: Fault::ServerTimeout,
                    detail: format!("{host} did not complete the TLS handshake within {:?}.", self.handshake_timeout),
                    certificate: None,
                });
            }
        };
        let connection = stream.get_ref().1;
        let certificate = connection.peer_certificates().and_then(<[_]>::first).map(facts).unwrap_or_default();
        let alpn = connection.alpn_protocol().and_then(Alpn::from_bytes);
        let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        Ok(UpstreamStream { alpn, tls: details(connection), certificate, resumed, stream })
    }
}

fn offering(template: &ClientConfig, offer: &[Alpn]) -> ClientConfig {
    let mut config = template.clone();
    config.alpn_protocols = offer.iter().map(|alpn| alpn.as_str().as_bytes().to_vec()).collect();
    config
}

/// Longest name that is kept of a certificate.
const NAME_LIMIT: usize = 512;

/// Reads what the record wants of a certificate; nothing where it cannot be parsed.
pub(super) fn facts(certificate: &CertificateDer<'_>) -> CertificateFacts {
    let Ok((_, x509)) = X509Certificate::from_der(certificate) else {
        return CertificateFacts::default();
    };
    let name = |name: String| ByteString::from(name.chars().take(NAME_LIMIT).collect::<String>());
    let not_after = x509.validity().not_after;
    CertificateFacts {
        subject: Some(name(x509.subject().to_string())),
        issuer: Some(name(x509.issuer().to_string())),
        not_after: Some(not_after.to_string().into()),
        not_after_us: not_after.timestamp().checked_mul(1_000_000),
    }
}

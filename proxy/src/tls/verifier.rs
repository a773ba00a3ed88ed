//! Judges the certificates of servers: against the system's roots and extra authorities, or not at all.
//!
//! In: certificate chains, the name that was asked for, the time. Out: yes, or an error that carries the row's
//! code, a sentence and the facts of the certificate ([`UpstreamTlsError`] inside rustls' own).

use std::{fs, path::PathBuf, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::CryptoProvider,
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};

use super::{
    TlsSetupError, UpstreamTlsError,
    upstream::{CertificateFacts, facts},
};

/// The verifier of all connections to servers.
#[derive(Debug)]
pub(super) struct Verifier {
    /// `None`: there is not one root.
    webpki: Option<Arc<WebPkiServerVerifier>>,
    /// Certificates that were given with `--upstream-ca`: such a one is also accepted as a server's own, which is
    /// how self-signed development servers are trusted.
    given: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
    insecure: bool,
}

impl Verifier {
    /// Loads the system's roots (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured) and the extra files.
    pub(super) fn new(
        extra_ca: &[PathBuf],
        insecure: bool,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, TlsSetupError> {
        let mut roots = RootCertStore::empty();
        let mut given = Vec::new();
        for path in extra_ca {
            let failed = |reason: String| TlsSetupError::ExtraCa { path: path.clone(), reason };
            let bytes = fs::read(path).map_err(|error| failed(error.to_string()))?;
            let certificates: Vec<CertificateDer<'static>> = if bytes.first() == Some(&0x30) {
                vec![bytes.into()]
            } else {
                CertificateDer::pem_slice_iter(&bytes)
                    .collect::<Result<_, _>>()
                    .map_err(|error| failed(error.to_string()))?
            };
            if certificates.is_empty() {
                return Err(failed("it has no CERTIFICATE block".to_owned()));
            }
            for certificate in certificates {
                roots.add(certificate.clone()).map_err(|error| failed(error.to_string()))?;
                given.push(certificate);
            }
        }
        if !insecure {
            let system = rustls_native_certs::load_native_certs();
            for error in &system.errors {
                tracing::warn!(%error, "a root certificate of the system cannot be read");
            }
            let (added, ignored) = roots.add_parsable_certificates(system.certs);
            tracing::debug!(added, ignored, "root certificates of the system");
            if added == 0 {
                tracing::warn!("the system has no root certificates; install ca-certificates");
            }
        }
        let webpki = if roots.is_empty() {
            None
        } else {
            let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
            Some(built.map_err(|error| Error::General(error.to_string()))?)
        };
        Ok(Self { webpki, given, provider, insecure })
    }

    fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.given.iter().any(|given| given == end_entity) {
            let facts = facts(end_entity);
            let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX).saturating_mul(1_000_000);
            if facts.not_after_us.is_some_and(|end| now > end) {
                return Err(CertificateError::Expired.into());
            }
            return verify_server_name(&ParsedCertificate::try_from(end_entity)?, name);
        }
        let webpki = self.webpki.as_ref().ok_or(CertificateError::UnknownIssuer)?;
        webpki.verify_server_cert(end_entity, intermediates, name, ocsp_response, now).map(|_| ())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.insecure {
            return Ok(ServerCertVerified::assertion());
        }
        let Err(error) = self.judge(end_entity, intermediates, name, ocsp_response, now) else {
            return Ok(ServerCertVerified::assertion());
        };
        let reason = match error {
            Error::InvalidCertificate(reason) => reason,
            other => CertificateError::Other(OtherError(Arc::new(other))),
        };
        let certificate: Box<CertificateFacts> = Box::new(facts(end_entity));
        let rejected = UpstreamTlsError::of_certificate(&reason, &name.to_str(), Some(certificate));
        Err(CertificateError::Other(OtherError(Arc::new(rejected))).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.insecure {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.insecure {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

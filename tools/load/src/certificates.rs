//! An authority for the origin, and whom the generator trusts.

use std::{fs, net::IpAddr, path::Path, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};

use crate::LoadError;

/// The origin's certificate, and the authority that signed it as PEM where it was made here.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// The authority as PEM; `None` when the files were given.
    pub authority: Option<String>,
}

fn failed<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> LoadError + use<'_, E> {
    move |why| LoadError::Certificate { what: what.to_owned(), why: why.to_string() }
}

impl Identity {
    /// A new authority and a leaf for localhost, the loopback addresses and `names`.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn make(names: &[String]) -> Result<Self, LoadError> {
        let made = |error| failed::<rcgen::Error>("the origin's certificate")(error);
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, "weir load origin");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let authority_key = KeyPair::generate().map_err(made)?;
        let authority_certificate = authority.self_signed(&authority_key).map_err(made)?;
        let own = ["localhost", "127.0.0.1", "::1"].into_iter().map(str::to_owned);
        let mut leaf = CertificateParams::default();
        leaf.distinguished_name.push(DnType::CommonName, "localhost");
        for name in own.chain(names.iter().cloned()) {
            leaf.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.try_into().map_err(made)?),
            });
        }
        let leaf_key = KeyPair::generate().map_err(made)?;
        let issuer = Issuer::new(authority, authority_key);
        let certificate = leaf.signed_by(&leaf_key, &issuer).map_err(made)?;
        Ok(Self {
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::Pkcs8(leaf_key.serialize_der().into()),
            authority: Some(authority_certificate.pem()),
        })
    }

    /// From PEM files.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn load(chain: &Path, key: &Path) -> Result<Self, LoadError> {
        let what = |path: &Path| path.display().to_string();
        let certificates = CertificateDer::pem_file_iter(chain).and_then(Iterator::collect);
        Ok(Self {
            chain: certificates.map_err(failed(&what(chain)))?,
            key: PrivateKeyDer::from_pem_file(key).map_err(failed(&what(key)))?,
            authority: None,
        })
    }

    /// The server's side of TLS, HTTP/2 preferred.
    pub(crate) fn server(&self) -> Result<ServerConfig, LoadError> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder.with_no_client_auth().with_single_cert(self.chain.clone(), self.key.clone_key())
            })
            .map_err(failed("the origin's certificate"))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// Whom the generator trusts.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Authorities in PEM files beside the system's.
    pub authorities: Vec<std::path::PathBuf>,
    /// Any certificate will do.
    pub insecure: bool,
}

impl Trust {
    /// The client's side of TLS.
    pub(crate) fn client(&self, http2: bool) -> Result<Arc<ClientConfig>, LoadError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(failed("TLS"))?;
        let mut config = if self.insecure {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider()))).with_no_client_auth()
        } else {
            builder.with_root_certificates(self.roots()?).with_no_client_auth()
        };
        config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, LoadError> {
        let mut roots = RootCertStore::empty();
        // Single certificates of the system that cannot be read are left out, as everywhere.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for path in &self.authorities {
            let what = path.display().to_string();
            let bytes = fs::read(path).map_err(LoadError::file(path))?;
            for certificate in CertificateDer::pem_slice_iter(&bytes) {
                roots.add(certificate.map_err(failed(&what))?).map_err(failed(&what))?;
            }
        }
        Ok(roots)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Believes everyone (`--insecure`).
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

//! The authority in use: loads or makes the CA, signs leaves and keeps them.
//!
//! In: a folder, host names. Out: leaves as rustls takes them, and the CA certificate for users.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rcgen::KeyPair;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use time::{Duration, OffsetDateTime};

use super::{CaError, HostName, encoding, files, import, issue, mobileconfig, pkcs12};
use crate::generations::Generations;

/// File name of the certificate in the CA's folder.
pub const CERTIFICATE_FILE: &str = "weir-proxy-ca.crt";
/// File name of the key in the CA's folder.
pub const KEY_FILE: &str = "weir-proxy-ca.key";

/// Hosts whose leaves are kept. A leaf takes about 1 KiB; signing one anew takes tens of microseconds.
const LEAVES: usize = 4_096;
/// After this time a leaf is made anew: long before it ends, so that none ever runs out in use.
const LEAF_RENEWAL: Duration = Duration::days(60);

/// A leaf in the cache.
struct Leaf {
    key: Arc<CertifiedKey>,
    renew_at: OffsetDateTime,
}

/// A certificate authority in use: signs leaves on demand and keeps them.
///
/// One leaf key serves all hosts of a process: it lives in memory only, as long as the process, and whoever
/// could read it there could read the CA key as well. A key for each host would cost its generation at each
/// new host and protect nothing.
pub struct Authority {
    dir: Option<PathBuf>,
    ca: import::Pair,
    fingerprint: [u8; 32],
    leaf_key: KeyPair,
    signing_key: Arc<dyn SigningKey>,
    leaves: Mutex<Generations<HostName, Leaf>>,
}

impl Authority {
    /// Loads the CA of a folder, or makes one there on first use. Processes that do so at once get the same.
    ///
    /// # Errors
    /// When files cannot be read or written, others may read the key, or the pair in the folder is not usable.
    pub fn load_or_create(dir: &Path) -> Result<Self, CaError> {
        let _lock = files::lock(dir)?;
        let now = now();
        let (certificate_path, key_path) = (dir.join(CERTIFICATE_FILE), dir.join(KEY_FILE));
        let pair = match (files::read(&certificate_path)?, files::read(&key_path)?) {
            (Some(certificate), Some(key)) => {
                files::check_key_mode(&key_path)?;
                import::read_pair(
                    &certificate,
                    &certificate_path.display().to_string(),
                    &key,
                    &key_path.display().to_string(),
                    now,
                )?
            }
            (Some(_), None) => return Err(CaError::KeyMissing { certificate: certificate_path, key: key_path }),
            // A key alone is what a crash between the two writes leaves; nobody has seen a certificate of it.
            (None, _) => {
                let (pair, certificate_pem) = new_pair(now)?;
                files::write(&key_path, pair.key_pem.as_bytes(), 0o600)?;
                files::write(&certificate_path, certificate_pem.as_bytes(), 0o644)?;
                pair
            }
        };
        Self::with_pair(pair, Some(dir.to_owned()))
    }

    /// The CA of a folder when there is one; makes none.
    ///
    /// # Errors
    /// As [`load_or_create`](Self::load_or_create).
    pub fn load(dir: &Path) -> Result<Option<Self>, CaError> {
        if dir.join(CERTIFICATE_FILE).exists() { Self::load_or_create(dir).map(Some) } else { Ok(None) }
    }

    /// A CA in memory only, for tests and trials.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn ephemeral() -> Result<Self, CaError> {
        Self::with_pair(new_pair(now())?.0, None)
    }

    /// Puts an existing CA in the folder: a certificate (PEM with the chain above it, or DER) and its key (PEM or
    /// DER; PKCS#8, SEC1 or PKCS#1). A CA that was there is kept beside it as `*.previous`.
    ///
    /// # Errors
    /// When the two do not match, the certificate is no CA or not valid now, leaves signed by it would not be
    /// accepted, or the files cannot be written.
    pub fn import(dir: &Path, certificate: &[u8], key: &[u8]) -> Result<Self, CaError> {
        let pair = import::read_pair(certificate, "the certificate file", key, "the key file", now())?;
        let key_pem = pair.key_pem.clone();
        let certificate_pem: String = pair.chain.iter().map(|der| encoding::pem("CERTIFICATE", der)).collect();
        let authority = Self::with_pair(pair, Some(dir.to_owned()))?;
        authority.check_trial_leaf()?;
        let _lock = files::lock(dir)?;
        let (certificate_path, key_path) = (dir.join(CERTIFICATE_FILE), dir.join(KEY_FILE));
        files::set_aside(&certificate_path)?;
        files::set_aside(&key_path)?;
        files::write(&key_path, key_pem.as_bytes(), 0o600)?;
        files::write(&certificate_path, certificate_pem.as_bytes(), 0o644)?;
        Ok(authority)
    }

    fn with_pair(ca: import::Pair, dir: Option<PathBuf>) -> Result<Self, CaError> {
        let leaf_key = KeyPair::generate()?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
        let signing_key = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&der)
            .map_err(|error| CaError::Crypto(error.to_string()))?;
        let fingerprint = encoding::sha256(&ca.chain[0]);
        Ok(Self { dir, ca, fingerprint, leaf_key, signing_key, leaves: Mutex::new(Generations::new(LEAVES)) })
    }

    /// A leaf certificate and its key for a host (name or address, as it stood in CONNECT or SNI), from the cache
    /// or signed now.
    ///
    /// # Errors
    /// [`CaError::BadHost`] when no certificate can be made for that name.
    pub fn leaf(&self, host: &str) -> Result<Arc<CertifiedKey>, CaError> {
        self.leaf_for(&HostName::parse(host)?)
    }

    /// As [`leaf`](Self::leaf), for a name that was checked before.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn leaf_for(&self, host: &HostName) -> Result<Arc<CertifiedKey>, CaError> {
        self.leaf_at(host, now())
    }

    pub(super) fn leaf_at(&self, host: &HostName, now: OffsetDateTime) -> Result<Arc<CertifiedKey>, CaError> {
        let cached = |leaf: &mut Leaf| (now < leaf.renew_at).then(|| Arc::clone(&leaf.key));
        let hit = self.leaves.lock().unwrap_or_else(PoisonError::into_inner).get(host).and_then(cached);
        if let Some(hit) = hit {
            return Ok(hit);
        }
        // Signed outside the lock: two threads may both sign for a new host, which harms nothing.
        let certificate = issue::leaf_certificate(host, &self.leaf_key, &self.ca.issuer, self.ca.validity, now)?;
        let mut chain = vec![CertificateDer::from(certificate)];
        if !self.ca.self_issued {
            chain.extend(self.ca.chain.iter().cloned());
        }
        let key = Arc::new(CertifiedKey::new(chain, Arc::clone(&self.signing_key)));
        let leaf = Leaf { key: Arc::clone(&key), renew_at: now + LEAF_RENEWAL };
        self.leaves.lock().unwrap_or_else(PoisonError::into_inner).insert(host.clone(), leaf);
        Ok(key)
    }

    /// Whether a leaf of this CA would be accepted by a client that trusts it: the subject's encoding, the
    /// algorithm, the path length are all in what webpki checks.
    fn check_trial_leaf(&self) -> Result<(), CaError> {
        let unusable =
            |error: rustls::Error| CaError::Unusable { subject: self.ca.subject.clone(), reason: error.to_string() };
        let host = HostName::parse("weir.proxy")?;
        let leaf = self.leaf_for(&host)?;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.ca.chain[0].clone()).map_err(unusable)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| unusable(rustls::Error::General(error.to_string())))?;
        rustls::client::danger::ServerCertVerifier::verify_server_cert(
            &*verifier,
            &leaf.cert[0],
            &leaf.cert[1..],
            &host.to_server_name(),
            &[],
            UnixTime::now(),
        )
        .map_err(unusable)?;
        Ok(())
    }

    /// Where the certificate lies; `None` for one in memory only.
    #[must_use]
    pub fn certificate_path(&self) -> Option<PathBuf> {
        self.dir.as_ref().map(|dir| dir.join(CERTIFICATE_FILE))
    }

    /// The CA certificate as a PEM block.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        encoding::pem("CERTIFICATE", &self.ca.chain[0])
    }

    /// The CA certificate in DER.
    #[must_use]
    pub fn certificate_der(&self) -> &[u8] {
        &self.ca.chain[0]
    }

    /// SHA-256 of the CA certificate, `AB:CD:…` as browsers show it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        encoding::colon_hex(&self.fingerprint)
    }

    /// SHA-256 of the CA certificate.
    #[must_use]
    pub fn fingerprint_bytes(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// Common name of the CA certificate.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.ca.common_name
    }

    /// Subject of the CA certificate, for people.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.ca.subject
    }

    /// Begin and end of the CA certificate's validity, seconds since the Unix epoch.
    #[must_use]
    pub fn validity(&self) -> (i64, i64) {
        (self.ca.validity.0.unix_timestamp(), self.ca.validity.1.unix_timestamp())
    }

    /// The CA certificate as a PKCS#12 file without a key; its password is [`PKCS12_PASSWORD`](super::PKCS12_PASSWORD).
    #[must_use]
    pub fn pkcs12(&self) -> Vec<u8> {
        pkcs12::encode(self.certificate_der(), self.name())
    }

    /// The CA certificate as an Apple configuration profile.
    #[must_use]
    pub fn mobileconfig(&self) -> String {
        mobileconfig::encode(self.certificate_der(), self.name(), &self.fingerprint)
    }
}

impl std::fmt::Debug for Authority {
    /// Leaves the keys out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("dir", &self.dir)
            .field("subject", &self.ca.subject)
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

/// A new CA and its certificate in PEM.
fn new_pair(now: OffsetDateTime) -> Result<(import::Pair, String), CaError> {
    let key = KeyPair::generate()?;
    let short_id: String =
        encoding::sha256(key.public_key_raw())[..3].iter().map(|byte| format!("{byte:02x}")).collect();
    let machine = rustix::system::uname();
    let certificate = issue::ca_certificate(&key, &machine.nodename().to_string_lossy(), &short_id, now)?;
    let pem = encoding::pem("CERTIFICATE", certificate.der());
    let pair = import::read_pair(certificate.der(), "the new certificate", key.serialized_der(), "the new key", now)?;
    Ok((pair, pem))
}

pub(super) fn now() -> OffsetDateTime {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    OffsetDateTime::UNIX_EPOCH + since_epoch
}

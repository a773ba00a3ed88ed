//! What can go wrong with the certificate authority, each with what to do.

use std::path::PathBuf;

/// An error of the certificate authority.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaError {
    /// A file or folder of the CA cannot be read or written.
    #[error("cannot {action} {}: {source}; check the folder's owner and free space, or choose another with --home", path.display())]
    Io {
        /// What was tried (`read`, `write`, …).
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Others than the owner may read the key.
    #[error("the CA key {} can be read by others (mode {mode:04o}); run: chmod 600 {}", path.display(), path.display())]
    LoosePermissions {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The certificate is there without its key.
    #[error("{} is there but its key {} is missing; put the key back, or remove the certificate to have a new CA made", certificate.display(), key.display())]
    KeyMissing {
        /// The certificate file.
        certificate: PathBuf,
        /// Where its key should be.
        key: PathBuf,
    },
    /// A file holds no certificate.
    #[error("no certificate found in {what}: {reason}; give a CA certificate in PEM or DER form")]
    NoCertificate {
        /// Which input.
        what: String,
        /// What was wrong with it.
        reason: String,
    },
    /// A file holds no usable private key.
    #[error(
        "no usable private key found in {what}: {reason}; give an unencrypted PKCS#8, SEC1 or PKCS#1 key (P-256, P-384, P-521, Ed25519 or RSA)"
    )]
    NoKey {
        /// Which input.
        what: String,
        /// What was wrong with it.
        reason: String,
    },
    /// The key is protected by a password.
    #[error("the private key in {what} is encrypted; decrypt it first: openssl pkey -in FILE -out KEY.pem")]
    EncryptedKey {
        /// Which input.
        what: String,
    },
    /// Key and certificate do not belong together.
    #[error("the private key does not belong to the certificate; give the key the CA certificate was made with")]
    Mismatch,
    /// The certificate may not sign others.
    #[error(
        "the certificate {subject} is not a CA certificate ({reason}); give one with basicConstraints CA:TRUE and keyUsage keyCertSign"
    )]
    NotACa {
        /// Subject of the certificate.
        subject: String,
        /// What is missing.
        reason: &'static str,
    },
    /// The CA certificate is outside its validity.
    #[error(
        "the CA certificate {subject} is not valid now ({not_before} to {not_after}); give a valid one with `weir ca import`, or remove it to have a new CA made"
    )]
    NotValidNow {
        /// Subject of the certificate.
        subject: String,
        /// Begin of validity.
        not_before: String,
        /// End of validity.
        not_after: String,
    },
    /// The CA cannot be used to sign leaf certificates that clients accept.
    #[error("certificates signed by {subject} would not be accepted: {reason}; use another CA, or weir's own")]
    Unusable {
        /// Subject of the certificate.
        subject: String,
        /// What the check of a trial leaf said.
        reason: String,
    },
    /// A host name no certificate can be made for.
    #[error(
        "no certificate can be made for the host {host:?}: {reason}; internationalised names are to be given in their ASCII form (xn--…)"
    )]
    BadHost {
        /// The name, as asked for.
        host: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Making a key or signing failed.
    #[error(
        "the cryptographic library failed: {0}; this is a defect of weir or of the machine's random source, please report it"
    )]
    Crypto(String),
}

impl From<rcgen::Error> for CaError {
    fn from(error: rcgen::Error) -> Self {
        Self::Crypto(error.to_string())
    }
}

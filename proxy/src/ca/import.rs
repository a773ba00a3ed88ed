//! Reading a CA: its certificate (with a chain above it, where there is one) and its key, checked
//! against each other before either is used.
//!
//! In: the bytes of two files, PEM or DER. Out: a [`Pair`] that can sign leaves clients accept.

use rcgen::{Issuer, KeyPair, PublicKeyData};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{CaError, encoding};

/// A CA certificate and its key that belong together.
#[derive(Debug)]
pub(super) struct Pair {
    /// The CA certificate, then those above it up to (without) a self-signed root.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// What signs.
    pub(super) issuer: Issuer<'static, KeyPair>,
    /// Begin and end of the CA certificate's validity.
    pub(super) validity: (OffsetDateTime, OffsetDateTime),
    /// Subject, for people.
    pub(super) subject: String,
    /// Common name alone, or the subject when it has none.
    pub(super) common_name: String,
    /// Whether the CA certificate is its own issuer.
    pub(super) self_issued: bool,
    /// The key in a PEM block with the label of its form.
    pub(super) key_pem: String,
}

/// Reads and checks a pair. `what_certificate` and `what_key` name the inputs in errors.
pub(super) fn read_pair(
    certificate: &[u8],
    what_certificate: &str,
    key: &[u8],
    what_key: &str,
    now: OffsetDateTime,
) -> Result<Pair, CaError> {
    let mut chain = read_certificates(certificate, what_certificate)?;
    let key_der = read_key(key, what_key)?;
    let no_key = |error: rcgen::Error| CaError::NoKey { what: what_key.to_owned(), reason: error.to_string() };
    let key_pair = KeyPair::try_from(&key_der).map_err(no_key)?;

    let der = chain[0].clone();
    let no_certificate = |reason: String| CaError::NoCertificate { what: what_certificate.to_owned(), reason };
    let (_, x509) = X509Certificate::from_der(&der).map_err(|error| no_certificate(error.to_string()))?;
    let subject = x509.subject().to_string();
    if x509.public_key().subject_public_key.data.as_ref() != key_pair.der_bytes() {
        return Err(CaError::Mismatch);
    }
    check_is_ca(&x509, &subject)?;
    let validity = (x509.validity().not_before.to_datetime(), x509.validity().not_after.to_datetime());
    if now < validity.0 || now > validity.1 {
        let (not_before, not_after) = (x509.validity().not_before.to_string(), x509.validity().not_after.to_string());
        return Err(CaError::NotValidNow { subject, not_before, not_after });
    }
    let common_name =
        x509.subject().iter_common_name().find_map(|name| name.as_str().ok()).unwrap_or(&subject).to_owned();
    let self_issued = x509.subject() == x509.issuer();
    let issuer = Issuer::from_ca_cert_der(&der, key_pair)
        .map_err(|error| CaError::Unusable { subject: subject.clone(), reason: error.to_string() })?;
    // Roots above need not be sent: whoever trusts one has it.
    let mut above = chain.split_off(1);
    above.retain(|der| !is_self_issued(der));
    chain.append(&mut above);
    let key_pem = encoding::pem(key_label(&key_der), key_der.secret_der());
    Ok(Pair { chain, issuer, validity, subject, common_name, self_issued, key_pem })
}

fn is_self_issued(der: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, x509)| x509.subject() == x509.issuer())
}

fn check_is_ca(x509: &X509Certificate<'_>, subject: &str) -> Result<(), CaError> {
    let not_a_ca = |reason| Err(CaError::NotACa { subject: subject.to_owned(), reason });
    match x509.basic_constraints() {
        Ok(Some(constraints)) if constraints.value.ca => {}
        _ => return not_a_ca("basicConstraints does not say CA:TRUE"),
    }
    match x509.key_usage() {
        Ok(Some(usage)) if !usage.value.key_cert_sign() => not_a_ca("keyUsage does not allow keyCertSign"),
        _ => Ok(()),
    }
}

/// Every certificate of a PEM file in order, or the one of a DER file.
fn read_certificates(bytes: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, CaError> {
    let none = |reason: String| CaError::NoCertificate { what: what.to_owned(), reason };
    if bytes.first() == Some(&0x30) {
        return Ok(vec![CertificateDer::from(bytes.to_vec())]);
    }
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(bytes).collect::<Result<_, _>>().map_err(|error| none(error.to_string()))?;
    if certificates.is_empty() { Err(none("it has no CERTIFICATE block".to_owned())) } else { Ok(certificates) }
}

/// The first private key of a PEM file, or the one of a DER file.
fn read_key(bytes: &[u8], what: &str) -> Result<PrivateKeyDer<'static>, CaError> {
    let none = |reason: String| CaError::NoKey { what: what.to_owned(), reason };
    let encrypted = |text: &[u8]| memchr::memmem::find(bytes, text).is_some();
    if encrypted(b"BEGIN ENCRYPTED PRIVATE KEY") || encrypted(b"Proc-Type: 4,ENCRYPTED") {
        return Err(CaError::EncryptedKey { what: what.to_owned() });
    }
    if bytes.first() == Some(&0x30) {
        return PrivateKeyDer::try_from(bytes.to_vec()).map_err(|error| none(error.to_owned()));
    }
    PrivateKeyDer::from_pem_slice(bytes).map_err(|error| none(error.to_string()))
}

fn key_label(key: &PrivateKeyDer<'_>) -> &'static str {
    match key {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        _ => "PRIVATE KEY",
    }
}

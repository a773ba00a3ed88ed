//! Making certificates: weir's own CA, and leaves signed by whichever CA is in use.
//!
//! In: names, keys and the time. Out: DER. No clock and no files here.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber, string::Ia5String,
};
use time::{Duration, OffsetDateTime};

use super::{CaError, HostName};

/// How long weir's own CA is valid.
const CA_VALIDITY: Duration = Duration::days(10 * 365);
/// How far its begin lies back: a day further than a leaf's, so that leaves lie inside it.
const CA_BACKDATE: Duration = Duration::days(3);
/// How long a leaf is valid, back-dating included: under the 200 days clients have come to insist on.
const LEAF_VALIDITY: Duration = Duration::days(190);
/// How far a leaf's begin lies back, for devices whose clock is behind.
const LEAF_BACKDATE: Duration = Duration::days(2);
/// Common names are at most 64 characters (RFC 5280 appendix A.1, ub-common-name).
const COMMON_NAME_LIMIT: usize = 64;

/// A new self-signed CA certificate over `key`; `machine` and `short_id` make its name recognisable.
pub(super) fn ca_certificate(
    key: &KeyPair,
    machine: &str,
    short_id: &str,
    now: OffsetDateTime,
) -> Result<Certificate, CaError> {
    let mut params = CertificateParams::default();
    let machine: String =
        machine.chars().filter(|c| c.is_ascii_alphanumeric() || "-._".contains(*c)).take(40).collect();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "weir");
    params.distinguished_name.push(DnType::CommonName, format!("weir CA {machine} {short_id}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(serial_number()?);
    params.not_before = now - CA_BACKDATE;
    params.not_after = now - CA_BACKDATE + CA_VALIDITY;
    Ok(params.self_signed(key)?)
}

/// A leaf for one host: SAN only for it, server authentication only.
///
/// The validity never reaches outside the CA's (`ca_validity`: begin and end).
pub(super) fn leaf_certificate(
    host: &HostName,
    leaf_key: &KeyPair,
    issuer: &Issuer<'_, KeyPair>,
    ca_validity: (OffsetDateTime, OffsetDateTime),
    now: OffsetDateTime,
) -> Result<Certificate, CaError> {
    let name = host.to_string();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "weir");
    // Clients look at the SAN only; the common name is for people, where it fits.
    if name.len() <= COMMON_NAME_LIMIT {
        params.distinguished_name.push(DnType::CommonName, name.clone());
    }
    params.subject_alt_names = vec![match host {
        HostName::Ip(address) => SanType::IpAddress(*address),
        HostName::Dns(_) => SanType::DnsName(Ia5String::try_from(name)?),
    }];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(serial_number()?);
    params.not_before = (now - LEAF_BACKDATE).max(ca_validity.0);
    params.not_after = (now - LEAF_BACKDATE + LEAF_VALIDITY).min(ca_validity.1);
    Ok(params.signed_by(leaf_key, issuer)?)
}

/// 128 random bits, positive, never zero (RFC 5280 §4.1.2.2).
fn serial_number() -> Result<SerialNumber, CaError> {
    let mut bytes = [0; 17];
    aws_lc_rs::rand::fill(&mut bytes[1..]).map_err(|_| CaError::Crypto("no random bytes".to_owned()))?;
    // One leading byte keeps the number positive and not zero whatever the random bits are.
    bytes[0] = 1;
    Ok(SerialNumber::from_slice(&bytes))
}

//! The CA certificate as a PKCS#12 file (RFC 7292): one certificate bag, no key, nothing encrypted.
//!
//! In: DER and a name. Out: a file that Windows, Java (as a trust store), Android and OpenSSL open.
//! Its integrity check uses SHA-1: macOS and older Windows read nothing newer, and what it protects is
//! a public certificate with a public password. The crates that write PKCS#12 bring some forty
//! others for what is one fixed nesting of DER; hence these few lines.

use aws_lc_rs::{digest, hmac};

use super::encoding::sha256;

/// The password of the file, Java's customary one for trust stores. It protects nothing.
pub const PKCS12_PASSWORD: &str = "changeit";

const ITERATIONS: u16 = 2_048;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const NULL: u8 = 0x05;
const OBJECT_IDENTIFIER: u8 = 0x06;
const BMP_STRING: u8 = 0x1e;
/// `[0] EXPLICIT`.
const CONTEXT_0: u8 = 0xa0;

/// pkcs7-data, 1.2.840.113549.1.7.1.
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
/// certBag, 1.2.840.113549.1.12.10.1.3.
const CERT_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01, 0x03];
/// x509Certificate, 1.2.840.113549.1.9.22.1.
const X509_CERTIFICATE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x16, 0x01];
/// friendlyName, 1.2.840.113549.1.9.20.
const FRIENDLY_NAME: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x14];
/// Java's mark of a trusted certificate, 2.16.840.1.113894.746875.1.1.
const JAVA_TRUSTED: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x86, 0xf9, 0x66, 0xad, 0xca, 0x7b, 0x01, 0x01];
/// anyExtendedKeyUsage, 2.5.29.37.0: trusted for every purpose.
const ANY_PURPOSE: &[u8] = &[0x55, 0x1d, 0x25, 0x00];
/// SHA-1, 1.3.14.3.2.26.
const SHA1: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];

/// The file.
pub(super) fn encode(certificate: &[u8], name: &str) -> Vec<u8> {
    let friendly = attribute(FRIENDLY_NAME, &tlv(BMP_STRING, &[&bmp(name)]));
    let trusted = attribute(JAVA_TRUSTED, &tlv(OBJECT_IDENTIFIER, &[ANY_PURPOSE]));
    let mut attributes = [friendly, trusted];
    // DER wants the elements of a SET OF in the order of their encodings (X.690 §11.6).
    attributes.sort();
    let value = tlv(CONTEXT_0, &[&tlv(OCTET_STRING, &[certificate])]);
    let bag = tlv(SEQUENCE, &[&tlv(OBJECT_IDENTIFIER, &[X509_CERTIFICATE]), &value]);
    let bag = tlv(
        SEQUENCE,
        &[&tlv(OBJECT_IDENTIFIER, &[CERT_BAG]), &tlv(CONTEXT_0, &[&bag]), &tlv(SET, &[&attributes[0], &attributes[1]])],
    );
    let safe = tlv(SEQUENCE, &[&content_info(&tlv(SEQUENCE, &[&bag]))]);
    let salt = &sha256(certificate)[..8];
    let mac_key = mac_key(PKCS12_PASSWORD, salt);
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &mac_key), &safe);
    let algorithm = tlv(SEQUENCE, &[&tlv(OBJECT_IDENTIFIER, &[SHA1]), &tlv(NULL, &[])]);
    let mac_data = tlv(
        SEQUENCE,
        &[
            &tlv(SEQUENCE, &[&algorithm, &tlv(OCTET_STRING, &[mac.as_ref()])]),
            &tlv(OCTET_STRING, &[salt]),
            &tlv(INTEGER, &[&ITERATIONS.to_be_bytes()]),
        ],
    );
    tlv(SEQUENCE, &[&tlv(INTEGER, &[&[3]]), &content_info(&safe), &mac_data])
}

fn content_info(content: &[u8]) -> Vec<u8> {
    tlv(SEQUENCE, &[&tlv(OBJECT_IDENTIFIER, &[DATA]), &tlv(CONTEXT_0, &[&tlv(OCTET_STRING, &[content])])])
}

fn attribute(id: &[u8], value: &[u8]) -> Vec<u8> {
    tlv(SEQUENCE, &[&tlv(OBJECT_IDENTIFIER, &[id]), &tlv(SET, &[value])])
}

/// UTF-16, big-endian.
fn bmp(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

/// One DER element: tag, length, parts one after another (X.690 §8.1).
fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let mut element = vec![tag];
    match u8::try_from(len) {
        Ok(short) if short < 0x80 => element.push(short),
        _ => {
            let bytes = len.to_be_bytes();
            let skip = bytes.iter().take_while(|&&byte| byte == 0).count();
            element.push(0x80 | u8::try_from(bytes.len() - skip).unwrap_or(8));
            element.extend_from_slice(&bytes[skip..]);
        }
    }
    element.extend(parts.iter().copied().flatten());
    element
}

/// The key of the integrity check (RFC 7292 appendix B.2 with SHA-1, purpose 3: one block suffices).
fn mac_key(password: &str, salt: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 64;
    let mut password = bmp(password);
    password.extend([0, 0]);
    let mut input = vec![3; BLOCK];
    input.extend(salt.iter().copied().cycle().take(salt.len().next_multiple_of(BLOCK)));
    input.extend(password.iter().copied().cycle().take(password.len().next_multiple_of(BLOCK)));
    let mut sum = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &input);
    for _ in 1..ITERATIONS {
        sum = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, sum.as_ref());
    }
    sum.as_ref().to_vec()
}

//! Texts and digests of certificates: PEM (RFC 7468), SHA-256 fingerprints.

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// DER as a PEM block with the given label, lines of 64 characters.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    push_base64_lines(&mut text, der, 64, "");
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// Base64 in lines of `width` characters, each with an indentation before it.
pub(super) fn push_base64_lines(text: &mut String, bytes: &[u8], width: usize, indent: &str) {
    let encoded = STANDARD.encode(bytes);
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(width));
        text.push_str(indent);
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
}

/// SHA-256.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    sum
}

/// Bytes in upper-case hexadecimal, `AB:CD:…`, as browsers show fingerprints.
pub(super) fn colon_hex(bytes: &[u8]) -> String {
    let pairs: Vec<_> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    pairs.join(":")
}

//! TLS on both sides of an intercepted connection.
//!
//! - [`alpn`]: which HTTP version to speak, settled with what the real server speaks; pure.
//! - [`passthrough`]: hosts that are let through untouched because a list says so; pure.
//! - [`pinned`]: hosts that are let through because the client refused our CA; pure, time comes in.
//! - [`faults`]: the words for what went wrong, for rows and for people; pure.
//! - [`hello`]: reads a ClientHello from a client without losing a byte of it.
//! - [`client`]: answers clients with a leaf of our CA.
//! - [`hook`]: the above in order, as the core hooks it in.
//! - `verifier`: judges the certificates of servers.
//! - [`upstream`]: TLS towards servers.
//!
//! The flow for an intercepted CONNECT, as the listener drives it:
//!
//! 1. [`ClientTls::lets_through`] by what CONNECT said; then tunnel.
//! 2. [`ClientTls::read_hello`], then [`ClientTls::decide`]: pass through ([`Hello::into_parts`] gives back
//!    every byte read), answer at once, or ask the origin first.
//! 3. When it is to ask: dial, [`UpstreamTls::connect`] with the offer, [`ClientTls::learn_origin`] with what the
//!    server chose, keep the connection for the first request. When that fails, answer with
//!    [`alpn::Offer::fallback`] nevertheless, so that the client gets a page that says why.
//! 4. [`ClientTls::answer`].

pub mod alpn;
pub mod client;
pub mod faults;
pub mod hello;
pub mod hook;
pub mod passthrough;
pub mod pinned;
pub mod upstream;
mod verifier;

use bytestring::ByteString;
use rustls::CommonState;
use weir_engine::record::TlsDetails;

pub use self::{
    alpn::{Alpn, Offer},
    client::{ClientTls, ClientTlsOptions, Decision, Intercepted, LetThrough},
    faults::{ClientTlsError, TlsSetupError, UpstreamTlsError},
    hello::Hello,
    hook::TlsHook,
    upstream::{CertificateFacts, UpstreamStream, UpstreamTls, UpstreamTlsOptions},
};

/// What a handshake settled, for the record.
fn details(connection: &CommonState) -> TlsDetails {
    let version = connection.protocol_version().and_then(|version| version.as_str()).map(|version| match version {
        "TLSv1_2" => ByteString::from_static("TLSv1.2"),
        "TLSv1_3" => ByteString::from_static("TLSv1.3"),
        other => ByteString::from_static(other),
    });
    // rustls writes TLS13_AES_…, IANA's registry TLS_AES_….
    let cipher = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).map(|name| {
        name.strip_prefix("TLS13_").map_or_else(|| ByteString::from_static(name), |rest| format!("TLS_{rest}").into())
    });
    let alpn = connection.alpn_protocol().and_then(Alpn::from_bytes).map(|alpn| ByteString::from_static(alpn.as_str()));
    TlsDetails { version, cipher, alpn }
}

#[cfg(test)]
mod tests;

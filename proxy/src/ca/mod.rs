//! The certificate authority: whoever trusts it lets weir read its TLS traffic.
//!
//! In: a folder, host names. Out: an [`Authority`] that hands out a leaf certificate for any host, and the
//! CA certificate in the forms that systems and devices import.
//!
//! - [`authority`]: the authority in use: the CA loaded or made, leaves signed and kept.
//! - [`host`]: the checked name a leaf is made for.
//! - `files`: the CA's files, the key never readable by others.
//! - `import`: certificate and key read and checked against each other.
//! - `issue`: making the CA certificate and leaves.
//! - `encoding`, `pkcs12`, `mobileconfig`: the forms the certificate is given out in.
//! - [`error`]: what can go wrong.
//!
//! The folder holds `weir-proxy-ca.crt` (PEM; a chain when an intermediate was imported) and
//! `weir-proxy-ca.key` (PEM, 0600). The key never leaves that file.

pub mod authority;
mod encoding;
pub mod error;
mod files;
pub mod host;
mod import;
mod issue;
mod mobileconfig;
mod pkcs12;

pub use self::{
    authority::{Authority, CERTIFICATE_FILE, KEY_FILE},
    error::CaError,
    host::HostName,
    pkcs12::PKCS12_PASSWORD,
};

#[cfg(test)]
mod tests;

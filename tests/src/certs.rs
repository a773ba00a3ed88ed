//! An authority for test servers, with the certificates servers get wrong too.
//!
//! Out: PEM files in a folder: `ca.crt`, and per kind of leaf `NAME.crt` and `NAME.key`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd};

/// The folder the certificates lie in.
pub struct Certificates {
    folder: PathBuf,
}

/// Leaf certificates that are made.
pub const LEAVES: [&str; 4] = ["good", "expired", "wrong-name", "self-signed"];

impl Certificates {
    /// Makes an authority and its leaves in `folder`.
    ///
    /// # Errors
    /// When a key cannot be made or a file cannot be written.
    pub fn make(folder: &Path) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "weir test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let authority = params.self_signed(&key)?;
        fs::write(folder.join("ca.crt"), authority.pem())?;
        let issuer = Issuer::new(params, key);
        for name in LEAVES {
            let names: &[&str] = match name {
                "wrong-name" => &["elsewhere.example"],
                _ => &["localhost", "127.0.0.1", "127.0.0.2", "::1"],
            };
            let mut params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())?;
            params.distinguished_name.push(DnType::CommonName, format!("weir test, {name}"));
            params.not_before = date_time_ymd(2024, 1, 1);
            params.not_after = if name == "expired" { date_time_ymd(2024, 2, 1) } else { date_time_ymd(2090, 1, 1) };
            let key = KeyPair::generate()?;
            let leaf =
                if name == "self-signed" { params.self_signed(&key)? } else { params.signed_by(&key, &issuer)? };
            fs::write(folder.join(format!("{name}.crt")), leaf.pem())?;
            fs::write(folder.join(format!("{name}.key")), key.serialize_pem())?;
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// The authority that clients and weir are told to trust.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// The chain of a leaf.
    #[must_use]
    pub fn chain(&self, leaf: &str) -> PathBuf {
        self.folder.join(format!("{leaf}.crt"))
    }

    /// The key of a leaf.
    #[must_use]
    pub fn key(&self, leaf: &str) -> PathBuf {
        self.folder.join(format!("{leaf}.key"))
    }
}

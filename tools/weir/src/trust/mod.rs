//! Where this machine keeps the authorities it trusts, and how weir's CA gets in there and out again.
//!
//! In: a CA certificate, the stores to touch, the folders they lie under. Out: what was done with each
//! store, as data; nothing is printed here.
//!
//! - [`machine`]: the folders and programs, replaceable for tests.
//! - [`stores`]: finds the stores of a machine: the system's, and NSS databases of browsers.
//! - `system`: the system's store (Debian, Fedora, Arch, openSUSE). - `nss`: NSS databases, through certutil.
//! - [`advice`]: lines for what cannot be done from here: macOS, Windows, languages with a store of their own.
//!
//! Everything added carries the fingerprint in its name, so that `uninstall` removes exactly that; each step
//! can be repeated. The system's store needs root: without it the line to run is handed back.

pub(crate) mod advice;
pub(crate) mod machine;
mod nss;
pub(crate) mod stores;
mod system;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use weir_proxy::ca::Authority;

pub(crate) use self::{
    machine::Machine,
    stores::{Store, Target},
};

/// The certificate that goes into stores.
#[derive(Debug, Clone)]
pub(crate) struct Anchor {
    /// PEM block.
    pub(crate) pem: String,
    /// `weir-proxy-ca-` and the first 16 hexadecimal digits of the fingerprint: nickname and file name.
    pub(crate) label: String,
    /// Where the certificate lies as a file, for lines that users paste.
    pub(crate) file: Option<PathBuf>,
}

impl Anchor {
    /// The certificate of an authority.
    pub(crate) fn of(authority: &Authority) -> Self {
        let digits: String = authority.fingerprint().chars().filter(|c| *c != ':').take(16).collect();
        Self {
            pem: authority.certificate_pem(),
            label: format!("weir-proxy-ca-{}", digits.to_ascii_lowercase()),
            file: authority.certificate_path(),
        }
    }

    /// The base64 text of the certificate without line ends: how it is found in bundles.
    fn base64(&self) -> String {
        base64_of(&self.pem)
    }
}

/// The base64 text of a PEM block without line ends.
fn base64_of(pem: &str) -> String {
    pem.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("-----")).collect()
}

/// What became of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The CA was put in.
    Added,
    /// It was there already.
    AlreadyThere,
    /// It was taken out.
    Removed,
    /// It was not there.
    NotThere,
    /// What would be run (dry run).
    Would(String),
    /// Root is needed: the line to run.
    NeedsRoot(String),
    /// A program is missing: the line that installs it.
    ProgramMissing(String),
    /// It did not work: why, and what to do.
    Failed(String),
}

/// A store and what became of it.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// The store.
    pub(crate) store: Store,
    /// What became of it.
    pub(crate) outcome: Outcome,
}

/// Whether a store trusts the CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trust {
    /// It does.
    Trusted,
    /// It does not.
    NotTrusted,
    /// That cannot be told: why.
    Unknown(String),
}

/// Puts the CA into the stores of the chosen kinds.
pub(crate) fn install(anchor: &Anchor, targets: &[Target], machine: &Machine, dry_run: bool) -> Vec<Change> {
    change(targets, machine, true, |store| match store {
        Store::System(place) => system::install(anchor, place, machine, dry_run),
        Store::Nss(place) => nss::install(anchor, place, machine, dry_run),
    })
}

/// Takes the CA out of the stores of the chosen kinds.
pub(crate) fn uninstall(anchor: &Anchor, targets: &[Target], machine: &Machine, dry_run: bool) -> Vec<Change> {
    change(targets, machine, false, |store| match store {
        Store::System(place) => system::uninstall(anchor, place, machine, dry_run),
        Store::Nss(place) => nss::uninstall(anchor, place, machine, dry_run),
    })
}

/// Whether each store trusts the CA.
pub(crate) fn status(anchor: &Anchor, targets: &[Target], machine: &Machine) -> Vec<(Store, Trust)> {
    stores::find(targets, machine, false)
        .into_iter()
        .map(|store| {
            let trust = match &store {
                Store::System(place) => system::status(anchor, place, machine),
                Store::Nss(place) => nss::status(anchor, place, machine),
            };
            (store, trust)
        })
        .collect()
}

fn change(targets: &[Target], machine: &Machine, create: bool, step: impl Fn(&Store) -> Outcome) -> Vec<Change> {
    stores::find(targets, machine, create).into_iter().map(|store| Change { outcome: step(&store), store }).collect()
}

//! Finds the stores of a machine.
//!
//! In: the machine's folders. Out: its system store where there is one of a known kind, and the NSS databases of the
//! user's browsers, those of snaps and flatpaks too.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use super::Machine;

/// A kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// The system's store.
    System,
    /// NSS databases: Chromium, Chrome, Firefox and kin.
    Nss,
}

impl Target {
    /// Every kind.
    pub(crate) const ALL: [Self; 2] = [Self::System, Self::Nss];
}

/// A system's store: a folder for authorities, and the program that builds the bundle from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SystemPlace {
    /// Folder the certificate goes into.
    pub(crate) dir: PathBuf,
    /// Suffix the program looks for.
    pub(crate) suffix: &'static str,
    /// The program.
    pub(crate) update: &'static str,
}

/// An NSS database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NssPlace {
    /// Its folder.
    pub(crate) dir: PathBuf,
    /// Who uses it.
    pub(crate) user: &'static str,
}

/// A store of trusted authorities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Store {
    /// The system's.
    System(SystemPlace),
    /// An NSS database.
    Nss(NssPlace),
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(place) => write!(f, "system ({})", place.dir.display()),
            Self::Nss(place) => write!(f, "{} ({})", place.user, place.dir.display()),
        }
    }
}

/// Folders of system stores, the suffix and the program that goes with each.
const SYSTEM: [(&str, &str, &str); 4] = [
    // Debian, Ubuntu, Alpine.
    ("/usr/local/share/ca-certificates", "crt", "update-ca-certificates"),
    // Fedora, RHEL and kin.
    ("/etc/pki/ca-trust/source/anchors", "pem", "update-ca-trust"),
    // Arch.
    ("/etc/ca-certificates/trust-source/anchors", "crt", "update-ca-trust"),
    // openSUSE.
    ("/etc/pki/trust/anchors", "pem", "update-ca-certificates"),
];

/// Databases that Chromium and its kin share, by who uses them; the first is made when it is missing.
const SHARED: [(&str, &str); 4] = [
    (".pki/nssdb", "Chromium and Chrome"),
    ("snap/chromium/current/.pki/nssdb", "Chromium (snap)"),
    (".var/app/org.chromium.Chromium/data/pki/nssdb", "Chromium (flatpak)"),
    (".var/app/com.google.Chrome/data/pki/nssdb", "Chrome (flatpak)"),
];

/// Folders that hold profiles with a database each.
const PROFILES: [(&str, &str); 6] = [
    (".mozilla/firefox", "Firefox"),
    (".config/mozilla/firefox", "Firefox"),
    ("snap/firefox/common/.mozilla/firefox", "Firefox (snap)"),
    (".var/app/org.mozilla.firefox/.mozilla/firefox", "Firefox (flatpak)"),
    (".librewolf", "LibreWolf"),
    (".thunderbird", "Thunderbird"),
];

/// Most profiles that are looked at in one folder.
const PROFILE_LIMIT: usize = 64;

/// The stores of the chosen kinds that are there. With `create`, also those that would be made: the user's shared
/// NSS database, and the one of a Chromium snap that is installed.
pub(crate) fn find(targets: &[Target], machine: &Machine, create: bool) -> Vec<Store> {
    let mut stores = Vec::new();
    if targets.contains(&Target::System) {
        let place = SYSTEM.iter().find(|(dir, ..)| machine.at(dir).is_dir());
        stores.extend(
            place.map(|(dir, suffix, update)| Store::System(SystemPlace { dir: machine.at(dir), suffix, update })),
        );
    }
    if targets.contains(&Target::Nss) {
        for (index, (dir, user)) in SHARED.into_iter().enumerate() {
            let dir = machine.home.join(dir);
            // A snap's or flatpak's database is made only where that browser is.
            let made = create && (index == 0 || dir.ancestors().nth(2).is_some_and(Path::is_dir));
            if is_database(&dir) || made {
                stores.push(Store::Nss(NssPlace { dir, user }));
            }
        }
        for (parent, user) in PROFILES {
            let Ok(entries) = fs::read_dir(machine.home.join(parent)) else { continue };
            let mut profiles: Vec<_> = entries
                .flatten()
                .map(|entry| entry.path())
                .filter(|dir| is_database(dir))
                .take(PROFILE_LIMIT)
                .collect();
            profiles.sort();
            stores.extend(profiles.into_iter().map(|dir| Store::Nss(NssPlace { dir, user })));
        }
    }
    stores
}

/// Whether a folder holds an NSS database in the form of today (SQLite).
pub(super) fn is_database(dir: &Path) -> bool {
    dir.join("cert9.db").is_file()
}

//! Where everything lies on disk (DESIGN §5).
//!
//! ```text
//! ca/                                      the certificate authority (weir-proxy)
//! sessions/<id>.json                       catalogue entry; <id>.lock beside it while it is written
//! live/session=<id>/<table>-<first>-<last>.parquet     parts of a running session, ours alone
//! lake/<table>/session=<id>/part-<first>-<last>.parquet   finished parts
//! tombstones/session=<id>/<table>-<ulid>.parquet   what is deleted but still in parts
//! devices.json                             names of clients' addresses
//! jar.json                                 the cookie jar
//! ```

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use crate::{error::StorageError, schema::Table, session::SessionId};

/// `$WEIR_HOME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// The folder given (`--home`), else `WEIR_HOME`, else `$XDG_DATA_HOME/weir`, else
    /// `~/.local/share/weir`. Nothing is created.
    ///
    /// # Errors
    /// [`StorageError::NoHome`] when none of them says where.
    pub fn resolve(given: Option<PathBuf>) -> Result<Self, StorageError> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        given
            .or_else(|| variable("WEIR_HOME"))
            .or_else(|| variable("XDG_DATA_HOME").map(|data| data.join("weir")))
            .or_else(|| variable("HOME").map(|home| home.join(".local/share/weir")))
            .map(Self::at)
            .ok_or(StorageError::NoHome)
    }

    /// The home in this folder. Nothing is created.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The certificate authority's folder.
    #[must_use]
    pub fn ca_dir(&self) -> PathBuf {
        self.root.join("ca")
    }

    /// The catalogue's folder.
    #[must_use]
    pub fn sessions_dir(&self) -> PathBuf {
        self.root.join("sessions")
    }

    /// The catalogue entry of a session.
    #[must_use]
    pub fn entry_path(&self, id: &SessionId) -> PathBuf {
        self.sessions_dir().join(format!("{id}.json"))
    }

    /// The file whose lock the writer of a session holds.
    #[must_use]
    pub fn lock_path(&self, id: &SessionId) -> PathBuf {
        self.sessions_dir().join(format!("{id}.lock"))
    }

    /// The file whose lock is held while any catalogue entry is changed.
    #[must_use]
    pub fn catalogue_lock_path(&self) -> PathBuf {
        self.sessions_dir().join("catalogue.lock")
    }

    /// The parts of a running session.
    #[must_use]
    pub fn live_dir(&self, id: &SessionId) -> PathBuf {
        self.root.join("live").join(format!("session={id}"))
    }

    /// The finished parts of one table of a session.
    #[must_use]
    pub fn lake_dir(&self, table: Table, id: &SessionId) -> PathBuf {
        self.root.join("lake").join(table.as_str()).join(format!("session={id}"))
    }

    /// Raw packets of a session, for other tools (`--save-packets`).
    #[must_use]
    pub fn packets_dir(&self, id: &SessionId) -> PathBuf {
        self.root.join("packets").join(format!("session={id}"))
    }

    /// What is deleted of a session but still in its parts.
    #[must_use]
    pub fn tombstones_dir(&self, id: &SessionId) -> PathBuf {
        self.root.join("tombstones").join(format!("session={id}"))
    }

    /// The names of clients' addresses.
    #[must_use]
    pub fn labels_path(&self) -> PathBuf {
        self.root.join("devices.json")
    }

    /// The cookie jar.
    #[must_use]
    pub fn jar_path(&self) -> PathBuf {
        self.root.join("jar.json")
    }

    /// Makes a folder and those above it, open to the owner only; one that is there is left as it is.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub fn create_dir(path: &Path) -> Result<(), StorageError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(StorageError::io("create", path))
    }

    /// Makes the home and its catalogue folder, and closes the home to others.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub fn create(&self) -> Result<(), StorageError> {
        let fresh = !self.root.exists();
        Self::create_dir(&self.sessions_dir())?;
        if fresh {
            let mode = fs::Permissions::from_mode(0o700);
            fs::set_permissions(&self.root, mode).map_err(StorageError::io("close to others", &self.root))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_the_owners_alone() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let home = Home::at(folder.path().join("a/weir"));
        home.create().expect("creates");
        home.create().expect("is there already");
        let mode = fs::metadata(home.sessions_dir()).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let id = SessionId::generate();
        assert!(home.lake_dir(Table::Bodies, &id).ends_with(format!("lake/bodies/session={id}")));
    }
}

//! The catalogue: one small JSON file a session, replaced as a whole.
//!
//! In: selectors and changes. Out: entries. Every change is read, made and written under one lock, so
//! that a rename by one process and the recorder's own rewriting by another never undo each other:
//! whoever changes an entry touches only the fields that are his.

use std::{fs, io};

use crate::{
    error::StorageError,
    files,
    home::Home,
    lock::FileLock,
    parts,
    schema::Table,
    session::{SessionEntry, SessionId},
};

/// Characters in a session's name at most.
const NAME_CHARS: usize = 200;

/// The sessions of a home.
#[derive(Debug, Clone)]
pub struct Catalogue {
    home: Home,
}

impl Catalogue {
    /// The catalogue of `home`. Nothing is created; a home that is not there has no sessions.
    #[must_use]
    pub fn open(home: &Home) -> Self {
        Self { home: home.clone() }
    }

    /// The home it belongs to.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// All sessions, the oldest first. Entries that cannot be read are left out with a warning.
    ///
    /// # Errors
    /// [`StorageError::Io`] when the folder cannot be read.
    pub fn list(&self) -> Result<Vec<SessionEntry>, StorageError> {
        let mut ids = self.ids()?;
        ids.sort_unstable();
        let mut entries = Vec::with_capacity(ids.len());
        for id in ids {
            match self.load(&id) {
                Ok(entry) => entries.push(entry),
                Err(error) if error.is_not_found() => {}
                Err(error) => tracing::warn!("{error}"),
            }
        }
        Ok(entries)
    }

    fn ids(&self) -> Result<Vec<SessionId>, StorageError> {
        let dir = self.home.sessions_dir();
        let files = match fs::read_dir(&dir) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(StorageError::io("list", dir)(error)),
        };
        let mut ids = Vec::new();
        for file in files {
            let name = file.map_err(StorageError::io("list", &dir))?.file_name();
            if let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".json")?.parse().ok()) {
                ids.push(id);
            }
        }
        Ok(ids)
    }

    /// The entry with this id.
    ///
    /// # Errors
    /// [`StorageError::Io`], [`StorageError::Entry`].
    pub fn load(&self, id: &SessionId) -> Result<SessionEntry, StorageError> {
        let path = self.home.entry_path(id);
        let document = fs::read(&path).map_err(StorageError::io("read", &path))?;
        serde_json::from_slice(&document).map_err(|source| StorageError::Entry { path, source })
    }

    /// The session meant by a selector: an id, a name, or a unique prefix of an id, in this order and
    /// without regard to the case of ids; without one, the latest.
    ///
    /// # Errors
    /// [`StorageError::NoSessions`], [`StorageError::NotFound`], [`StorageError::Ambiguous`], and what
    /// [`load`](Self::load) may say.
    pub fn find(&self, selector: Option<&str>) -> Result<SessionEntry, StorageError> {
        let Some(selector) = selector else {
            let latest = self.ids()?.into_iter().max();
            return latest
                .map_or_else(|| Err(StorageError::NoSessions { home: self.home.root().into() }), |id| self.load(&id));
        };
        if let Ok(id) = selector.to_ascii_uppercase().parse::<SessionId>() {
            match self.load(&id) {
                Err(error) if error.is_not_found() => {}
                found => return found,
            }
        }
        let mut entries = self.list()?;
        let upper = selector.to_ascii_uppercase();
        let named = entries.iter().any(|entry| entry.name == selector);
        entries.retain(|entry| match named {
            true => entry.name == selector,
            false => !upper.is_empty() && entry.id.to_string().starts_with(&upper),
        });
        if entries.len() > 1 {
            let candidates = entries.iter().map(|entry| entry.id.to_string()).collect();
            return Err(StorageError::Ambiguous { selector: selector.to_owned(), candidates });
        }
        entries.pop().ok_or_else(|| StorageError::NotFound { selector: selector.to_owned() })
    }

    /// Writes the entry of a new session; the home is created when it is not there.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub fn create(&self, entry: &SessionEntry) -> Result<(), StorageError> {
        self.home.create()?;
        let _lock = FileLock::acquire(&self.home.catalogue_lock_path())?;
        self.store(entry)
    }

    /// Changes an entry and returns it as it is then.
    ///
    /// # Errors
    /// [`StorageError::Io`], [`StorageError::Entry`].
    pub fn update(&self, id: &SessionId, change: impl FnOnce(&mut SessionEntry)) -> Result<SessionEntry, StorageError> {
        let _lock = FileLock::acquire(&self.home.catalogue_lock_path())?;
        let mut entry = self.load(id)?;
        let before = entry.clone();
        change(&mut entry);
        if entry != before {
            self.store(&entry)?;
        }
        Ok(entry)
    }

    fn store(&self, entry: &SessionEntry) -> Result<(), StorageError> {
        let path = self.home.entry_path(&entry.id);
        let document =
            serde_json::to_vec_pretty(entry).map_err(|source| StorageError::Entry { path: path.clone(), source })?;
        files::replace(&path, &document)
    }

    /// Gives a session another name; running ones too.
    ///
    /// # Errors
    /// [`StorageError::BadName`], and what [`update`](Self::update) may say.
    pub fn rename(&self, id: &SessionId, name: &str) -> Result<SessionEntry, StorageError> {
        check_name(name)?;
        self.update(id, |entry| name.clone_into(&mut entry.name))
    }

    /// Bytes that the parts of a session take on disk.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub fn disk_bytes(&self, id: &SessionId) -> Result<u64, StorageError> {
        let mut bytes = 0;
        for table in Table::ALL {
            bytes += parts::list_parts(&self.home, id, table)?.iter().map(|part| part.bytes).sum::<u64>();
        }
        Ok(bytes)
    }

    /// Removes a session with all its rows.
    ///
    /// # Errors
    /// [`StorageError::Running`] while it is recorded; [`StorageError::Io`].
    pub fn delete(&self, id: &SessionId) -> Result<(), StorageError> {
        let Some(lock) = FileLock::try_acquire(&self.home.lock_path(id))? else {
            return Err(StorageError::Running(id.to_string()));
        };
        files::remove_dir_all(&self.home.live_dir(id))?;
        for table in Table::ALL {
            files::remove_dir_all(&self.home.lake_dir(table, id))?;
        }
        files::remove_dir_all(&self.home.tombstones_dir(id))?;
        files::remove_dir_all(&self.home.packets_dir(id))?;
        // The entry last: a delete that was interrupted can be asked for again.
        let path = self.home.entry_path(id);
        fs::remove_file(&path).map_err(StorageError::io("remove", &path))?;
        lock.remove();
        Ok(())
    }
}

/// Whether a session can be called so.
///
/// # Errors
/// [`StorageError::BadName`].
pub fn check_name(name: &str) -> Result<(), StorageError> {
    if name.trim().is_empty() || name.chars().count() > NAME_CHARS || name.chars().any(char::is_control) {
        return Err(StorageError::BadName(name.chars().take(NAME_CHARS).filter(|c| !c.is_control()).collect()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue_with(names: &[&str]) -> (tempfile::TempDir, Catalogue, Vec<SessionEntry>) {
        let folder = tempfile::tempdir().expect("temporary folder");
        let catalogue = Catalogue::open(&Home::at(folder.path().join("home")));
        let entries: Vec<_> = names.iter().map(|name| SessionEntry::new(*name, "proxy")).collect();
        for entry in &entries {
            catalogue.create(entry).expect("creates");
        }
        (folder, catalogue, entries)
    }

    #[test]
    fn selectors() {
        let (_folder, catalogue, entries) = catalogue_with(&["a", "b", "b"]);
        let find = |selector: Option<&str>| catalogue.find(selector).map(|entry| entry.id);
        let latest = entries.iter().map(|entry| entry.id).max().expect("three");
        assert_eq!(find(None).expect("latest"), latest);
        assert_eq!(find(Some("a")).expect("by name"), entries[0].id);
        let id = entries[1].id.to_string();
        let lower = id.to_lowercase();
        assert_eq!(find(Some(&lower)).expect("by id"), entries[1].id);
        assert_eq!(find(Some(&id[..25])).expect("by prefix"), entries[1].id);
        assert!(matches!(find(Some("b")), Err(StorageError::Ambiguous { candidates, .. }) if candidates.len() == 2));
        assert!(matches!(find(Some("zz")), Err(StorageError::NotFound { .. })));
        assert!(matches!(find(Some("")), Err(StorageError::NotFound { .. })));
        let nowhere = Catalogue::open(&Home::at("/nonexistent"));
        assert!(matches!(nowhere.find(None), Err(StorageError::NoSessions { .. })));
    }

    #[test]
    fn a_rename_and_the_recorders_rewriting_do_not_undo_each_other() {
        let (_folder, catalogue, entries) = catalogue_with(&["a"]);
        let id = entries[0].id;
        let recorder = {
            let catalogue = catalogue.clone();
            std::thread::spawn(move || {
                for number in 1..=50 {
                    catalogue.update(&id, |entry| entry.exchanges = number).expect("updates");
                }
            })
        };
        for number in 1..=50 {
            catalogue.rename(&id, &format!("name {number}")).expect("renames");
        }
        recorder.join().expect("ends");
        let entry = catalogue.load(&id).expect("loads");
        assert_eq!((entry.name.as_str(), entry.exchanges), ("name 50", 50));
        assert!(matches!(catalogue.rename(&id, "a\nb"), Err(StorageError::BadName(_))));
    }

    #[test]
    fn deletes_what_nobody_writes() {
        let (_folder, catalogue, entries) = catalogue_with(&["a"]);
        let id = entries[0].id;
        let writer = FileLock::try_acquire(&catalogue.home.lock_path(&id)).expect("opens").expect("free");
        assert!(matches!(catalogue.delete(&id), Err(StorageError::Running(_))));
        drop(writer);
        catalogue.delete(&id).expect("deletes");
        assert!(catalogue.list().expect("lists").is_empty());
        assert!(!catalogue.home.lock_path(&id).exists());
    }
}

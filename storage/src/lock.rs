//! File locks (flock): one writer a session, one change of the catalogue at a time. The system
//! releases them when their holder dies, however it dies.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use crate::error::StorageError;

/// A held lock, released when dropped.
#[derive(Debug)]
pub struct FileLock {
    path: PathBuf,
    _file: File,
}

impl FileLock {
    /// Takes the lock of `path` (created when missing), or `None` when somebody else holds it.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub fn try_acquire(path: &Path) -> Result<Option<Self>, StorageError> {
        Self::acquire_with(path, FlockOperation::NonBlockingLockExclusive)
    }

    /// Takes the lock of `path` (created when missing), waiting for it.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub fn acquire(path: &Path) -> Result<Self, StorageError> {
        loop {
            if let Some(lock) = Self::acquire_with(path, FlockOperation::LockExclusive)? {
                return Ok(lock);
            }
        }
    }

    fn acquire_with(path: &Path, operation: FlockOperation) -> Result<Option<Self>, StorageError> {
        loop {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(path)
                .map_err(StorageError::io("open", path))?;
            match flock(&file, operation) {
                Ok(()) => {}
                Err(error) if io::Error::from(error).kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error == rustix::io::Errno::INTR => continue,
                Err(error) => return Err(StorageError::io("lock", path)(error.into())),
            }
            // The holder before us may have removed the file: then this lock is of no file any more.
            let held = file.metadata().map_err(StorageError::io("look at", path))?;
            match fs::metadata(path) {
                Ok(there) if there.ino() == held.ino() && there.dev() == held.dev() => {
                    return Ok(Some(Self { path: path.to_owned(), _file: file }));
                }
                _ => {}
            }
        }
    }

    /// Releases the lock and removes its file.
    pub fn remove(self) {
        // Removed while it is held: whoever opened it meanwhile finds out and opens a new one.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("x.lock");
        let first = FileLock::try_acquire(&path).expect("opens").expect("is free");
        assert!(FileLock::try_acquire(&path).expect("opens").is_none());
        first.remove();
        assert!(!path.exists());
        let second = FileLock::acquire(&path).expect("is free again");
        drop(second);
        assert!(path.exists());
    }
}

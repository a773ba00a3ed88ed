//! Files that are either wholly there or not at all: temporary name, fsync, rename, fsync of the folder.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use crate::error::StorageError;

/// What names of unfinished files begin with.
pub(crate) const TEMPORARY_PREFIX: &str = ".tmp-";

/// Makes the names in a folder survive a power cut.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), StorageError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(StorageError::io("sync", dir))
}

/// A new, empty file that only the owner can read; one left behind by a dead process is overwritten.
pub(crate) fn create_file(path: &Path) -> Result<File, StorageError> {
    OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(StorageError::io("create", path))
}

/// Moves a finished file to its place; both its bytes and its name are on disk afterwards.
pub(crate) fn publish(file: &File, temporary: &Path, place: &Path) -> Result<(), StorageError> {
    file.sync_all().map_err(StorageError::io("sync", temporary))?;
    fs::rename(temporary, place).map_err(StorageError::io("create", place))?;
    place.parent().map_or(Ok(()), sync_dir)
}

/// Replaces a small file as a whole. Callers hold a lock: the temporary name is not unique.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!("{TEMPORARY_PREFIX}{name}"));
    let mut file = create_file(&temporary)?;
    file.write_all(bytes).map_err(StorageError::io("write", &temporary))?;
    publish(&file, &temporary, path)
}

/// Removes a folder with what is in it; one that is not there is no error.
pub(crate) fn remove_dir_all(dir: &Path) -> Result<(), StorageError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StorageError::io("remove", dir)(error)),
        _ => Ok(()),
    }
}

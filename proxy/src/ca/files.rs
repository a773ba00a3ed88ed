//! The CA's files: written whole or not at all, the key never readable by others.
//!
//! In: PEM texts and paths. Out: files, or an error with the path. All access to one CA folder goes
//! through [`lock`], so that two processes that start at once make one CA.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

use super::CaError;

/// Largest CA file that is read; a chain of a few certificates takes some KiB.
const FILE_LIMIT: u64 = 1 << 20;

/// Turns an I/O error into one that names the file.
fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> CaError {
    let path = path.to_owned();
    move |source| CaError::Io { action, path, source }
}

/// Makes the folder (0700) and holds its lock until the returned file is dropped.
pub(super) fn lock(dir: &Path) -> Result<File, CaError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("create", dir))?;
    let path = dir.join(".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed("open", &path))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)
        .map_err(|errno| failed("lock", &path)(errno.into()))?;
    Ok(file)
}

/// Writes a file under a temporary name with the given mode from the start, syncs it and renames it.
pub(super) fn write(path: &Path, contents: &[u8], mode: u32) -> Result<(), CaError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.new", std::process::id()));
    let temporary = Path::new(&temporary);
    let written = (|| {
        // A left-over of a crashed process with the same id; O_EXCL below would refuse it.
        match fs::remove_file(temporary) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(temporary)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(temporary, path)?;
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    })();
    if written.is_err() {
        // Nothing to add when this fails too: the first error is the one that matters.
        let _ = fs::remove_file(temporary);
    }
    written.map_err(failed("write", path))
}

/// Reads a whole file; `None` when it is not there.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, CaError> {
    use std::io::Read;
    let file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed("read", path))?,
    };
    let mut contents = Vec::new();
    file.take(FILE_LIMIT).read_to_end(&mut contents).map_err(failed("read", path))?;
    Ok(Some(contents))
}

/// Refuses a key that others than its owner may touch.
pub(super) fn check_key_mode(path: &Path) -> Result<(), CaError> {
    let mode = fs::metadata(path).map_err(failed("read", path))?.mode() & 0o7777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(CaError::LoosePermissions { path: path.to_owned(), mode }) }
}

/// Moves a file out of the way, keeping it as `NAME.previous`; nothing when it is not there.
pub(super) fn set_aside(path: &Path) -> Result<(), CaError> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".previous");
    match fs::rename(path, aside) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(failed("rename", path)),
    }
}

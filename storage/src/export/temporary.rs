//! Temporary files of an export: nobody else can read them, and they go with their handle.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// A file without a name in `dir`: its space is free again when it is dropped, whatever happens.
pub(crate) fn unnamed(dir: &Path) -> io::Result<File> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let name = format!(".weir-{}-{}.tmp", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let path = dir.join(name);
        match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => {
                fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

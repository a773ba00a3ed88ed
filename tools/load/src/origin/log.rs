//! The log of what was served: one JSON object a line. Threads gather lines and write them by the block.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Serialize;

use crate::LoadError;

/// Lines a thread gathers before it writes them.
const BLOCK: usize = 64 << 10;

/// The log file.
pub(super) struct Log {
    path: PathBuf,
    file: Mutex<(File, Option<std::io::Error>)>,
}

#[derive(Serialize)]
struct Line<'a> {
    time_us: u64,
    method: &'a str,
    target: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    status: u16,
    size: u64,
}

impl Log {
    pub(super) fn create(path: &Path) -> Result<Self, LoadError> {
        let file = File::create(path).map_err(LoadError::file(path))?;
        Ok(Self { path: path.to_owned(), file: Mutex::new((file, None)) })
    }

    /// Appends a line to those of a thread.
    pub(super) fn line(
        &self,
        lines: &mut Vec<u8>,
        method: &str,
        target: &str,
        id: Option<&[u8]>,
        status: u16,
        size: u64,
    ) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let id = id.and_then(|id| std::str::from_utf8(id).ok());
        let line = Line { time_us: since.as_micros() as u64, method, target, id, status, size };
        if serde_json::to_writer(&mut *lines, &line).is_ok() {
            lines.push(b'\n');
        }
        if lines.len() >= BLOCK {
            self.write(lines);
        }
    }

    /// Writes the lines of a thread.
    pub(super) fn write(&self, lines: &mut Vec<u8>) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.0.write_all(lines) {
            file.1.get_or_insert(error);
        }
        lines.clear();
    }

    /// What writing failed with first, if it did.
    pub(super) fn finish(&self) -> Result<(), LoadError> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.1.take().map_or(Ok(()), |source| Err(LoadError::File { path: self.path.clone(), source }))
    }
}

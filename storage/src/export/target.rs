//! Where an export goes: a file or a folder that is wholly there or not at all, or a stream; and the folder of
//! files saved beside it.

use std::{
    fs,
    io::{self, BufWriter, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::{error::StorageError, files};

/// Where an export goes.
pub enum Output {
    /// A stream, such as standard output.
    Stream(Box<dyn Write>),
    /// A file; an existing one is replaced as a whole.
    File(PathBuf),
    /// A folder; one that an earlier export made is replaced as a whole.
    Folder(PathBuf),
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stream(_) => f.write_str("Stream"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Folder(path) => f.debug_tuple("Folder").field(path).finish(),
        }
    }
}

impl Output {
    /// What errors name.
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Self::Stream(_) => "the output".into(),
            Self::File(path) | Self::Folder(path) => path.clone(),
        }
    }

    /// A folder for temporary files: on the disk of the output, which has to have the room anyway.
    pub(crate) fn scratch(&self) -> PathBuf {
        match self {
            Self::Stream(_) => std::env::temp_dir(),
            Self::File(path) | Self::Folder(path) => parent(path).to_owned(),
        }
    }
}

/// The folder that a path lies in.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn temporary_beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    parent(path).join(format!(".{name}.{}.tmp", std::process::id()))
}

/// A stream or a file being written. Dropped before it is published, the file leaves nothing behind.
pub(crate) struct Sink {
    writer: BufWriter<Box<dyn Write>>,
    file: Option<Unfinished>,
    written: u64,
}

struct Unfinished {
    file: fs::File,
    temporary: PathBuf,
    place: PathBuf,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After publishing there is nothing under this name.
        let _ = fs::remove_file(&self.temporary);
    }
}

impl Sink {
    /// Writes into a stream.
    pub(crate) fn stream(stream: Box<dyn Write>) -> Self {
        Self { writer: BufWriter::with_capacity(1 << 16, stream), file: None, written: 0 }
    }

    /// Writes a file that only the owner can read.
    pub(crate) fn file(place: &Path) -> Result<Self, StorageError> {
        let temporary = temporary_beside(place);
        let file = files::create_file(&temporary)?;
        let unfinished = Unfinished { file, temporary, place: place.to_owned() };
        let handle = unfinished.file.try_clone().map_err(StorageError::io("create", place))?;
        Ok(Self { writer: BufWriter::with_capacity(1 << 18, Box::new(handle)), file: Some(unfinished), written: 0 })
    }

    /// Completes it: a file is on disk under its name afterwards. Returns the bytes written.
    pub(crate) fn publish(mut self) -> Result<u64, StorageError> {
        let place = self.file.as_ref().map_or_else(|| "the output".into(), |file| file.place.clone());
        self.writer.flush().map_err(StorageError::io("write", place))?;
        if let Some(file) = &self.file {
            files::publish(&file.file, &file.temporary, &file.place)?;
        }
        Ok(self.written)
    }
}

impl Write for Sink {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.writer.write(buffer)?;
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// A folder being filled under a temporary name.
pub(crate) struct Tree {
    temporary: PathBuf,
    place: PathBuf,
    marker: &'static str,
    written: u64,
}

impl Drop for Tree {
    fn drop(&mut self) {
        // After publishing there is nothing under this name.
        let _ = fs::remove_dir_all(&self.temporary);
    }
}

impl Tree {
    /// Begins a folder. One that is already in its place must be empty or hold `marker`, a file that every such
    /// export has: nothing else is ever replaced.
    pub(crate) fn create(place: &Path, marker: &'static str) -> Result<Self, StorageError> {
        let is_empty = fs::read_dir(place).map(|mut entries| entries.next().is_none());
        match is_empty {
            Ok(false) if !place.join(marker).exists() => return Err(StorageError::NotOurs(place.to_owned())),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StorageError::io("list", place)(error));
            }
            _ => {}
        }
        let temporary = temporary_beside(place);
        files::remove_dir_all(&temporary)?;
        fs::DirBuilder::new().mode(0o700).create(&temporary).map_err(StorageError::io("create", &temporary))?;
        Ok(Self { temporary, place: place.to_owned(), marker, written: 0 })
    }

    /// The folder as it is filled.
    pub(crate) fn path(&self) -> &Path {
        &self.temporary
    }

    /// Counts bytes that were written into it.
    pub(crate) fn add_written(&mut self, bytes: u64) {
        self.written += bytes;
    }

    /// A file in it that only the owner can read; folders on the way are made.
    pub(crate) fn write(&mut self, relative: &Path, bytes: &[u8]) -> io::Result<()> {
        let path = self.temporary.join(relative);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(parent(&path))?;
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Moves it to its place. Returns the bytes written.
    pub(crate) fn publish(self) -> Result<u64, StorageError> {
        debug_assert!(self.temporary.join(self.marker).exists(), "the marker must be written");
        let place = &self.place;
        let old = temporary_beside(&place.with_extension("old"));
        let had_one = match fs::rename(place, &old) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(StorageError::io("replace", place)(error)),
        };
        if let Err(error) = fs::rename(&self.temporary, place) {
            if had_one {
                // Best effort: what was there is put back.
                let _ = fs::rename(&old, place);
            }
            return Err(StorageError::io("create", place)(error));
        }
        if had_one {
            files::remove_dir_all(&old)?;
        }
        files::sync_dir(parent(place))?;
        Ok(self.written)
    }
}

/// The folder for bodies saved beside an export. Their names come from ids and a fixed list of endings, never
/// from captured text.
#[derive(Debug, Clone)]
pub(crate) struct Beside {
    dir: PathBuf,
    saved: u64,
}

impl Beside {
    /// The folder, made when needed.
    pub(crate) fn new(dir: &Path) -> Result<Self, StorageError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(StorageError::io("create", dir))?;
        Ok(Self { dir: dir.to_owned(), saved: 0 })
    }

    /// Saves bytes under a name and gives the path to write into documents: as the folder was given.
    pub(crate) fn save(&mut self, name: &str, bytes: &[u8]) -> io::Result<String> {
        let path = self.dir.join(name);
        let temporary = self.dir.join(format!(".{name}.tmp"));
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        fs::rename(&temporary, &path)?;
        self.saved += 1;
        Ok(path.to_string_lossy().into_owned())
    }

    /// Files saved.
    pub(crate) fn saved(&self) -> u64 {
        self.saved
    }
}

/// The ending of a file's name for a media type.
pub(crate) fn ending(essence: &str) -> &'static str {
    match essence {
        "application/json" => "json",
        "application/pdf" => "pdf",
        "application/zip" => "zip",
        "application/xml" | "text/xml" => "xml",
        "text/html" => "html",
        "text/plain" => "txt",
        "text/css" => "css",
        "text/csv" => "csv",
        "text/javascript" | "application/javascript" => "js",
        "application/x-www-form-urlencoded" => "form",
        "application/x-protobuf" | "application/protobuf" => "pb",
        "image/png" => "png",
        "image/jpeg" => "jpg",
        "image/gif" => "gif",
        "image/webp" => "webp",
        "image/svg+xml" => "svg",
        "image/avif" => "avif",
        "image/x-icon" | "image/vnd.microsoft.icon" => "ico",
        "audio/mpeg" => "mp3",
        "video/mp4" => "mp4",
        "font/woff2" => "woff2",
        _ => "bin",
    }
}

//! A part opened for reading by several threads at once: every read names its own offset, so that
//! threads do not move each other's position in the file.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    sync::Arc,
};

use bytes::Bytes;
use parquet::{
    arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions},
    errors::ParquetError,
    file::{
        metadata::PageIndexPolicy,
        reader::{ChunkReader, Length},
    },
};

use crate::{error::StorageError, parts::Part};

/// A file that is read at offsets.
#[derive(Debug, Clone)]
pub(crate) struct SharedFile {
    file: Arc<File>,
    len: u64,
}

/// A read position of its own in a shared file.
pub(crate) struct Cursor {
    file: Arc<File>,
    offset: u64,
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

impl Length for SharedFile {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for SharedFile {
    type T = io::BufReader<Cursor>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(io::BufReader::new(Cursor { file: Arc::clone(&self.file), offset: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        // A damaged footer may ask for more than there is: do not reserve for it.
        if start.checked_add(length as u64).is_none_or(|end| end > self.len) {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} lie outside the file")));
        }
        let mut buffer = vec![0; length];
        self.file.read_exact_at(&mut buffer, start)?;
        Ok(buffer.into())
    }
}

/// A part with its footer read.
#[derive(Debug, Clone)]
pub(crate) struct OpenPart {
    /// What and where it is.
    pub(crate) part: Part,
    /// Its bytes.
    pub(crate) file: SharedFile,
    /// Its footer.
    pub(crate) metadata: ArrowReaderMetadata,
}

impl OpenPart {
    /// Reads the footer; with `page_index` also where its pages lie.
    pub(crate) fn open(part: Part, file: File, page_index: bool) -> Result<Self, StorageError> {
        let len = file.metadata().map_err(StorageError::io("read", &part.path))?.len();
        let file = SharedFile { file: Arc::new(file), len };
        let policy = if page_index { PageIndexPolicy::Optional } else { PageIndexPolicy::Skip };
        // Of the page index only where pages lie: what is in them is not asked for.
        let options = ArrowReaderOptions::new().with_offset_index_policy(policy);
        let metadata =
            guarded(|| ArrowReaderMetadata::load(&file, options)).map_err(StorageError::parquet("read", &part.path))?;
        Ok(Self { part, file, metadata })
    }

    /// Wraps an error of the Parquet library.
    pub(crate) fn error(&self, source: ParquetError) -> StorageError {
        StorageError::parquet("read", &self.part.path)(source)
    }
}

/// Runs the Parquet library over bytes that may be damaged: should it panic over them, that is an error.
pub(crate) fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(ParquetError::General("the file is damaged".to_owned())))
}

//! What can go wrong in storage. Each error says what failed and what to do.

use std::{io, path::PathBuf};

/// An error of the storage layer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// Neither `--home`, `WEIR_HOME`, `XDG_DATA_HOME` nor `HOME` says where to store.
    #[error("there is no folder to store in: HOME is not set; set WEIR_HOME or give --home DIR")]
    NoHome,
    /// The operating system refused something.
    #[error("cannot {action} {}: {source}; {}", path.display(), advice(source))]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A part is not readable or not writable as Parquet.
    #[error("cannot {action} the part {}: {source}; the other parts of the session are not affected", path.display())]
    Parquet {
        /// What was tried, as a verb.
        action: &'static str,
        /// The part.
        path: PathBuf,
        /// What the library said.
        source: parquet::errors::ParquetError,
    },
    /// Columns do not fit together: a part of another version, or a damaged one.
    #[error("the columns do not fit the tables of this version: {0}; is the session from a newer weir?")]
    Arrow(#[from] arrow::error::ArrowError),
    /// A catalogue entry cannot be understood.
    #[error("the catalogue entry {} cannot be read: {source}; delete or mend that file", path.display())]
    Entry {
        /// The entry's file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Nothing has been recorded so far.
    #[error("there are no sessions in {}; record one with `weir capture`", home.display())]
    NoSessions {
        /// Where was looked.
        home: PathBuf,
    },
    /// No session answers to a selector.
    #[error("there is no session '{selector}'; `weir sessions` lists them")]
    NotFound {
        /// What was asked for.
        selector: String,
    },
    /// More than one session answers to a selector.
    #[error("'{selector}' could be {}; give more letters of the id", candidates.join(" or "))]
    Ambiguous {
        /// What was asked for.
        selector: String,
        /// Ids that answer to it.
        candidates: Vec<String>,
    },
    /// A text is no session id.
    #[error("'{0}' is not a session id (26 letters and digits)")]
    BadId(String),
    /// A running session cannot be deleted.
    #[error("session {0} is being recorded; stop it first")]
    Running(String),
    /// Rows of a running session are deleted by the capture that records it.
    #[error("session {0} is being recorded; delete through its capture, or stop it first")]
    BeingRecorded(String),
    /// A jar that cannot be understood.
    #[error("{0}")]
    Jar(String),
    /// A name that cannot be used.
    #[error("'{0}' cannot be a session's name; use 1 to 200 characters without line breaks")]
    BadName(String),
    /// The session's files kept changing while they were listed.
    #[error("the files of session {0} changed under every try to list them; try again")]
    Busy(String),
    /// The folder that an export should go to holds something else.
    #[error("{} holds something that weir did not export; give another folder with -o", .0.display())]
    NotOurs(PathBuf),
    /// What should be merged into cannot be.
    #[error("cannot merge into {}: {problem}; give a Postman collection of version 2.1", path.display())]
    NotACollection {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A thread of the recorder ended before its time.
    #[error("the recorder of session {0} failed; what was flushed is on disk and the next start recovers it")]
    RecorderFailed(String),
}

impl StorageError {
    /// Wraps what the operating system said about `path`: use with `map_err`.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// Wraps what the Parquet library said about `path`: use with `map_err`. An error of the operating
    /// system inside it becomes [`StorageError::Io`].
    pub fn parquet(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(parquet::errors::ParquetError) -> Self {
        let path = path.into();
        move |source| match source {
            parquet::errors::ParquetError::External(inner) => match inner.downcast::<io::Error>() {
                Ok(source) => Self::Io { action, path, source: *source },
                Err(inner) => Self::Parquet { action, path, source: parquet::errors::ParquetError::External(inner) },
            },
            source => Self::Parquet { action, path, source },
        }
    }

    /// The reason in the ledger for rows that could not be written because of this.
    #[must_use]
    pub fn drop_reason(&self) -> &'static str {
        match self {
            Self::Io { source, .. } if is_full(source) => "disk_full",
            _ => "write_failed",
        }
    }

    /// Whether a file was not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        _ if is_full(error) => "free some space or give another place with --home DIR",
        io::ErrorKind::PermissionDenied => "give yourself access, or another place with --home DIR",
        io::ErrorKind::ReadOnlyFilesystem => "give a place that can be written with --home DIR",
        io::ErrorKind::NotFound => "has it been deleted?",
        _ => "check the disk",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_say_what_to_do() {
        let full = StorageError::io("write", "/x")(io::Error::from_raw_os_error(28));
        assert_eq!(full.drop_reason(), "disk_full");
        assert!(full.to_string().starts_with("cannot write /x: "), "{full}");
        assert!(full.to_string().ends_with("give another place with --home DIR"), "{full}");
        let external = parquet::errors::ParquetError::External(Box::new(io::Error::from_raw_os_error(28)));
        assert_eq!(StorageError::parquet("write", "/x")(external).drop_reason(), "disk_full");
    }
}

//! What can go wrong with the load tools: what happened; what to do.

use std::{io, net::SocketAddr, path::PathBuf};

use thiserror::Error;

/// An error of the load tools.
#[derive(Debug, Error)]
pub enum LoadError {
    /// A listener could not be opened.
    #[error("cannot listen on {address}: {source}; choose another address, or port 0 for a free one")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The URL cannot be sent to.
    #[error("'{0}' cannot be sent to; give a whole http:// or https:// URL")]
    Url(String),
    /// No address for a name.
    #[error("there is no address for {0}; check the name")]
    NoAddress(String),
    /// A certificate or key cannot be used.
    #[error("{what}: {why}; give PEM files")]
    Certificate {
        /// Which.
        what: String,
        /// Why.
        why: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A scenario file says something that cannot be done.
    #[error("{}: {why}; docs/load.md shows what can stand there", path.display())]
    Scenario {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// There is nothing to send.
    #[error("there is no request to send; {0}")]
    NothingToSend(String),
    /// A threshold that cannot be read.
    #[error("'{0}' is no threshold; write 'p99>50ms', 'errors>0', 'rate<1000' and the like")]
    Threshold(String),
    /// A truth file that this version does not read.
    #[error("{} is no truth file: {why}; write one with weir load run --truth", path.display())]
    Truth {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Reading a session failed.
    #[error(transparent)]
    Storage(#[from] weir_storage::StorageError),
    /// The kernel said no.
    #[error("{what}: {source}")]
    Io {
        /// While doing what.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl LoadError {
    /// Puts what was being done before an I/O error.
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    /// Puts the file before an I/O error.
    pub(crate) fn file(path: &std::path::Path) -> impl FnOnce(io::Error) -> Self + use<'_> {
        move |source| Self::File { path: path.to_owned(), source }
    }
}

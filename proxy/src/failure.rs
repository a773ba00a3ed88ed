//! What went wrong, as data: the stable code for the record, and a sentence for people.
//!
//! In: errors of sockets, resolvers and parsers. Out: [`Failure`], which the error pages show and the
//! rows carry; [`ProxyError`] for what keeps the proxy from starting.

use std::{borrow::Cow, io, net::SocketAddr};

use weir_engine::record::Fault;

/// Why an exchange or a connection failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{detail}")]
pub struct Failure {
    /// The stable code.
    pub fault: Fault,
    /// What failed and what to do, for people.
    pub detail: Cow<'static, str>,
}

impl Failure {
    /// A failure with its sentence.
    pub fn new(fault: Fault, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { fault, detail: detail.into() }
    }

    /// The status a client gets for it.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self.fault {
            Fault::ConnectTimeout | Fault::ServerTimeout => 504,
            Fault::ClientMalformed | Fault::RequestSmuggling | Fault::BadChunk => 400,
            Fault::ClientTimeout => 408,
            Fault::RequestHeadTooLarge => 431,
            Fault::ProxyAuthRequired => 407,
            Fault::LoopRefused => 403,
            Fault::TooManyConnections | Fault::Stopped => 503,
            _ => 502,
        }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::new(fault, sentence(fault))
    }
}

/// What a fault means, where nothing more is known.
#[must_use]
pub fn sentence(fault: Fault) -> &'static str {
    match fault {
        Fault::ServerClosed => "The server closed the connection before its response was complete.",
        Fault::ServerReset => "The server reset the connection before its response was complete.",
        Fault::ServerTimeout => "The server sent nothing within the limit.",
        Fault::ServerMalformed => "What the server sent is not HTTP.",
        Fault::ResponseHeadTooLarge => "The server's response head is larger than the limit.",
        Fault::ResponseSmuggling => "The server's response could be read in two ways (RFC 9112 section 6.3); refused.",
        Fault::RequestSmuggling => "The request could be read in two ways (RFC 9112 section 6.3); refused.",
        Fault::RequestHeadTooLarge => "The request head is larger than the limit; send fewer or shorter header fields.",
        Fault::ClientMalformed => "The request is not valid HTTP.",
        Fault::ClientTimeout => "The request did not arrive within the limit.",
        Fault::BadChunk => "A chunk of the request body is not valid.",
        Fault::ProxyAuthRequired => {
            "This proxy wants a user name and password; set them in the client's proxy settings."
        }
        Fault::TooManyConnections => "This client has too many connections open; close some.",
        Fault::LoopRefused => "This address is the proxy itself; it does not dial its own listeners.",
        Fault::Stopped => "The capture is being stopped.",
        _ => "The exchange failed.",
    }
}

/// What keeps the proxy from starting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// The address is taken.
    #[error("{0} is in use by another program; stop it, or choose another address with --proxy")]
    AddressInUse(SocketAddr),
    /// Listening failed otherwise.
    #[error("cannot listen on {address}: {source}; choose another address with --proxy")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A worker thread or its runtime could not be made.
    #[error("cannot start a worker thread: {0}; check the limits on threads and open files")]
    Worker(io::Error),
    /// The TLS side could not be set up.
    #[error("{0}")]
    Tls(String),
}

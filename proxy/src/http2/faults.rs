//! What went wrong on an HTTP/2 connection, in weir's words; and weir's words as error codes (RFC 9113 §7).
//!
//! In: errors of the `h2` library. Out: a [`Fault`] for the record, and the code to tell the other side.

use std::io;

use h2::Reason;
use weir_engine::record::Fault;

/// Which peer an error concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The connection of a client.
    Client,
    /// The connection to a server.
    Server,
}

impl Side {
    /// The fault of an error on this side.
    #[must_use]
    pub fn fault(self, error: &h2::Error) -> Fault {
        if let Some(error) = error.get_io() {
            return match (self, error.kind()) {
                (Self::Client, _) => Fault::ClientAborted,
                (Self::Server, io::ErrorKind::ConnectionReset) => Fault::ServerReset,
                (Self::Server, io::ErrorKind::TimedOut) => Fault::ServerTimeout,
                (Self::Server, _) => Fault::ServerClosed,
            };
        }
        if error.is_reset() {
            return if error.is_remote() { Fault::StreamReset } else { self.malformed() };
        }
        if error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR) {
            return if self == Self::Server { Fault::ServerClosed } else { Fault::ClientAborted };
        }
        Fault::Http2Failed
    }

    /// The fault of a message that breaks the protocol.
    #[must_use]
    pub fn malformed(self) -> Fault {
        match self {
            Self::Client => Fault::ClientMalformed,
            Self::Server => Fault::ServerMalformed,
        }
    }
}

/// Whether the server says that it did nothing with the request, so that it may be sent again (RFC 9113 §8.7).
#[must_use]
pub fn unprocessed(error: &h2::Error) -> bool {
    (error.is_reset() && error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM))
        // The library reports GOAWAY only on streams past the last one the server will process.
        || (error.is_go_away() && error.is_remote())
}

/// The code that tells the other side of a fault.
#[must_use]
pub fn reason(fault: Fault) -> Reason {
    match fault {
        Fault::ClientMalformed | Fault::RequestSmuggling => Reason::PROTOCOL_ERROR,
        Fault::StreamReset | Fault::ClientClosed | Fault::ClientAborted | Fault::ClientTimeout | Fault::Stopped => {
            Reason::CANCEL
        }
        _ => Reason::INTERNAL_ERROR,
    }
}

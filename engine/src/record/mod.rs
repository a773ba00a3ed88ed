//! The record: what weir keeps of the traffic it sees.
//!
//! - [`exchange`]: one request and its response, the row of the `exchanges` table.
//! - [`connection`]: one transport connection, the row of `connections`.
//! - [`message`]: one WebSocket, event-stream or gRPC message, the row of `messages`.
//! - [`headers`], [`body`], [`url`]: their parts, held as ranges into shared buffers so that
//!   recording copies nothing.
//! - [`media`], [`endpoint`]: values derived from them (category of a media type, path template).
//! - [`fault`]: the stable codes of the `error` columns.

pub mod body;
pub mod connection;
pub mod endpoint;
pub mod exchange;
pub mod fault;
pub mod headers;
pub mod host;
pub mod media;
pub mod message;
pub mod url;

pub use body::{Body, BodyHash, BodyState, Content};
pub use connection::{Connection, ConnectionKind, TlsDetails};
pub use exchange::{Exchange, Flags, Protocol, Source, Timings};
pub use fault::Fault;
pub use headers::{HeaderLines, Headers, HeadersBuilder};
pub use message::{Direction, Message, MessageKind};
pub use url::Url;

/// Anything the recorder stores.
#[derive(Debug)]
pub enum Record {
    /// A request with its response, or the half that was seen.
    Exchange(Box<Exchange>),
    /// A connection that ended.
    Connection(Box<Connection>),
    /// A message inside an exchange.
    Message(Box<Message>),
}

impl Record {
    /// Bytes of buffers this record keeps alive, the unit of the memory budget.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::Exchange(exchange) => exchange.held_bytes(),
            Self::Connection(_) => size_of::<Connection>(),
            Self::Message(message) => size_of::<Message>() + message.payload.len(),
        }
    }
}

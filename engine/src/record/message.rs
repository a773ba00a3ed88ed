//! One message inside an exchange: the row of the `messages` table.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;

use super::BodyState;
use crate::pipeline::Reservation;

/// Who sent a message (column `direction`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// Client to server.
    #[default]
    Sent,
    /// Server to client.
    Received,
}

impl Direction {
    /// The word in the column.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
        }
    }

    /// The other one.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Sent => Self::Received,
            Self::Received => Self::Sent,
        }
    }
}

/// What kind of message it is (column `kind`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MessageKind {
    /// WebSocket text (RFC 6455 §5.6).
    #[default]
    Text,
    /// WebSocket binary.
    Binary,
    /// WebSocket ping.
    Ping,
    /// WebSocket pong.
    Pong,
    /// WebSocket close.
    Close,
    /// One event of a `text/event-stream`.
    Event,
    /// One length-prefixed gRPC message.
    Grpc,
}

impl MessageKind {
    /// The word in the column.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Binary => "binary",
            Self::Ping => "ping",
            Self::Pong => "pong",
            Self::Close => "close",
            Self::Event => "event",
            Self::Grpc => "grpc",
        }
    }
}

/// One message.
#[derive(Debug, Default)]
pub struct Message {
    /// Address of the client, where known: says whose session it belongs to, and is no column.
    pub client: Option<SocketAddr>,
    /// Label that the client gave itself; no column either.
    pub device: Option<Arc<str>>,
    /// Exchange it belongs to.
    pub exchange: u64,
    /// Connection it came on.
    pub connection: u64,
    /// Last byte of it, microseconds since the Unix epoch.
    pub at_us: i64,
    /// Who sent it.
    pub direction: Direction,
    /// What kind it is.
    pub kind: MessageKind,
    /// Payload bytes on the wire (of all its frames, before decompression).
    pub size: u64,
    /// What became of the payload.
    pub state: BodyState,
    /// The payload as the application sees it: unmasked, and inflated when permessage-deflate
    /// (RFC 7692) compressed it.
    pub payload: Bytes,
    /// Whether it was compressed on the wire.
    pub compressed: bool,
    /// Share of the memory budget, released when the record is dropped.
    pub reservation: Option<Reservation>,
}

//! One request and its response: the row of the `exchanges` table.

use std::{net::SocketAddr, sync::Arc};

use bytestring::ByteString;

use super::{Body, Fault, Headers, Url};
use crate::pipeline::Reservation;

/// Which way into weir an exchange took (column `source`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    /// Through the explicit proxy.
    #[default]
    Proxy,
    /// From packets: an interface or a capture file.
    Packets,
    /// From the browser extension.
    Browser,
    /// From a HAR file or another recording.
    Import,
}

impl Source {
    /// The word in the column.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Packets => "packets",
            Self::Browser => "browser",
            Self::Import => "import",
        }
    }
}

/// Protocol version of the request as the client sent it (column `protocol`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// A request line without a version.
    Http09,
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
    /// HTTP/2.
    Http2,
    /// HTTP/3.
    Http3,
}

impl Protocol {
    /// The word in the column.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http09 => "HTTP/0.9",
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Http3 => "HTTP/3",
        }
    }
}

/// Oddities of an exchange (column `flags`), a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u32);

impl Flags {
    /// Bytes of it were lost on the way to weir.
    pub const GAP: Self = Self(1);
    /// A segment of it was retransmitted.
    pub const RETRANSMISSION: Self = Self(1 << 1);
    /// The connection was already open when weir first saw it.
    pub const MIDSTREAM: Self = Self(1 << 2);
    /// The parser found its place again at this message's head.
    pub const RESYNCHRONISED: Self = Self(1 << 3);
    /// Segments overlapped with differing data; the first was taken.
    pub const OVERLAP: Self = Self(1 << 4);
    /// The message departs from the grammar (bare LF, obs-fold, …) and was read as browsers read it.
    pub const MALFORMED: Self = Self(1 << 5);
    /// Sent by pipelining: before the answer to the request ahead of it.
    pub const PIPELINED: Self = Self(1 << 6);
    /// The last field lines of a header list are a trailer section.
    pub const TRAILERS: Self = Self(1 << 7);
    /// The response began before the request had ended.
    pub const EARLY_RESPONSE: Self = Self(1 << 8);
    /// The connection became a WebSocket with this exchange.
    pub const UPGRADED: Self = Self(1 << 9);
    /// The response was made by weir itself (an upstream error, the set-up page).
    pub const ANSWERED_BY_WEIR: Self = Self(1 << 10);
    /// The client sent `Expect: 100-continue`, or the server an interim response.
    pub const INTERIM: Self = Self(1 << 11);
    /// The upstream spoke another HTTP version than the client.
    pub const TRANSLATED: Self = Self(1 << 12);
    /// Sent on an upstream connection that had served another exchange before.
    pub const REUSED: Self = Self(1 << 13);

    /// Each bit with its word, for output.
    pub const NAMES: [(Self, &'static str); 14] = [
        (Self::GAP, "gap"),
        (Self::RETRANSMISSION, "retransmission"),
        (Self::MIDSTREAM, "midstream"),
        (Self::RESYNCHRONISED, "resynchronised"),
        (Self::OVERLAP, "overlap"),
        (Self::MALFORMED, "malformed"),
        (Self::PIPELINED, "pipelined"),
        (Self::TRAILERS, "trailers"),
        (Self::EARLY_RESPONSE, "early_response"),
        (Self::UPGRADED, "upgraded"),
        (Self::ANSWERED_BY_WEIR, "answered_by_weir"),
        (Self::INTERIM, "interim"),
        (Self::TRANSLATED, "translated"),
        (Self::REUSED, "reused"),
    ];

    /// Adds the bits of `other`.
    pub const fn set(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The words of the bits that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(bit, _)| self.has(*bit)).map(|(_, name)| name)
    }
}

/// How long the phases of an exchange took, in microseconds; `None` where a phase did not happen
/// (a reused connection has no connect phase) or was not seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timings {
    /// First byte of the request to last byte of the response.
    pub duration_us: Option<u64>,
    /// Name look-up.
    pub dns_us: Option<u64>,
    /// TCP connect, without TLS.
    pub connect_us: Option<u64>,
    /// TLS handshake with the server.
    pub tls_us: Option<u64>,
    /// Last byte of the request to first byte of the response.
    pub wait_us: Option<u64>,
    /// First to last byte of the response.
    pub receive_us: Option<u64>,
}

/// One request and its response.
#[derive(Debug, Default)]
pub struct Exchange {
    /// Position in the session, from 1; 0 until it is assigned (by the source, or by the recorder).
    pub id: u64,
    /// Way into weir.
    pub source: Source,
    /// Label of the client; empty: the recorder uses the client's address without the port.
    pub device: Option<Arc<str>>,
    /// Address of the client as seen.
    pub client: Option<SocketAddr>,
    /// Address of the server that was dialled or seen.
    pub server: Option<SocketAddr>,
    /// Id of the row in `connections`; 0: none.
    pub connection: u64,
    /// First byte of the request, microseconds since the Unix epoch.
    pub started_us: i64,
    /// Version of the request.
    pub protocol: Protocol,
    /// Method, case as seen.
    pub method: ByteString,
    /// Complete URL and its parts.
    pub url: Url,
    /// Status code; `None`: no response was seen.
    pub status: Option<u16>,
    /// Reason phrase (HTTP/1.x).
    pub reason: Option<ByteString>,
    /// Why a half is missing or cut.
    pub error: Option<Fault>,
    /// Field lines of the request.
    pub request_headers: Headers,
    /// Field lines of the response.
    pub response_headers: Headers,
    /// Body of the request.
    pub request_body: Body,
    /// Body of the response.
    pub response_body: Body,
    /// How long the phases took.
    pub timings: Timings,
    /// Process on this host, where known.
    pub process: Option<Arc<str>>,
    /// Process (thread group) id on this host, where known.
    pub pid: Option<u32>,
    /// Oddities.
    pub flags: Flags,
    /// Share of the memory budget its buffers take, released when the record is dropped.
    pub reservation: Option<Reservation>,
}

impl Exchange {
    /// Bytes of buffers this exchange keeps alive.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        size_of::<Self>()
            + self.request_headers.byte_len()
            + self.response_headers.byte_len()
            + self.request_body.content.len()
            + self.response_body.content.len()
    }

    /// Media type of the response (RFC 9110 §8.3.1) as sent, without parameters; `None`: no such field.
    ///
    /// Not lower-cased; see [`media::essence`](super::media::essence) for the column's form.
    #[must_use]
    pub fn response_content_type(&self) -> Option<&[u8]> {
        self.response_headers.get("content-type")
    }
}

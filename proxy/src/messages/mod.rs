//! Messages inside bodies, tapped as they pass: events of a `text/event-stream` and length-prefixed
//! gRPC messages, over HTTP/1.1 and HTTP/2 alike.
//!
//! - [`event_stream`]: the event stream of the HTML standard, §9.2.
//! - [`grpc`]: the length-prefixed messages of gRPC over HTTP/2 (and gRPC-Web).
//!
//! In: the bytes of a body in whatever pieces they arrive, and the time. Out: [`Message`]s without
//! exchange, connection and reservation, which the recording code adds. A tap owns no I/O, forwards
//! nothing, holds at most one message of limited size, and never fails: what is not a message is left out.

pub mod event_stream;
pub mod grpc;

use weir_engine::record::{Direction, Headers, Message};

use self::{event_stream::EventStream, grpc::Grpc};

/// Finds the messages of one body.
#[derive(Debug)]
pub enum Tap {
    /// A `text/event-stream`.
    EventStream(EventStream),
    /// A gRPC or gRPC-Web body.
    Grpc(Grpc),
}

impl Tap {
    /// The tap for a body with these header fields; `None` when it carries no known messages, or is
    /// content-coded as a whole. Of each message at most `limit` bytes are kept.
    #[must_use]
    pub fn for_body(direction: Direction, headers: &Headers, limit: usize) -> Option<Self> {
        let content_type = headers.get("content-type")?;
        let end = memchr::memchr(b';', content_type).unwrap_or(content_type.len());
        let essence = content_type[..end].trim_ascii();
        let coded =
            headers.get_all("content-encoding").any(|coding| !coding.trim_ascii().eq_ignore_ascii_case(b"identity"));
        if coded {
            return None;
        }
        if essence.eq_ignore_ascii_case(b"text/event-stream") {
            return Some(Self::EventStream(EventStream::new(direction, limit)));
        }
        grpc::is_grpc(essence).then(|| Self::Grpc(Grpc::new(direction, limit)))
    }

    /// Takes the next bytes of the body; calls `found` for each message they complete. `now_us` is the
    /// time they arrived, microseconds since the Unix epoch.
    pub fn feed(&mut self, bytes: &[u8], now_us: i64, found: impl FnMut(Message)) {
        match self {
            Self::EventStream(tap) => tap.feed(bytes, now_us, found),
            Self::Grpc(tap) => tap.feed(bytes, now_us, found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_by_media_type_and_coding() {
        let tap = |pairs: &[(&str, &str)]| {
            Tap::for_body(Direction::Received, &Headers::from_pairs(pairs.iter().copied()), 10)
        };
        assert!(matches!(tap(&[("Content-Type", "text/event-stream; charset=utf-8")]), Some(Tap::EventStream(_))));
        assert!(matches!(tap(&[("content-type", "application/grpc+proto")]), Some(Tap::Grpc(_))));
        assert!(matches!(tap(&[("content-type", "Application/gRPC-Web")]), Some(Tap::Grpc(_))));
        assert!(tap(&[("content-type", "application/grpc-web-text")]).is_none());
        assert!(tap(&[("content-type", "application/json")]).is_none());
        assert!(tap(&[("content-type", "text/event-stream"), ("content-encoding", "gzip")]).is_none());
        assert!(tap(&[]).is_none());
    }
}

//! What is kept of a body while it passes.
//!
//! In: the same shared slices that were passed on. Out: the recorded [`Body`]. Never waits and never
//! copies: a limit or an empty memory budget cuts the record, not the traffic.

use bytes::Bytes;
use weir_engine::{
    pipeline::{Budget, Reservation},
    record::{Body, BodyState, Content, Direction, Fault, Headers, Message, media},
};

use crate::{
    config::{BodyPolicy, ProxyConfig},
    core::now_us,
    messages,
};

#[derive(Debug)]
enum Mode {
    /// Bytes are kept.
    Keep,
    /// Bytes are hashed as they pass.
    Hash(Box<blake3::Hasher>),
    /// Bytes are counted.
    Count,
}

/// Gathers the record of one body.
#[derive(Debug)]
pub struct Tee {
    mode: Mode,
    size: u64,
    content: Content,
    limit: usize,
    cut: Option<Fault>,
    /// Finds the messages in the body, with the exchange they belong to.
    tap: Option<(messages::Tap, u64)>,
}

impl Tee {
    /// For a request body.
    #[must_use]
    pub fn request(config: &ProxyConfig) -> Self {
        Self::new(if config.keep.bodies() == BodyPolicy::None { Mode::Count } else { Mode::Keep }, config)
    }

    /// For the body of a response with these field lines.
    #[must_use]
    pub fn response(config: &ProxyConfig, headers: &Headers) -> Self {
        let mode = match config.keep.bodies() {
            _ if !config.keep.responses() => Mode::Count,
            BodyPolicy::None => Mode::Count,
            BodyPolicy::All => Mode::Keep,
            BodyPolicy::MediaOff => {
                let essence = headers.get("content-type").map(media::essence).unwrap_or_default();
                if media::Category::of(&essence).is_media() { Mode::Hash(Box::default()) } else { Mode::Keep }
            }
        };
        Self::new(mode, config)
    }

    fn new(mode: Mode, config: &ProxyConfig) -> Self {
        Self {
            mode,
            size: 0,
            content: Content::default(),
            limit: config.limits.stored_body_bytes,
            cut: None,
            tap: None,
        }
    }

    /// Looks for the messages of an event stream or of gRPC in the body, whose message has these field lines.
    #[must_use]
    pub fn finding_messages(mut self, direction: Direction, headers: &Headers, exchange: u64, limit: usize) -> Self {
        self.tap = messages::Tap::for_body(direction, headers, limit).map(|tap| (tap, exchange));
        self
    }

    /// Calls `found` for each message that these bytes complete, its exchange noted.
    pub fn tap(&mut self, bytes: &Bytes, mut found: impl FnMut(Message)) {
        if let Some((tap, exchange)) = &mut self.tap {
            tap.feed(bytes, now_us(), |message| found(Message { exchange: *exchange, ..message }));
        }
    }

    /// Takes note of bytes that were passed on; what is kept is charged to the reservation.
    pub fn push(&mut self, mut bytes: Bytes, budget: &Budget, reservation: &mut Option<Reservation>) {
        self.size += bytes.len() as u64;
        match &mut self.mode {
            Mode::Count => {}
            Mode::Hash(hasher) => {
                hasher.update(&bytes);
            }
            Mode::Keep if self.cut.is_some() => {}
            Mode::Keep => {
                let room = self.limit - self.content.len();
                let kept = bytes.len().min(room);
                if !charge(budget, reservation, kept) {
                    self.cut = Some(Fault::MemoryLimit);
                    return;
                }
                if kept < bytes.len() {
                    self.cut = Some(Fault::BodyLimit);
                    bytes.truncate(kept);
                }
                self.content.push(bytes);
            }
        }
    }

    /// Bytes that passed so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Why the record (not the traffic) was cut.
    #[must_use]
    pub fn cut(&self) -> Option<Fault> {
        self.cut
    }

    /// The record; `complete`: the body came to its end.
    #[must_use]
    pub fn finish(self, complete: bool) -> Body {
        if self.size == 0 {
            let state = if complete { BodyState::None } else { BodyState::Truncated };
            return Body { state, ..Body::default() };
        }
        let state = match &self.mode {
            Mode::Count => BodyState::SkippedPolicy,
            _ if self.cut.is_some() || !complete => BodyState::Truncated,
            Mode::Hash(_) => BodyState::SkippedMedia,
            Mode::Keep => BodyState::Stored,
        };
        let hash = match &self.mode {
            Mode::Hash(hasher) => Some(*hasher.finalize().as_bytes()),
            _ => None,
        };
        Body { state, size: self.size, hash, content: self.content, ..Body::default() }
    }
}

/// Takes bytes from the budget into a reservation that is made when it is not there yet.
#[must_use]
pub fn charge(budget: &Budget, reservation: &mut Option<Reservation>, bytes: usize) -> bool {
    match reservation {
        Some(reservation) => reservation.grow(bytes),
        None => {
            *reservation = budget.reserve(bytes);
            reservation.is_some()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_cut_the_record() {
        let mut config = ProxyConfig::default();
        config.limits.stored_body_bytes = 6;
        let budget = Budget::new(100);
        let mut reservation = None;
        let mut tee = Tee::request(&config);
        tee.push(Bytes::from_static(b"1234"), &budget, &mut reservation);
        tee.push(Bytes::from_static(b"5678"), &budget, &mut reservation);
        tee.push(Bytes::from_static(b"9"), &budget, &mut reservation);
        assert_eq!((tee.cut(), budget.used()), (Some(Fault::BodyLimit), 6));
        let body = tee.finish(true);
        assert_eq!((body.state, body.size, body.content.len()), (BodyState::Truncated, 9, 6));

        let mut tee = Tee::request(&config);
        tee.push(Bytes::from_static(b"123"), &Budget::new(2), &mut None);
        assert_eq!(tee.cut(), Some(Fault::MemoryLimit));
    }

    #[test]
    fn media_is_hashed_only() {
        let config = ProxyConfig::default();
        let mut tee = Tee::response(&config, &Headers::from_pairs([("content-type", "image/png")]));
        tee.push(Bytes::from_static(b"png"), &Budget::new(0), &mut None);
        let body = tee.finish(true);
        assert_eq!((body.state, body.hash), (BodyState::SkippedMedia, Some(*blake3::hash(b"png").as_bytes())));
        assert!(body.content.is_empty());
    }
}

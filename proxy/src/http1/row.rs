//! The record of one exchange while it is under way.
//!
//! In: what the forwarding code learns, as it learns it. Out: one [`Exchange`] when the exchange has
//! ended, however it ended.

use std::{cell::RefCell, time::Instant};

use bytes::Bytes;
use bytestring::ByteString;
use weir_engine::{
    pipeline::Reservation,
    record::{BodyState, Direction, Exchange, Fault, Flags, Headers, Message, Protocol, Record, Url},
};

use crate::{
    client::Client,
    config::BodyPolicy,
    dial::micros,
    tee::{Tee, charge},
};

/// The row of one exchange.
#[derive(Debug)]
pub struct Row {
    /// What is known so far.
    pub exchange: Box<Exchange>,
    /// First byte of the request.
    pub started: Instant,
    /// Last byte of the response, where the clock was asked then.
    pub ended: Option<Instant>,
    /// Record of the request body.
    pub request: Option<Tee>,
    /// Record of the response body.
    pub response: Option<Tee>,
    /// Whether the request came to its end.
    pub request_complete: bool,
    /// Whether the response came to its end.
    pub response_complete: bool,
    /// Share of the memory budget, of both bodies.
    pub reservation: RefCell<Option<Reservation>>,
}

impl Row {
    /// For a request whose first byte came at `started`.
    #[must_use]
    pub fn begin(client: &Client, started: Instant) -> Self {
        client.core.exchange_opened();
        let exchange = Exchange {
            id: client.begin_exchange(),
            client: Some(client.address),
            connection: client.id,
            device: client.device(),
            started_us: client.core.clock.at_us(started),
            ..Exchange::default()
        };
        Self {
            exchange: Box::new(exchange),
            started,
            ended: None,
            request: None,
            response: None,
            request_complete: false,
            response_complete: false,
            reservation: RefCell::default(),
        }
    }

    /// Notes the request's head.
    pub fn request(&mut self, protocol: Protocol, method: ByteString, url: Url, headers: Headers) {
        self.exchange.protocol = protocol;
        self.exchange.method = method;
        self.exchange.url = url;
        self.exchange.request_headers = headers;
    }

    /// Notes why something is missing, unless that is known already.
    pub fn fault(&mut self, fault: Fault) {
        self.exchange.error.get_or_insert(fault);
    }

    /// Adds a trailer section to a header list.
    pub fn trailers(headers: &mut Headers, flags: &mut Flags, trailers: Option<&Headers>) {
        if let Some(trailers) = trailers.filter(|trailers| !trailers.is_empty()) {
            *headers = headers.followed_by(trailers);
            flags.set(Flags::TRAILERS);
        }
    }

    /// Hands the row over; the future waits while the recorder is behind (back-pressure).
    pub fn finish(self, client: &Client) -> impl Future<Output = ()> + use<'_> {
        let core = &client.core;
        let waiting = core.push(Record::Exchange(self.close(client)));
        async move {
            if let Some(batch) = waiting {
                core.deliver(batch).await;
            }
        }
    }

    fn close(mut self, client: &Client) -> Box<Exchange> {
        let core = &client.core;
        let exchange = &mut self.exchange;
        for (tee, complete, body) in [
            (self.request.take(), self.request_complete, &mut exchange.request_body),
            (self.response.take(), self.response_complete, &mut exchange.response_body),
        ] {
            if let Some(tee) = tee {
                if let Some(cut) = tee.cut() {
                    exchange.error.get_or_insert(cut);
                }
                *body = tee.finish(complete);
            }
        }
        let ended = self.ended.unwrap_or_else(Instant::now);
        exchange.timings.duration_us = Some(micros(ended.saturating_duration_since(self.started)));
        let heads = exchange.request_headers.byte_len() + exchange.response_headers.byte_len();
        let mut reservation = self.reservation.borrow_mut().take();
        // Heads are small, and bounded by the queue: they are charged where there is room, never refused.
        let _ = charge(&core.shared.budget, &mut reservation, heads);
        exchange.reservation = reservation;
        core.exchange_closed();
        self.exchange
    }
}

/// Notes a piece of a body that passed, and the messages in it.
pub fn seen(tee: &mut Tee, client: &Client, reservation: &RefCell<Option<Reservation>>, bytes: Bytes) {
    tee.tap(&bytes, |message| note_message(client, message));
    tee.push(bytes, &client.core.shared.budget, &mut reservation.borrow_mut());
}

/// Hands over a message that was found in a body: its payload as the policy says and the budget allows.
fn note_message(client: &Client, mut message: Message) {
    let keep = &client.core.config().keep;
    let kept = keep.bodies() != BodyPolicy::None && (keep.responses() || message.direction == Direction::Sent);
    message.connection = client.id;
    message.client = Some(client.address);
    message.device = client.device();
    if !kept {
        message.state = BodyState::SkippedPolicy;
        message.payload = Bytes::new();
    } else if !charge(&client.core.shared.budget, &mut message.reservation, message.payload.len()) {
        message.state = BodyState::Truncated;
        message.payload = Bytes::new();
    }
    client.core.record_later(Record::Message(Box::new(message)));
}

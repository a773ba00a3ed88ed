//! The record of one HTTP/2 exchange while it passes.
//!
//! In: what [`super::relay`] observes. Out: the exchange's [`Row`], filled as HTTP/1.1 fills it, and
//! the messages found in its bodies. Recording never fails; where the recorder is behind, [`Observer::settle`] waits.

use std::{cell::RefCell, rc::Rc, time::Instant};

use bytes::Bytes;
use weir_engine::{
    pipeline::Batch,
    record::{BodyState, Direction, Fault, Flags, Headers, Message, Record},
};

use super::relay::Observer;
use crate::{
    client::Client,
    core::now_us,
    dial::elapsed_us,
    http1::row::{Row, seen},
    message::ResponseHead,
    messages::Tap,
    tee::Tee,
};

/// Fills a row.
#[derive(Debug)]
pub(super) struct Recording {
    /// The stream's view of its client: its watch is armed anew whenever something passes.
    client: Rc<Client>,
    inner: RefCell<Inner>,
    /// Batches that wait for room with the recorder.
    waiting: RefCell<Vec<Batch>>,
}

#[derive(Debug)]
struct Inner {
    row: Row,
    sent: Option<Instant>,
    first: Option<Instant>,
    up: Option<Tap>,
    down: Option<Tap>,
}

impl Recording {
    /// For a row whose request head is noted.
    pub(super) fn new(client: Rc<Client>, mut row: Row) -> Self {
        let config = client.core.config();
        row.request = Some(Tee::request(config));
        let limit = config.limits.stored_message_bytes;
        let up = Tap::for_body(Direction::Sent, &row.exchange.request_headers, limit);
        let inner = Inner { row, sent: None, first: None, up, down: None };
        Self { client, inner: RefCell::new(inner), waiting: RefCell::default() }
    }

    /// Changes the row.
    pub(super) fn row<T>(&self, change: impl FnOnce(&mut Row) -> T) -> T {
        change(&mut self.inner.borrow_mut().row)
    }

    /// Notes that the response failed, unless that is known already.
    pub(super) fn fault(&self, fault: Fault) {
        self.row(|row| row.fault(fault));
    }

    /// The end: the row.
    pub(super) fn into_row(self) -> Row {
        let mut inner = self.inner.into_inner();
        if let Some(first) = inner.first {
            inner.row.exchange.timings.receive_us.get_or_insert(elapsed_us(first));
        }
        inner.row
    }

    fn arm(&self) {
        self.client.watch.arm(self.client.core.config().upstream.timeouts.response);
    }

    /// Hands over the messages in bytes that pass.
    fn tap(&self, tap: &mut Option<Tap>, row: &Row, bytes: &Bytes) {
        let Some(tap) = tap else { return };
        let core = &self.client.core;
        tap.feed(bytes, now_us(), |mut message: Message| {
            message.exchange = row.exchange.id;
            message.connection = row.exchange.connection;
            message.reservation = core.shared.budget.reserve(message.payload.len());
            if message.reservation.is_none() {
                message.payload = Bytes::new();
                message.state = BodyState::Truncated;
            }
            let batch = core.push(Record::Message(Box::new(message)));
            self.waiting.borrow_mut().extend(batch);
        });
    }
}

impl Observer for Recording {
    fn request_data(&self, bytes: &Bytes) {
        self.arm();
        let Inner { row, up, .. } = &mut *self.inner.borrow_mut();
        if let Some(tee) = &mut row.request {
            seen(tee, &self.client, &row.reservation, bytes);
        }
        self.tap(up, row, bytes);
    }

    fn request_end(&self, trailers: Option<&Headers>) {
        self.arm();
        let inner = &mut *self.inner.borrow_mut();
        inner.sent = Some(Instant::now());
        inner.row.request_complete = true;
        let exchange = &mut inner.row.exchange;
        Row::trailers(&mut exchange.request_headers, &mut exchange.flags, trailers);
    }

    fn interim(&self, _: &ResponseHead) {
        self.arm();
        self.row(|row| row.exchange.flags.set(Flags::INTERIM));
    }

    fn response_head(&self, head: &ResponseHead) {
        self.arm();
        let config = self.client.core.config();
        let inner = &mut *self.inner.borrow_mut();
        let now = Instant::now();
        inner.first = Some(now);
        inner.down = Tap::for_body(Direction::Received, &head.headers, config.limits.stored_message_bytes);
        let row = &mut inner.row;
        row.response = Some(Tee::response(config, &head.headers));
        let exchange = &mut row.exchange;
        exchange.status = Some(head.status);
        exchange.reason.clone_from(&head.reason);
        exchange.response_headers = head.headers.clone();
        let wait = inner.sent.map(|sent| now.saturating_duration_since(sent).as_micros());
        exchange.timings.wait_us = wait.map(|wait| u64::try_from(wait).unwrap_or(u64::MAX));
    }

    fn response_data(&self, bytes: &Bytes) {
        self.arm();
        let Inner { row, down, .. } = &mut *self.inner.borrow_mut();
        if let Some(tee) = &mut row.response {
            seen(tee, &self.client, &row.reservation, bytes);
        }
        self.tap(down, row, bytes);
    }

    fn response_end(&self, trailers: Option<&Headers>) {
        let inner = &mut *self.inner.borrow_mut();
        let row = &mut inner.row;
        row.response_complete = true;
        let exchange = &mut row.exchange;
        exchange.timings.receive_us = inner.first.map(elapsed_us);
        Row::trailers(&mut exchange.response_headers, &mut exchange.flags, trailers);
    }

    async fn settle(&self) {
        loop {
            let Some(batch) = self.waiting.borrow_mut().pop() else { return };
            self.client.core.deliver(batch).await;
        }
    }
}

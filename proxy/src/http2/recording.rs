//! The record of one HTTP/2 exchange while it passes.
//!
//! In: what [`super::relay`] observes. Out: the exchange's [`Row`], filled as HTTP/1.1 fills it, and
//! the messages found in its bodies. Recording never waits and never fails.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Instant,
};

use bytes::Bytes;
use bytestring::ByteString;
use weir_engine::record::{Direction, Fault, Flags, Headers};

use super::relay::{ClientWait, Observer};
use crate::{
    client::Client,
    dial::elapsed_us,
    http1::row::{Row, seen},
    message::ResponseHead,
    tee::Tee,
    tunnel::Tap,
    websocket::{self, WebSocketTap},
};

/// Fills a row.
#[derive(Debug)]
pub(super) struct Recording {
    /// The stream's view of its client: its watch is armed anew whenever something passes.
    client: Rc<Client>,
    inner: RefCell<Inner>,
    /// Whether more of the request is waited for.
    awaits_request: Cell<bool>,
    /// Whether the client's window is waited for.
    awaits_window: Cell<bool>,
    /// `:protocol` of an extended CONNECT.
    protocol: Option<ByteString>,
}

#[derive(Debug)]
struct Inner {
    row: Row,
    sent: Option<Instant>,
    first: Option<Instant>,
    websocket: Option<WebSocketTap>,
}

impl Recording {
    /// For a row whose request head is noted.
    pub(super) fn new(client: Rc<Client>, mut row: Row, protocol: Option<ByteString>) -> Self {
        let config = client.core.config();
        let limit = config.limits.stored_message_bytes;
        let exchange = &row.exchange;
        let tee = Tee::request(config);
        row.request = Some(tee.finding_messages(Direction::Sent, &exchange.request_headers, exchange.id, limit));
        let inner = Inner { row, sent: None, first: None, websocket: None };
        let (awaits_request, awaits_window) = (Cell::default(), Cell::default());
        Self { client, inner: RefCell::new(inner), awaits_request, awaits_window, protocol }
    }

    /// Who is the cause when nothing has passed for too long.
    pub(super) fn timeout(&self) -> Fault {
        let unanswered = self.inner.borrow().first.is_none();
        if self.awaits_window.get() || (self.awaits_request.get() && unanswered) {
            Fault::ClientTimeout
        } else {
            Fault::ServerTimeout
        }
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
}

impl Observer for Recording {
    fn waits(&self, on: ClientWait, waiting: bool) {
        match on {
            ClientWait::Request => self.awaits_request.set(waiting),
            ClientWait::Window => self.awaits_window.set(waiting),
        }
    }

    fn request_data(&self, bytes: &Bytes) {
        self.arm();
        let Inner { row, websocket, .. } = &mut *self.inner.borrow_mut();
        if let Some(tee) = &mut row.request {
            seen(tee, &self.client, &row.reservation, bytes.clone());
        }
        if let Some(websocket) = websocket {
            websocket.pass(Direction::Sent, bytes);
        }
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
        let row = &mut inner.row;
        let (id, limit) = (row.exchange.id, config.limits.stored_message_bytes);
        let tee = Tee::response(config, &head.headers);
        row.response = Some(tee.finding_messages(Direction::Received, &head.headers, id, limit));
        if self.protocol.is_some() && (200..300).contains(&head.status) {
            // What follows is no body: as after an upgrade of HTTP/1.1, only its messages are kept.
            row.exchange.flags.set(Flags::UPGRADED);
            (row.request, row.response) = (None, None);
            if self.protocol.as_deref() == Some("websocket") {
                inner.websocket = Some(websocket::over_stream(&self.client, id, &head.headers));
            }
        }
        let exchange = &mut row.exchange;
        exchange.status = Some(head.status);
        exchange.reason.clone_from(&head.reason);
        exchange.response_headers = head.headers.clone();
        let wait = inner.sent.map(|sent| now.saturating_duration_since(sent).as_micros());
        exchange.timings.wait_us = wait.map(|wait| u64::try_from(wait).unwrap_or(u64::MAX));
    }

    fn response_data(&self, bytes: &Bytes) {
        self.arm();
        let Inner { row, websocket, .. } = &mut *self.inner.borrow_mut();
        if let Some(tee) = &mut row.response {
            seen(tee, &self.client, &row.reservation, bytes.clone());
        }
        if let Some(websocket) = websocket {
            websocket.pass(Direction::Received, bytes);
        }
    }

    fn response_end(&self, trailers: Option<&Headers>) {
        let inner = &mut *self.inner.borrow_mut();
        let row = &mut inner.row;
        row.response_complete = true;
        let exchange = &mut row.exchange;
        exchange.timings.receive_us = inner.first.map(elapsed_us);
        Row::trailers(&mut exchange.response_headers, &mut exchange.flags, trailers);
    }
}

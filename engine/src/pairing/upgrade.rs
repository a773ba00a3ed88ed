//! The inside of a connection that was upgraded: HTTP in a CONNECT tunnel, WebSocket, HTTP/2, or bytes.

use bytes::Bytes;

use super::{
    Context, Conversation,
    conversation::may_begin_request,
    draft::{Draft, Ends},
    streams::Streams,
};
use crate::{
    flow::{Consumer, Ending, Gap, Piece},
    http::{
        head::Head,
        sniff,
        websocket::{WebSocket, WebSocketMessage, agreed_deflate},
    },
    record::{BodyState, Direction, Message, Record},
};

/// What the bytes behind an upgrade are.
#[derive(Debug)]
pub(crate) enum Inside {
    /// A tunnel whose first bytes have not come.
    Tunnel(Ends, i64),
    /// HTTP in the tunnel.
    Http(Box<Conversation>),
    /// WebSocket: of the client, of the server.
    WebSocket(Box<Sockets>),
    /// HTTP/2.
    Http2(Box<Streams>),
    /// Anything else: counted only.
    Opaque,
}

/// Both directions of a WebSocket.
#[derive(Debug)]
pub(crate) struct Sockets {
    halves: [WebSocket; 2],
    exchange: u64,
    connection: u64,
}

/// What follows the response `head` to the request in `draft`.
pub(crate) fn inside(cx: &mut Context, draft: &Draft, head: &Head, ends: &Ends, time_ns: i64) -> Inside {
    let exchange = &*draft.exchange;
    if exchange.status != Some(101) {
        let url = &exchange.url;
        let authority = url.as_str().split_once("://").map(|(_, authority)| authority.into());
        return Inside::Tunnel(Ends { authority, ..ends.clone() }, time_ns);
    }
    let upgrade = head.headers.get("upgrade").or_else(|| exchange.request_headers.get("upgrade")).unwrap_or_default();
    if upgrade.eq_ignore_ascii_case(b"websocket") {
        let deflate = head.headers.get("sec-websocket-extensions").and_then(agreed_deflate);
        let client = WebSocket::new(deflate.map(|(client, _)| client));
        let server = WebSocket::new(deflate.map(|(_, server)| server));
        let sockets = Sockets { halves: [client, server], exchange: exchange.id, connection: ends.connection };
        return Inside::WebSocket(Box::new(sockets));
    }
    if upgrade.eq_ignore_ascii_case(b"h2c") {
        let mut streams = Streams::new(ends.clone());
        streams.upgraded(cx, exchange);
        return Inside::Http2(Box::new(streams));
    }
    // Reverse HTTP (draft-lentczner-rhttp): the server asks from here on.
    if upgrade.get(..5).is_some_and(|name| name.eq_ignore_ascii_case(b"PTTH/")) {
        return Inside::Tunnel(ends.clone(), time_ns);
    }
    Inside::Opaque
}

impl Inside {
    pub(crate) fn is_tunnel(&self) -> bool {
        match self {
            Self::Tunnel(..) | Self::Opaque => true,
            Self::Http(conversation) => !conversation.is_http,
            _ => false,
        }
    }

    pub(crate) fn data(&mut self, cx: &mut Context, direction: Direction, piece: Piece<'_>) {
        if let Self::Tunnel(ends, opened_ns) = self {
            // Line ends that servers and clients put behind their heads.
            if piece.bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
                return;
            }
            let is_http = sniff::request(piece.bytes)
                || sniff::response(piece.bytes)
                || may_begin_request(piece.bytes)
                || b"HTTP/".starts_with(piece.bytes);
            *self = if is_http {
                Self::Http(Box::new(Conversation::new(ends.clone(), *opened_ns, true)))
            } else {
                Self::Opaque
            };
        }
        match self {
            Self::Http(conversation) => conversation.data(cx, direction, piece),
            Self::WebSocket(sockets) => {
                let ends = (sockets.exchange, sockets.connection);
                let kept = cx.keeps_messages(direction);
                let records = &mut cx.records;
                let mut sink = |message| records.push(record(message, kept, ends, direction, piece.time_ns));
                sockets.halves[direction as usize].push(piece.bytes, &mut sink);
            }
            Self::Http2(streams) => streams.data(cx, direction, piece),
            Self::Tunnel(..) | Self::Opaque => {}
        }
    }

    pub(crate) fn gap(&mut self, cx: &mut Context, direction: Direction, gap: Gap) {
        match self {
            Self::Http(conversation) => conversation.gap(cx, direction, gap),
            Self::WebSocket(sockets) => {
                let ends = (sockets.exchange, sockets.connection);
                let kept = cx.keeps_messages(direction);
                let records = &mut cx.records;
                let mut sink = |message| records.push(record(message, kept, ends, direction, gap.time_ns));
                sockets.halves[direction as usize].gap(gap.len, &mut sink);
            }
            Self::Http2(streams) => streams.gap(cx, direction, gap),
            Self::Tunnel(..) => *self = Self::Opaque,
            Self::Opaque => {}
        }
    }

    pub(crate) fn end(&mut self, cx: &mut Context, direction: Direction, time_ns: i64) {
        if let Self::Http(conversation) = self {
            conversation.end(cx, direction, time_ns);
        }
    }

    /// Ends it; returns how many exchanges it had.
    pub(crate) fn close(self, cx: &mut Context, ending: Ending, time_ns: i64) -> u64 {
        match self {
            Self::Http(conversation) => conversation.close_nested(cx, ending, time_ns),
            Self::Http2(streams) => streams.close(cx, ending, time_ns),
            Self::WebSocket(_) | Self::Tunnel(..) | Self::Opaque => 0,
        }
    }
}

fn record(
    message: WebSocketMessage,
    kept: bool,
    (exchange, connection): (u64, u64),
    direction: Direction,
    time_ns: i64,
) -> Record {
    let WebSocketMessage { kind, size, mut state, mut payload, compressed } = message;
    if !kept {
        (state, payload) = (BodyState::SkippedPolicy, Bytes::new());
    }
    Record::Message(Box::new(Message {
        client: None,
        device: None,
        exchange,
        connection,
        at_us: time_ns.div_euclid(1_000),
        direction,
        kind,
        size,
        state,
        payload,
        compressed,
        reservation: None,
    }))
}

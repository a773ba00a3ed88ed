//! Connections of HTTP/1.1. Answers that need no pause are gathered until no whole request is left to be read, so that a
//! request costs one read and one write, and pipelined ones less.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use super::{
    Served,
    route::{Route, unique},
};
use crate::{
    ID_FIELD,
    wire::{
        chunked::{Chunked, LAST_CHUNK, push_chunk},
        content, parse_decimal, push_decimal, trim, websocket,
    },
};

const MOST_HEAD: usize = 64 << 10;
const MOST_FIELDS: usize = 100;
/// Bytes of a body that is sent back.
const MOST_ECHO: usize = 64 << 20;
/// Answers are written once they have grown to this.
const BLOCK: usize = 64 << 10;
/// Pieces of a slow answer.
const SLOW_PIECES: u64 = 10;

/// A stream whose connection can be reset.
pub(super) trait Peer: AsyncRead + AsyncWrite + Unpin {
    fn socket(&self) -> &TcpStream;
}

impl Peer for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Peer for TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// How a request's body is framed.
enum Framing {
    Length(u64),
    Chunked,
}

struct Request {
    head: usize,
    method: String,
    target: Vec<u8>,
    id: Option<Vec<u8>>,
    media_type: Option<Vec<u8>>,
    websocket_key: Option<Vec<u8>>,
    framing: Framing,
    keep_alive: bool,
    expects: bool,
}

fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Answers until the client or a fault ends the connection.
pub(super) async fn serve(stream: impl Peer, served: &Served) -> io::Result<()> {
    Connection { stream, served, input: Vec::with_capacity(16 << 10), at: 0, out: Vec::with_capacity(16 << 10) }
        .run()
        .await
}

struct Connection<'a, S> {
    stream: S,
    served: &'a Served,
    input: Vec<u8>,
    at: usize,
    out: Vec<u8>,
}

impl<S: Peer> Connection<'_, S> {
    async fn run(mut self) -> io::Result<()> {
        loop {
            while self.fast()? {}
            if self.at == self.input.len() {
                self.input.clear();
                self.at = 0;
            }
            if self.at < self.input.len() {
                match parse(&self.input[self.at..]) {
                    Ok(Some(request)) => {
                        self.at += request.head;
                        self.served.shared.stall();
                        if !self.slow(request).await? {
                            return self.flush().await;
                        }
                        continue;
                    }
                    Ok(None) => {}
                    Err(error) => {
                        self.out.extend_from_slice(
                            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                        );
                        self.flush().await?;
                        return Err(error);
                    }
                }
            }
            self.flush().await?;
            if self.fill().await? == 0 {
                return Ok(());
            }
        }
    }

    /// The common case: a GET for bytes that lie ready, head wholly there. Says whether it was one.
    fn fast(&mut self) -> io::Result<bool> {
        let input = &self.input[self.at..];
        if self.out.len() >= BLOCK || !input.starts_with(b"GET /") {
            return Ok(false);
        }
        let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        let Ok(httparse::Status::Complete(head)) = request.parse(input) else { return Ok(false) };
        let target = request.path.unwrap_or_default();
        let Route::Bytes(size @ 0..=0x8000) = Route::parse(target.as_bytes()) else { return Ok(false) };
        let mut id = None;
        for field in &*request.headers {
            // By length first: it is another one nearly always.
            match field.name.len() {
                14 if field.name.eq_ignore_ascii_case(ID_FIELD) => id = Some(field.value),
                14 | 17 | 10 | 6
                    if ["content-length", "transfer-encoding", "connection", "expect"]
                        .iter()
                        .any(|name| field.name.eq_ignore_ascii_case(name))
                        && !field.value.eq_ignore_ascii_case(b"keep-alive") =>
                {
                    return Ok(false);
                }
                _ => {}
            }
        }
        if request.version == Some(0) {
            return Ok(false);
        }
        self.served.shared.stall();
        self.served.note("GET", target, id, 200, size);
        self.out.extend_from_slice(b"HTTP/1.1 200 OK\r\nserver: weir-load\r\ncontent-type: application/json\r\n");
        push_id(&mut self.out, id);
        push_length(&mut self.out, size);
        content::piece(&mut self.out, size, 0, usize::MAX);
        self.at += head;
        Ok(true)
    }

    /// Any other request; false: the connection ends.
    async fn slow(&mut self, request: Request) -> io::Result<bool> {
        let route = Route::parse(&request.target);
        if request.expects {
            self.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            self.flush().await?;
        }
        let keep = if route == Route::Echo { MOST_ECHO } else { 0 };
        let body = self.body(&request.framing, keep).await?;
        let id = request.id.as_deref();
        let (status, size) = match route {
            Route::Unknown => (404, 0),
            Route::Status(status) => (status, 2),
            Route::Echo => (200, body.len() as u64),
            Route::WebSocket => (if request.websocket_key.is_some() { 101 } else { 426 }, 0),
            Route::Bytes(size) | Route::Unique(size) | Route::Delay(_, size) | Route::Chunked(size, _) => (200, size),
            Route::Coded(coding, size) => (200, self.served.coded.get(coding, size).len() as u64),
            Route::Slow(size, _) => (200, size),
            Route::Events(..) => (200, 0),
            Route::Truncate(size) => (200, size / 2),
            Route::Reset | Route::Malformed => (0, 0),
        };
        self.served.note(&request.method, &String::from_utf8_lossy(&request.target), id, status, size);
        match route {
            Route::Reset => {
                self.flush().await?;
                // What is unsent goes, and the client sees RST.
                socket2::SockRef::from(self.stream.socket()).set_linger(Some(Duration::ZERO))?;
                return Ok(false);
            }
            Route::Malformed => {
                self.out.extend_from_slice(b"This is no HTTP\r\n\r\n");
                return Ok(false);
            }
            Route::Delay(pause, _) => {
                self.flush().await?;
                tokio::time::sleep(pause).await;
            }
            Route::WebSocket => return self.websocket(&request).await,
            _ => {}
        }
        let reason = if status == 200 { "OK" } else { "Status" };
        self.out
            .extend_from_slice(format!("HTTP/1.1 {status} {reason}\r\nserver: weir-load\r\ncontent-type: ").as_bytes());
        let media_type = request.media_type.as_deref().filter(|_| route == Route::Echo);
        self.out.extend_from_slice(media_type.unwrap_or(route.media_type().as_bytes()));
        self.out.extend_from_slice(b"\r\n");
        push_id(&mut self.out, id);
        if !request.keep_alive {
            self.out.extend_from_slice(b"connection: close\r\n");
        }
        let bodyless = matches!(status, 204 | 304);
        if request.method == "HEAD" || bodyless {
            if bodyless {
                self.out.extend_from_slice(b"\r\n");
            } else {
                push_length(&mut self.out, size);
            }
            return Ok(request.keep_alive);
        }
        self.answer(route, id, &request.target, body).await?;
        Ok(request.keep_alive && !matches!(route, Route::Truncate(_)))
    }

    /// Length and body.
    async fn answer(&mut self, route: Route, id: Option<&[u8]>, target: &[u8], body: Vec<u8>) -> io::Result<()> {
        match route {
            Route::Bytes(size) | Route::Delay(_, size) => {
                push_length(&mut self.out, size);
                self.pieces(size, size, BLOCK, Duration::ZERO).await
            }
            Route::Slow(size, pause) => {
                push_length(&mut self.out, size);
                self.pieces(size, size, (size / SLOW_PIECES).max(1) as usize, pause).await
            }
            Route::Truncate(size) => {
                push_length(&mut self.out, size);
                self.pieces(size, size / 2, BLOCK, Duration::ZERO).await
            }
            Route::Unique(size) => {
                push_length(&mut self.out, size);
                unique(&mut self.out, size, id, target);
                Ok(())
            }
            Route::Echo => {
                push_length(&mut self.out, body.len() as u64);
                self.out.extend_from_slice(&body);
                Ok(())
            }
            Route::Coded(coding, size) => {
                let body = self.served.coded.get(coding, size);
                self.out.extend_from_slice(format!("content-encoding: {}\r\n", coding.token()).as_bytes());
                push_length(&mut self.out, body.len() as u64);
                self.out.extend_from_slice(&body);
                Ok(())
            }
            Route::Chunked(size, chunk) => {
                self.out.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
                let (mut sent, mut piece) = (0, Vec::new());
                while sent < size {
                    piece.clear();
                    sent += content::piece(&mut piece, size, sent, chunk) as u64;
                    push_chunk(&mut self.out, &piece);
                    if self.out.len() >= BLOCK {
                        self.flush().await?;
                    }
                }
                self.out.extend_from_slice(LAST_CHUNK);
                Ok(())
            }
            Route::Events(count, pause) => {
                self.out.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
                for number in 0..count {
                    push_chunk(&mut self.out, format!("id: {number}\ndata: {{\"event\":{number}}}\n\n").as_bytes());
                    self.flush().await?;
                    if number + 1 < count {
                        tokio::time::sleep(pause).await;
                    }
                }
                self.out.extend_from_slice(LAST_CHUNK);
                Ok(())
            }
            Route::Status(_) | Route::Unknown | Route::WebSocket | Route::Reset | Route::Malformed => {
                let text: &[u8] = if matches!(route, Route::Status(_)) { b"ok" } else { b"" };
                push_length(&mut self.out, text.len() as u64);
                self.out.extend_from_slice(text);
                Ok(())
            }
        }
    }

    /// The first `until` of `size` bytes, with a pause between pieces.
    async fn pieces(&mut self, size: u64, until: u64, piece: usize, pause: Duration) -> io::Result<()> {
        let mut sent = 0;
        while sent < until {
            let most = usize::try_from(until - sent).unwrap_or(usize::MAX).min(piece);
            sent += content::piece(&mut self.out, size, sent, most) as u64;
            if sent < until {
                self.flush().await?;
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
            }
        }
        Ok(())
    }

    /// Reads the body of a request and keeps it, if it is no longer than `keep`.
    async fn body(&mut self, framing: &Framing, keep: usize) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        let mut push = |data: &[u8]| {
            if keep > 0 && body.len() + data.len() <= keep {
                body.extend_from_slice(data);
            }
        };
        match framing {
            Framing::Length(length) => {
                let mut left = *length;
                loop {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(self.input.len() - self.at);
                    push(&self.input[self.at..self.at + here]);
                    self.at += here;
                    left -= here as u64;
                    if left == 0 {
                        break;
                    }
                    self.refill().await?;
                }
            }
            Framing::Chunked => {
                let mut chunked = Chunked::default();
                loop {
                    let read = chunked.read(&self.input[self.at..], &mut push);
                    self.at += read.map_err(|_| bad("a chunked body that is none"))?;
                    if chunked.is_done() {
                        break;
                    }
                    self.refill().await?;
                }
            }
        }
        Ok(body)
    }

    async fn websocket(&mut self, request: &Request) -> io::Result<bool> {
        let Some(key) = &request.websocket_key else {
            self.out.extend_from_slice(b"HTTP/1.1 426 Upgrade Required\r\nupgrade: websocket\r\n");
            push_length(&mut self.out, 0);
            return Ok(true);
        };
        let accept = websocket::accept(key);
        self.out
            .extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n");
        push_id(&mut self.out, request.id.as_deref());
        self.out.extend_from_slice(format!("sec-websocket-accept: {accept}\r\n\r\n").as_bytes());
        loop {
            let read = websocket::read(&mut self.input[self.at..]);
            let Some(frame) = read.map_err(|()| bad("a frame that is too large"))? else {
                self.flush().await?;
                if self.fill().await? == 0 {
                    return Ok(false);
                }
                continue;
            };
            let payload = self.at + frame.payload..self.at + frame.length;
            self.at += frame.length;
            match frame.opcode() {
                8 => {
                    websocket::push(&mut self.out, 0x88, &self.input[payload]);
                    return Ok(false);
                }
                9 => websocket::push(&mut self.out, 0x8a, &self.input[payload]),
                10 => {}
                _ => websocket::push(&mut self.out, frame.first, &self.input[payload]),
            }
        }
    }

    async fn refill(&mut self) -> io::Result<()> {
        if self.at == self.input.len() {
            self.input.clear();
            self.at = 0;
        }
        if self.fill().await? == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// Reads more; what was read is forgotten first.
    async fn fill(&mut self) -> io::Result<usize> {
        if self.at > 0 {
            self.input.drain(..self.at);
            self.at = 0;
        }
        if self.input.capacity() - self.input.len() < 4096 {
            self.input.reserve(16 << 10);
        }
        self.stream.read_buf(&mut self.input).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        if !self.out.is_empty() {
            self.stream.write_all(&self.out).await?;
            self.stream.flush().await?;
            self.out.clear();
        }
        Ok(())
    }
}

fn push_id(out: &mut Vec<u8>, id: Option<&[u8]>) {
    if let Some(id) = id {
        out.extend_from_slice(ID_FIELD.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(id);
        out.extend_from_slice(b"\r\n");
    }
}

fn push_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    push_decimal(out, length);
    out.extend_from_slice(b"\r\n\r\n");
}

/// A whole head; `None`: it goes on.
fn parse(input: &[u8]) -> io::Result<Option<Request>> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    let head = match parsed.parse(input) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) if input.len() <= MOST_HEAD => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(bad("a head without an end")),
        Err(_) => return Err(bad("no HTTP")),
    };
    let mut request = Request {
        head,
        method: parsed.method.unwrap_or_default().to_owned(),
        target: parsed.path.unwrap_or_default().as_bytes().to_vec(),
        id: None,
        media_type: None,
        websocket_key: None,
        framing: Framing::Length(0),
        keep_alive: parsed.version == Some(1),
        expects: false,
    };
    for field in &*parsed.headers {
        let is = |name| field.name.eq_ignore_ascii_case(name);
        if is(ID_FIELD) {
            request.id = Some(field.value.to_vec());
        } else if is("content-length") {
            let length = parse_decimal(trim(field.value)).ok_or_else(|| bad("a length that is none"))?;
            request.framing = Framing::Length(length);
        } else if is("transfer-encoding") {
            request.framing = Framing::Chunked;
        } else if is("content-type") {
            request.media_type = Some(field.value.to_vec());
        } else if is("sec-websocket-key") {
            request.websocket_key = Some(trim(field.value).to_vec());
        } else if is("connection") {
            if field.value.eq_ignore_ascii_case(b"close") {
                request.keep_alive = false;
            } else if field.value.eq_ignore_ascii_case(b"keep-alive") {
                request.keep_alive = true;
            }
        } else if is("expect") {
            request.expects = field.value.eq_ignore_ascii_case(b"100-continue");
        }
    }
    Ok(Some(request))
}

//! A connection of the generator: socket, tunnel, TLS, then HTTP of one version or the other. It never blocks.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use rustls::ClientConnection;
use socket2::{Domain, Protocol as Transport, Socket, Type};

use super::{Done, Failure, Sent, http1::Http1, http2::Http2};
use crate::{
    plan::{Endpoint, Prepared},
    wire::response,
};

/// What is being waited for before requests can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connect,
    Tunnel,
    Handshake,
    Open,
}

enum Http {
    One(Http1),
    Two(Box<Http2>),
}

/// A connection and what is under way on it.
pub(super) struct Connection {
    stream: TcpStream,
    phase: Phase,
    tls: Option<Box<ClientConnection>>,
    http: Http,
    out: Vec<u8>,
    out_at: usize,
    answer: Vec<u8>,
    /// Since when it has been there.
    pub(super) since: u64,
    /// Requests at once.
    depth: usize,
    connect: Option<Vec<u8>>,
}

impl Connection {
    /// Begins to connect.
    pub(super) fn open(endpoint: &Endpoint, depth: usize, hashes: bool, now: u64) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(endpoint.address), Type::STREAM, Some(Transport::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&endpoint.address.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
        let tls = match &endpoint.tls {
            Some((config, name)) => {
                let mut tls = ClientConnection::new(Arc::clone(config), name.clone()).map_err(io::Error::other)?;
                tls.set_buffer_limit(None);
                Some(Box::new(tls))
            }
            None => None,
        };
        let mut out = Vec::new();
        let http = if endpoint.http2 {
            Http::Two(Box::new(Http2::new(&mut out, hashes)))
        } else {
            Http::One(Http1::new(hashes))
        };
        Ok(Self {
            stream: socket.into(),
            phase: Phase::Connect,
            tls,
            http,
            out,
            out_at: 0,
            answer: Vec::new(),
            since: now,
            depth,
            connect: endpoint.connect.clone(),
        })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether another request can be sent.
    pub(super) fn has_room(&self) -> bool {
        self.is_open()
            && match &self.http {
                Http::One(http) => !http.closing && http.in_flight() < self.depth,
                Http::Two(http) => http.has_room() && http.in_flight() < self.depth,
            }
    }

    /// Nothing is under way and nothing more can be sent.
    pub(super) fn is_used_up(&self) -> bool {
        match &self.http {
            Http::One(http) => http.closing,
            Http::Two(http) => http.closing && http.in_flight() == 0,
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        match &self.http {
            Http::One(http) => http.in_flight(),
            Http::Two(http) => http.in_flight(),
        }
    }

    /// When the oldest request under way was sent; of a connection that is not open yet, when it began.
    pub(super) fn oldest(&self) -> Option<u64> {
        if !self.is_open() {
            return Some(self.since);
        }
        match &self.http {
            Http::One(http) => http.oldest(),
            Http::Two(http) => http.oldest(),
        }
    }

    /// Adds a request to what is to be written.
    pub(super) fn send(&mut self, request: &Prepared, id: Option<&[u8]>, sent: Sent) {
        match &mut self.http {
            Http::One(http) => http.send(&mut self.out, request, id, sent),
            Http::Two(http) => http.send(&mut self.out, request, id, sent),
        }
    }

    /// Writes what can be written.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        match self.phase {
            Phase::Connect => return Ok(()),
            Phase::Tunnel => return self.write_out().map(drop),
            Phase::Handshake | Phase::Open => {}
        }
        let Some(tls) = &mut self.tls else { return self.write_out().map(drop) };
        if self.phase == Phase::Open && self.out_at < self.out.len() {
            tls.writer().write_all(&self.out[self.out_at..]).map_err(|_| Failure::Tls)?;
            self.out.clear();
            self.out_at = 0;
        }
        while tls.wants_write() {
            match tls.write_tls(&mut &self.stream) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(Failure::of(&error)),
            }
        }
        Ok(())
    }

    fn write_out(&mut self) -> Result<(), Failure> {
        while self.out_at < self.out.len() {
            match (&self.stream).write(&self.out[self.out_at..]) {
                Ok(count) => self.out_at += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::of(&error)),
            }
        }
        self.out.clear();
        self.out_at = 0;
        Ok(())
    }

    /// The socket has something to say. `has_ended`: nothing comes behind what is there. `buffer` is for what is read;
    /// answers go into `done`.
    pub(super) fn ready(
        &mut self,
        now: u64,
        has_ended: bool,
        requests: &[Prepared],
        buffer: &mut [u8],
        done: &mut Vec<Done>,
    ) -> Result<(), Failure> {
        if self.phase == Phase::Connect {
            match self.stream.take_error() {
                Ok(None) => {}
                Ok(Some(error)) | Err(error) => return Err(Failure::connecting(&error)),
            }
            if self.stream.peer_addr().is_err() {
                return Ok(());
            }
            self.connected()?;
        }
        loop {
            let count = match (&self.stream).read(buffer) {
                Ok(0) => return Err(Failure::Closed),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failure::of(&error)),
            };
            self.received(&buffer[..count], now, requests, done)?;
            // A read that did not fill the buffer emptied the socket; what comes later is told anew, an end that
            // stands behind it already is not.
            if count < buffer.len() && !has_ended {
                break;
            }
        }
        self.flush()
    }

    fn connected(&mut self) -> Result<(), Failure> {
        if let Some(connect) = self.connect.take() {
            self.phase = Phase::Tunnel;
            // What HTTP/2 begins with waits behind the tunnel.
            self.answer = std::mem::replace(&mut self.out, connect);
        } else {
            self.phase = if self.tls.is_some() { Phase::Handshake } else { Phase::Open };
        }
        self.flush()
    }

    fn received(&mut self, bytes: &[u8], now: u64, requests: &[Prepared], done: &mut Vec<Done>) -> Result<(), Failure> {
        if self.phase == Phase::Tunnel {
            return self.tunnelled(bytes);
        }
        let Some(mut tls) = self.tls.take() else { return self.http(bytes, now, requests, done) };
        let outcome = self.decrypt(&mut tls, bytes, now, requests, done);
        self.tls = Some(tls);
        outcome
    }

    fn decrypt(
        &mut self,
        tls: &mut ClientConnection,
        mut bytes: &[u8],
        now: u64,
        requests: &[Prepared],
        done: &mut Vec<Done>,
    ) -> Result<(), Failure> {
        let mut plain = [0; 16 << 10];
        while !bytes.is_empty() {
            tls.read_tls(&mut bytes).map_err(|_| Failure::Tls)?;
            tls.process_new_packets().map_err(|_| Failure::Tls)?;
            if self.phase == Phase::Handshake && !tls.is_handshaking() {
                if matches!(self.http, Http::Two(_)) && tls.alpn_protocol() != Some(b"h2") {
                    return Err(Failure::NoHttp2);
                }
                self.phase = Phase::Open;
            }
            loop {
                match tls.reader().read(&mut plain) {
                    Ok(0) => return Err(Failure::Closed),
                    Ok(count) => self.http(&plain[..count], now, requests, done)?,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => return Err(Failure::Closed),
                }
            }
        }
        Ok(())
    }

    fn http(&mut self, bytes: &[u8], now: u64, requests: &[Prepared], done: &mut Vec<Done>) -> Result<(), Failure> {
        match &mut self.http {
            Http::One(http) => http.feed(bytes, now, requests, done),
            Http::Two(http) => http.feed(bytes, now, requests, &mut self.out, done),
        }
    }

    /// The proxy's answer to CONNECT. A server behind it says nothing before we have.
    fn tunnelled(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let preface = std::mem::take(&mut self.answer);
        let (mut answer, waiting) =
            if self.out.is_empty() { (Vec::new(), preface) } else { return Err(Failure::Proxy) };
        answer.extend_from_slice(bytes);
        match response::parse(&answer, true) {
            Ok(Some(head)) if head.status / 100 == 2 && head.length == answer.len() => {
                self.out = waiting;
                self.phase = if self.tls.is_some() { Phase::Handshake } else { Phase::Open };
                Ok(())
            }
            // Proxies send these few bytes in one piece.
            _ => Err(Failure::Proxy),
        }
    }

    /// It has ended: so has what was under way.
    pub(super) fn end(&mut self, now: u64, failure: Failure, done: &mut Vec<Done>) {
        match &mut self.http {
            Http::One(http) => http.end(now, failure, done),
            Http::Two(http) => http.end(now, failure, done),
        }
    }
}

//! One connection of a client, from accept to its row in `connections`.
//!
//! In: an accepted TCP stream. Out: what HTTP/1.1 makes of it; for CONNECT: TLS interception, HTTP in
//! the clear, or a tunnel, decided by the first bytes; at the end the row.
//!
//! Where the other rooms hook in: [`serve_decrypted`] gets what an
//! [`Interceptor`](crate::hooks::Interceptor) decrypted and serves HTTP/1.1 or HTTP/2 on it.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bytestring::ByteString;
use weir_engine::record::{Connection, ConnectionKind, Fault, Record};

use crate::{
    core::{Core, now_us},
    dial::{self, Purpose, elapsed_us},
    failure::Failure,
    hooks::{Alpn, Interception, Upstream},
    http1::{
        pool::{Origin, Server},
        route::Scope,
        serve::{self, End},
        wire::{Wire, WireError},
    },
    http2,
    stream::Stream,
    tunnel,
    watch::Watch,
};

/// One connection of a client.
#[derive(Debug)]
pub struct Client {
    /// What the worker's connections share.
    pub core: Rc<Core>,
    /// Number in the session.
    pub id: u64,
    /// Address of the client.
    pub address: SocketAddr,
    /// Deadline of whatever it waits for.
    pub watch: Rc<Watch>,
    opened: Instant,
    row: RefCell<Connection>,
    exchanges: Cell<u64>,
    /// The name it gave itself, with its credentials.
    device: RefCell<Option<Arc<str>>>,
    /// Where the last request that named its whole URL went.
    last_origin: RefCell<Option<Rc<Origin>>>,
}

/// How long a client may be silent after CONNECT before the server is asked whether it speaks first.
const SILENCE: Duration = Duration::from_millis(500);

impl Client {
    /// A connection that was just accepted.
    #[must_use]
    pub fn new(core: Rc<Core>, address: SocketAddr) -> Rc<Self> {
        let id = core.shared.ids.next_connection();
        let row = Connection { id, client: Some(address), opened_us: now_us(), ..Connection::default() };
        let watch = core.watches.watch();
        Rc::new(Self {
            id,
            address,
            watch,
            opened: Instant::now(),
            row: RefCell::new(row),
            exchanges: Cell::new(0),
            device: RefCell::default(),
            last_origin: RefCell::default(),
            core,
        })
    }

    /// The same client for one of several streams at once: with a deadline of its own. Rows and counts go
    /// to the connection itself.
    #[must_use]
    pub fn stream(&self) -> Rc<Self> {
        Rc::new(Self {
            id: self.id,
            address: self.address,
            watch: self.core.watches.watch(),
            opened: self.opened,
            row: RefCell::default(),
            exchanges: Cell::new(0),
            device: self.device.clone(),
            last_origin: RefCell::default(),
            core: Rc::clone(&self.core),
        })
    }

    /// Changes the connection's row.
    pub fn row<T>(&self, change: impl FnOnce(&mut Connection) -> T) -> T {
        change(&mut self.row.borrow_mut())
    }

    /// The name it gave itself; none: the recorder says.
    #[must_use]
    pub fn device(&self) -> Option<Arc<str>> {
        self.device.borrow().clone()
    }

    /// Takes over the name it gave itself.
    pub fn name_device(&self, name: &str) {
        let mut device = self.device.borrow_mut();
        if device.as_deref() != Some(name) {
            let name: Arc<str> = name.into();
            self.row(|row| row.device = Some(Arc::clone(&name)));
            *device = Some(name);
        }
    }

    /// Counts an exchange; returns its number in the session.
    pub fn begin_exchange(&self) -> u64 {
        self.exchanges.set(self.exchanges.get() + 1);
        self.core.shared.ids.next_exchange()
    }

    /// An origin; the same one as for the request before, mostly.
    #[must_use]
    pub fn origin(&self, secure: bool, host: &str, port: u16) -> Rc<Origin> {
        let mut last = self.last_origin.borrow_mut();
        match &*last {
            Some(last) if last.secure == secure && last.port == port && *last.host == *host => Rc::clone(last),
            _ => Rc::clone(last.insert(Rc::new(Origin { secure, host: host.into(), port, name: None }))),
        }
    }

    /// Notes where the connection's first request goes.
    pub fn leads_to(&self, origin: &Origin) {
        let mut row = self.row.borrow_mut();
        if row.domain.is_none() {
            row.domain = Some(origin.host.clone());
            row.port = origin.port;
        }
    }

    /// Adds bytes from and to the client.
    pub fn count(&self, (sent, received): (u64, u64)) {
        let mut row = self.row.borrow_mut();
        row.sent_bytes += sent;
        row.received_bytes += received;
    }

    /// Notes why the connection failed, unless that is known already.
    pub fn fault(&self, fault: Fault) {
        self.row.borrow_mut().error.get_or_insert(fault);
    }

    async fn finish(&self) {
        let mut row = self.row.take();
        row.exchanges = self.exchanges.get();
        row.duration_us = elapsed_us(self.opened);
        let shared = &self.core.shared;
        shared.sent_bytes.fetch_add(row.sent_bytes, std::sync::atomic::Ordering::Relaxed);
        shared.received_bytes.fetch_add(row.received_bytes, std::sync::atomic::Ordering::Relaxed);
        self.core.record(Record::Connection(Box::new(row))).await;
    }
}

/// Serves a client until it goes.
pub async fn run(core: Rc<Core>, stream: tokio::net::TcpStream, address: SocketAddr) {
    let client = Client::new(core, address);
    if let End::Connect { stream, host, port, authority } =
        serve::serve(&client, Stream::tcp(stream), &Scope::Proxy).await
    {
        // Boxed, as each request is: what an idle connection does not need it does not hold.
        Box::pin(connect(&client, stream, host, port, authority)).await;
    }
    client.finish().await;
}

/// What the first bytes of a tunnel are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    Tls,
    Http,
    Unclear,
    Other,
}

fn classify(bytes: &[u8]) -> First {
    match bytes {
        [] | [0x16] => First::Unclear,
        // Handshake record (RFC 8446 §5.1), legacy versions 3.0 to 3.4.
        [0x16, 3, ..] => First::Tls,
        _ => {
            let token = bytes.iter().take_while(|byte| byte.is_ascii_uppercase() || **byte == b'-').count();
            match bytes.get(token) {
                None if token <= 20 => First::Unclear,
                // The preface of HTTP/2 without TLS goes through as a tunnel.
                Some(b' ') if (3..=20).contains(&token) && !bytes.starts_with(b"PRI ") => First::Http,
                _ => First::Other,
            }
        }
    }
}

/// After CONNECT was answered: finds out what the client speaks.
async fn connect(client: &Rc<Client>, stream: Stream, host: ByteString, port: u16, authority: ByteString) {
    client.row(|row| {
        row.domain = Some(host.clone());
        row.port = port;
    });
    let core = &client.core;
    let interceptor = core.shared.hooks.interceptor.clone();
    let address = client.address.ip();
    let passes = interceptor.as_ref().is_none_or(|interceptor| interceptor.is_passthrough(address, &host, port));
    let wire = Wire::new(stream);
    let mut server: Option<(Wire, SocketAddr)> = None;
    client.watch.arm_idle(SILENCE);
    let first = loop {
        match wire.with_ahead(|ahead| classify(ahead)) {
            First::Unclear => {}
            known => break known,
        }
        let filled = match &server {
            None => wire.fill(&core.slabs, &client.watch, false).await.map(Some),
            Some((server, _)) => either_speaks(client, &wire, server).await,
        };
        match filled {
            Ok(Some(0)) => return client.count(wire.take_counts()),
            Ok(Some(_)) => {}
            // The server speaks first.
            Ok(None) => break First::Other,
            Err(WireError::Interrupted(_)) if server.is_none() && wire.is_drained() => {
                client.watch.arm(core.config().upstream.timeouts.connect * 2);
                match client.watch.guard(dial::dial(core, &host, port, Purpose::Tunnel)).await {
                    Ok(Ok(dialled)) => server = Some((Wire::new(dialled.stream), dialled.address)),
                    Ok(Err(failure)) => return client.fault(failure.fault),
                    Err(_) => return client.fault(Fault::ConnectTimeout),
                }
                client.watch.arm(core.config().upstream.timeouts.response);
            }
            Err(error) => {
                client.fault(serve::client_fault(&error, false));
                return client.count(wire.take_counts());
            }
        }
    };
    match (first, interceptor) {
        (First::Http, _) => {
            drop(server);
            let origin = Rc::new(Origin { secure: false, host, port, name: None });
            let scope = Scope::Origin { origin, authority, failure: None };
            serve::serve(client, into_stream(client, wire), &scope).await;
        }
        (First::Tls, Some(interceptor)) if !passes => {
            drop(server);
            let stream = into_stream(client, wire);
            client.watch.arm(core.config().upstream.timeouts.connect + core.config().upstream.timeouts.handshake * 2);
            let intercepting = interceptor.intercept(client, stream, &host, port);
            match client.watch.guard(intercepting).await {
                Ok(interception) => intercepted(client, interception, host, port, authority).await,
                Err(_) => {
                    client.row(|row| row.kind = ConnectionKind::Intercepted);
                    client.fault(Fault::ClientTimeout);
                }
            }
        }
        (first, interceptor) => {
            let kind = if first == First::Tls { ConnectionKind::Passthrough } else { ConnectionKind::Tunnel };
            if let (First::Tls, Some(interceptor)) = (first, interceptor) {
                let sni = wire.with_ahead(|ahead| interceptor.name_asked_for(ahead));
                client.row(|row| row.sni = sni);
            }
            let stream = into_stream(client, wire);
            pass_through(client, stream, server, &host, port, kind).await;
        }
    }
}

fn into_stream(client: &Client, wire: Wire) -> Stream {
    // Whoever reads the stream next counts the bytes that are put back in front again.
    let (sent, received) = wire.take_counts();
    let stream = wire.into_stream();
    client.count((sent.saturating_sub(stream.ahead().len() as u64), received));
    stream
}

/// Waits until the client says something (`Some`) or the server does (`None`).
async fn either_speaks(client: &Client, wire: &Wire, server: &Wire) -> Result<Option<usize>, WireError> {
    let slabs = &client.core.slabs;
    std::future::poll_fn(|cx| {
        if let std::task::Poll::Ready(result) = wire.poll_fill(cx, slabs, false) {
            return std::task::Poll::Ready(result.map(Some).map_err(WireError::from));
        }
        if server.poll_fill(cx, slabs, false).is_ready() {
            return std::task::Poll::Ready(Ok(None));
        }
        client.watch.poll_interrupt(cx).map(|interrupt| Err(WireError::Interrupted(interrupt)))
    })
    .await
}

async fn intercepted(
    client: &Rc<Client>,
    interception: Interception,
    host: ByteString,
    port: u16,
    authority: ByteString,
) {
    match interception {
        Interception::Passthrough { client: stream, sni } => {
            client.row(|row| row.sni = sni);
            pass_through(client, stream, None, &host, port, ConnectionKind::Passthrough).await;
        }
        Interception::Failed { failure, sni, tls } => {
            tracing::debug!(%host, %failure, "TLS with the client failed");
            client.row(|row| {
                row.kind = ConnectionKind::Intercepted;
                row.sni = sni;
                row.client_tls = tls;
            });
            client.fault(failure.fault);
        }
        Interception::Decrypted { client: stream, alpn, tls, sni, upstream, failure } => {
            let name = sni.clone().filter(|sni| *sni != host);
            client.row(|row| {
                row.kind = ConnectionKind::Intercepted;
                row.sni = sni;
                row.client_tls = tls;
                if let Some(failure) = &failure {
                    row.error = Some(failure.fault);
                }
            });
            let origin = Origin { secure: true, host, port, name };
            serve_decrypted(client, stream, alpn, origin, authority, upstream, failure).await;
        }
    }
}

/// Serves HTTP on a decrypted stream in the version that was settled. `upstream` is the server
/// connection that was made to settle it, `failure` why there is none.
pub async fn serve_decrypted(
    client: &Rc<Client>,
    stream: Stream,
    alpn: Alpn,
    origin: Origin,
    authority: ByteString,
    upstream: Option<Upstream>,
    failure: Option<Failure>,
) {
    match alpn {
        Alpn::Http11 => {
            if let Some(upstream) = upstream.filter(|upstream| upstream.secured.alpn == Alpn::Http11) {
                let now_ms = client.core.watches.now_ms();
                let mut server = Server::new(Wire::new(upstream.secured.stream), upstream.address, now_ms);
                server.dns_us = upstream.dns_us;
                server.connect_us = upstream.connect_us;
                server.tls_us = Some(upstream.secured.tls_us);
                server.tls = Some(upstream.secured.tls);
                client.core.pool.put(&origin, Box::new(server), now_ms);
            }
            serve::serve(client, stream, &Scope::Origin { origin: Rc::new(origin), authority, failure }).await;
        }
        Alpn::Http2 => http2::serve::serve(client, stream, origin, upstream, failure).await,
    }
}

/// Passes bytes through untouched and counts them.
async fn pass_through(
    client: &Rc<Client>,
    stream: Stream,
    server: Option<(Wire, SocketAddr)>,
    host: &str,
    port: u16,
    kind: ConnectionKind,
) {
    client.row(|row| row.kind = kind);
    let core = &client.core;
    let (server, address) = match server {
        Some(server) => server,
        None => {
            client.watch.arm(core.config().upstream.timeouts.connect * 2);
            match client.watch.guard(dial::dial(core, host, port, Purpose::Tunnel)).await {
                Ok(Ok(dialled)) => (Wire::new(dialled.stream), dialled.address),
                Ok(Err(failure)) => return client.fault(failure.fault),
                Err(_) => return client.fault(Fault::ConnectTimeout),
            }
        }
    };
    client.row(|row| row.server = Some(address));
    let wire = Wire::new(stream);
    let ended = tunnel::run(client, &wire, &server, &mut tunnel::NoTap).await;
    client.count(wire.take_counts());
    if let Some(fault) = ended {
        client.fault(fault);
    }
}

#[cfg(test)]
mod tests {
    use super::{First, classify, run};

    fn size<A, B, C, F: Future>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn idle_connections_are_small() {
        let size = size(run);
        assert!(size <= 3072, "a connection's task holds {size} bytes");
    }

    #[test]
    fn first_bytes_tell_the_protocol() {
        assert_eq!(classify(b"\x16\x03\x01\x02"), First::Tls);
        assert_eq!(classify(b"\x16"), First::Unclear);
        assert_eq!(classify(b"GET / HTTP/1.1"), First::Http);
        assert_eq!(classify(b"GE"), First::Unclear);
        assert_eq!(classify(b"M-SEARCH * HTTP/1.1"), First::Http);
        assert_eq!(classify(b"SSH-2.0-x"), First::Other);
        assert_eq!(classify(b"\x00\x01"), First::Other);
        assert_eq!(classify(b"PRI * HTTP/2.0\r\n"), First::Other);
        assert_eq!(classify(&[b'A'; 64]), First::Other);
    }
}

//! Which connection to a server a request of an HTTP/2 client takes, and what is known about it.
//!
//! In: an origin. Out: an HTTP/2 session shared by the clients of this worker, or, where the server
//! settles on nothing better, an HTTP/1.1 connection.

use std::{cell::Cell, net::SocketAddr, rc::Rc};

use weir_engine::record::{Fault, Flags};

use super::{
    limits::Http2Limits,
    pool::{Pool, Pooled},
    upstream::Session,
};
use crate::{
    client::Client,
    config::ProxyConfig,
    dial::{self, Purpose},
    failure::Failure,
    hooks::{Alpn, Secured, ServerTls, Upstream},
    http1::{
        pool::{Origin, Server},
        row::Row,
        wire::Wire,
    },
    watch::Interrupt,
};

/// HTTP/2 sessions of one worker.
pub type Links = Pool<Origin, Link>;

/// A session and how it came about.
#[derive(Debug, Clone)]
pub struct Link {
    /// The connection.
    pub session: Session,
    address: SocketAddr,
    tls: Rc<ServerTls>,
    phases: Rc<Cell<Phases>>,
}

/// How long making a connection took, in microseconds; for the first exchange on it.
#[derive(Debug, Clone, Copy, Default)]
struct Phases {
    dns_us: Option<u64>,
    connect_us: Option<u64>,
    tls_us: Option<u64>,
}

impl Pooled for Link {
    fn has_room(&self) -> bool {
        self.session.has_room()
    }

    fn is_closed(&self) -> bool {
        self.session.is_closed()
    }

    fn load(&self) -> usize {
        self.session.open_streams()
    }
}

impl Link {
    /// HTTP/2 on a connection that settled on it.
    ///
    /// # Errors
    /// Why the server does not speak it.
    pub async fn open(upstream: Upstream, config: &ProxyConfig) -> Result<Self, Failure> {
        let Upstream { secured: Secured { stream, tls, tls_us, .. }, address, dns_us, connect_us } = upstream;
        let session = Session::open(stream, &Http2Limits::towards_servers(config)).await?;
        let phases = Phases { dns_us, connect_us, tls_us: Some(tls_us) };
        Ok(Self { session, address, tls, phases: Rc::new(Cell::new(phases)) })
    }

    /// Notes the connection in the exchange's row and the client's.
    pub(super) fn note(&self, client: &Client, row: &mut Row) {
        let Phases { dns_us, connect_us, tls_us } = self.phases.take();
        note(client, row, self.address, Some(&self.tls), (dns_us, connect_us, tls_us));
    }
}

/// Notes an HTTP/1.1 connection likewise.
pub(super) fn note_server(client: &Client, row: &mut Row, server: &Server) {
    row.exchange.flags.set(Flags::TRANSLATED);
    if server.served > 0 {
        row.exchange.flags.set(Flags::REUSED);
        return note(client, row, server.address, server.tls.as_ref(), (None, None, None));
    }
    note(client, row, server.address, server.tls.as_ref(), (server.dns_us, server.connect_us, server.tls_us));
}

type Durations = (Option<u64>, Option<u64>, Option<u64>);

fn note(client: &Client, row: &mut Row, address: SocketAddr, tls: Option<&Rc<ServerTls>>, durations: Durations) {
    row.exchange.server = Some(address);
    let timings = &mut row.exchange.timings;
    (timings.dns_us, timings.connect_us, timings.tls_us) = durations;
    client.row(|connection| {
        connection.server = Some(address);
        if let Some(tls) = tls {
            connection.server_tls = tls.details.clone();
            connection.certificate_subject.clone_from(&tls.certificate_subject);
            connection.certificate_issuer.clone_from(&tls.certificate_issuer);
            connection.certificate_not_after_us = tls.certificate_not_after_us;
        }
    });
}

/// A connection for one request.
#[derive(Debug)]
pub(super) enum Acquired {
    Http2(Link),
    Http1(Box<Server>),
}

enum NoSession {
    Http1(Box<Server>),
    Failure(Failure),
}

/// A connection to `origin`: a session with room, or one that is dialled.
pub(super) async fn acquire(client: &Rc<Client>, origin: &Origin) -> Result<Acquired, Failure> {
    let pool = &client.core.http2;
    match pool.get_or_dial(origin, || connect(client, origin)).await {
        Ok((link, _)) => Ok(Acquired::Http2(link)),
        Err(NoSession::Http1(server)) => Ok(Acquired::Http1(server)),
        Err(NoSession::Failure(failure)) => Err(failure),
    }
}

async fn connect(client: &Rc<Client>, origin: &Origin) -> Result<Link, NoSession> {
    let core = &client.core;
    let config = core.config();
    let timeouts = config.upstream.timeouts;
    let watch = &client.watch;
    watch.arm(timeouts.connect * 2);
    let dialling = dial::dial(core, &origin.host, origin.port, Purpose::Tunnel);
    let dialled = watch.guard(dialling).await.map_err(|interrupt| interrupted(interrupt, Fault::ConnectTimeout))?;
    let dialled = dialled.map_err(NoSession::Failure)?;
    let Some(interceptor) = core.shared.hooks.interceptor.clone() else {
        return Err(NoSession::Failure(Failure::new(Fault::UpstreamTlsFailed, "TLS is not set up in this proxy.")));
    };
    watch.arm(timeouts.handshake);
    let securing = interceptor.secure(dialled.stream, &origin.host, &[Alpn::Http2, Alpn::Http11]);
    let secured = watch.guard(securing).await.map_err(|interrupt| interrupted(interrupt, Fault::UpstreamTlsFailed))?;
    let secured = secured.map_err(NoSession::Failure)?;
    let upstream =
        Upstream { secured, address: dialled.address, dns_us: dialled.dns_us, connect_us: dialled.connect_us };
    match upstream.secured.alpn {
        Alpn::Http2 => Link::open(upstream, config).await.map_err(NoSession::Failure),
        Alpn::Http11 => Err(NoSession::Http1(Box::new(to_server(upstream, core.watches.now_ms())))),
    }
}

/// An HTTP/1.1 connection from what the handshake settled.
pub(super) fn to_server(upstream: Upstream, now_ms: u64) -> Server {
    let mut server = Server::new(Wire::new(upstream.secured.stream), upstream.address, now_ms);
    server.dns_us = upstream.dns_us;
    server.connect_us = upstream.connect_us;
    server.tls_us = Some(upstream.secured.tls_us);
    server.tls = Some(upstream.secured.tls);
    server
}

fn interrupted(interrupt: Interrupt, late: Fault) -> NoSession {
    NoSession::Failure(match interrupt {
        Interrupt::Stopped => Fault::Stopped.into(),
        Interrupt::Deadline => Failure::new(late, "The server did not answer in time."),
    })
}

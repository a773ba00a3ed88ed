//! The proxy as a whole: its sockets and worker threads, started, asked and stopped from outside.
//!
//! In: configuration, hooks, an outlet. Out: a listening proxy; when stopped, threads joined and
//! outlets dropped, so that the recorder can drain.

use std::{
    collections::HashMap,
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;
use weir_engine::pipeline::{Budget, Ids, Outlet};

use crate::{
    ca::Authority,
    config::ProxyConfig,
    core::Shared,
    failure::ProxyError,
    hooks::Hooks,
    message::RequestHead,
    setup::{self, SetupContext},
    tls::TlsHook,
    worker::{self, StopSignal},
};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;

/// What the proxy is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProxyStatus {
    /// Client connections open now.
    pub open_connections: u64,
    /// Exchanges under way now.
    pub open_exchanges: u64,
    /// Bytes from clients, of connections that have ended.
    pub sent_bytes: u64,
    /// Bytes to clients, of connections that have ended.
    pub received_bytes: u64,
}

/// Addresses under which devices reach a listener; for one on all addresses, those this machine sends from.
fn reachable(listen: SocketAddr) -> Vec<SocketAddr> {
    if !listen.ip().is_unspecified() {
        return vec![listen];
    }
    // Connecting a UDP socket sends nothing; it makes the system choose the address it would send from. The
    // destinations are documentation addresses (RFC 5737, RFC 3849).
    let from = |any: &str, to: &str| {
        let socket = std::net::UdpSocket::bind(any).ok()?;
        socket.connect(to).ok()?;
        Some(SocketAddr::new(socket.local_addr().ok()?.ip(), listen.port()))
    };
    let v4 = from("0.0.0.0:0", "192.0.2.1:9");
    let v6 = listen.is_ipv6().then(|| from("[::]:0", "[2001:db8::1]:9")).flatten();
    let found: Vec<_> = v4.into_iter().chain(v6).collect();
    if found.is_empty() { vec![SocketAddr::from(([127, 0, 0, 1], listen.port()))] } else { found }
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    stop: watch::Sender<StopSignal>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Proxy {
    /// Starts a proxy that intercepts TLS with this authority and answers the set-up page.
    ///
    /// # Errors
    /// As [`start_with`](Self::start_with), and when passthrough rules or extra authorities cannot be read.
    pub fn start(
        config: ProxyConfig,
        authority: Arc<Authority>,
        outlet: Outlet,
        ids: Arc<Ids>,
        budget: Budget,
    ) -> Result<Self, ProxyError> {
        let tls = TlsHook::new(Arc::clone(&authority), &config).map_err(|error| ProxyError::Tls(error.to_string()))?;
        let addresses = Arc::new(OnceLock::<Vec<SocketAddr>>::new());
        let known = Arc::clone(&addresses);
        let setup = move |head: &RequestHead, _client: SocketAddr| {
            let addresses = known.get().map(Vec::as_slice).unwrap_or_default();
            setup::respond(head, &SetupContext { authority: &authority, addresses }).into()
        };
        let hooks = Hooks { interceptor: Some(Arc::new(tls)), setup: Some(Arc::new(setup)) };
        let proxy = Self::start_with(config, hooks, outlet, ids, budget)?;
        // Set once, here: the address is known only now.
        let _ = addresses.set(reachable(proxy.local_addr()));
        Ok(proxy)
    }

    /// Starts a proxy with these hooks.
    ///
    /// # Errors
    /// When the address cannot be listened on, or threads cannot be made.
    pub fn start_with(
        config: ProxyConfig,
        hooks: Hooks,
        outlet: Outlet,
        ids: Arc<Ids>,
        budget: Budget,
    ) -> Result<Self, ProxyError> {
        raise_file_limit();
        let count = match config.threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            count => count,
        };
        let listeners = listen(config.listen, count)?;
        let failed = |source| ProxyError::Listen { address: config.listen, source };
        let address = listeners[0].local_addr().map_err(failed)?;
        let shared = Arc::new(Shared {
            config,
            listen: address,
            ids,
            budget,
            hooks,
            open_connections: AtomicU64::new(0),
            open_exchanges: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            per_client: Mutex::new(HashMap::new()),
        });
        let (stop, stopped) = watch::channel(None);
        let mut proxy = Self { shared, stop, threads: Vec::with_capacity(count) };
        for (index, listener) in listeners.into_iter().enumerate() {
            let (shared, outlet, stopped) = (Arc::clone(&proxy.shared), outlet.sibling(), stopped.clone());
            let thread = std::thread::Builder::new()
                .name(format!("weir-proxy-{index}"))
                .spawn(move || worker::run(shared, outlet, listener, stopped))
                .map_err(ProxyError::Worker)?;
            proxy.threads.push(thread);
        }
        // Each worker has an outlet of its own: the queue ends with the last of them.
        drop(outlet);
        Ok(proxy)
    }

    /// Address the proxy listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.listen
    }

    /// What it is doing.
    #[must_use]
    pub fn status(&self) -> ProxyStatus {
        ProxyStatus {
            open_connections: self.shared.open_connections.load(Relaxed),
            open_exchanges: self.shared.open_exchanges.load(Relaxed),
            sent_bytes: self.shared.sent_bytes.load(Relaxed),
            received_bytes: self.shared.received_bytes.load(Relaxed),
        }
    }

    /// Stops: takes no more clients, lets exchanges end for `grace`, cuts what is left, and returns when all
    /// records are handed over. Blocks.
    pub fn stop(mut self, grace: Duration) {
        self.halt(grace);
    }

    fn halt(&mut self, grace: Duration) {
        self.stop.send_replace(Some(Instant::now() + grace));
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a proxy worker failed"),
                Err(_) => tracing::error!("a proxy worker panicked"),
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.halt(Duration::ZERO);
    }
}

fn listen(address: SocketAddr, count: usize) -> Result<Vec<TcpListener>, ProxyError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => ProxyError::AddressInUse(address),
        _ => ProxyError::Listen { address, source },
    };
    // SO_REUSEPORT would let two captures share a port unseen: ask first without it.
    let probe = bind(address, false).map_err(failed)?;
    let address = probe.local_addr().map_err(failed)?;
    drop(probe);
    (0..count).map(|_| bind(address, true).map_err(failed)).collect()
}

fn bind(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Raises the limit of open files to what is allowed: each exchange needs two.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

//! A fast test server: what a path asks for is what comes back.
//!
//! - [`route`]: paths and what they ask for.
//! - [`log`]: a line for every request, when asked for.
//! - [`http1`]: connections of HTTP/1.1: small answers without a pause go out together with what else is ready.
//! - [`http2`]: connections of HTTP/2.
//! - here: threads, each with a runtime of its own, listening on the same ports (SO_REUSEPORT).

mod http1;
mod http2;
mod log;
pub mod route;

use std::{
    net::SocketAddr,
    path::PathBuf,
    rc::Rc,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Builder,
    sync::watch,
    task::LocalSet,
};
use tokio_rustls::TlsAcceptor;

use self::log::Log;
use crate::{LoadError, certificates::Identity};

/// Connections of a thread at once; those behind wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 16_384;

/// How the origin is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen for HTTP.
    pub listen: SocketAddr,
    /// Where to listen for HTTPS.
    pub tls: Option<SocketAddr>,
    /// Threads.
    pub threads: usize,
    /// A log of what was served, one JSON object a line.
    pub log: Option<PathBuf>,
    /// The whole server holds still, again and again.
    pub stall: Option<Stall>,
}

/// Every `every`, counted from the first request, nothing is answered for `length`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stall {
    /// From the begin of one stall to that of the next; the first begins after this time.
    pub every: Duration,
    /// How long.
    pub length: Duration,
}

impl Stall {
    /// How much longer it holds still `since` the first request.
    #[must_use]
    pub fn left(&self, since: Duration) -> Option<Duration> {
        let every = self.every.as_nanos().max(1);
        if since < self.every {
            return None;
        }
        let within = since.as_nanos() % every;
        let left = self.length.as_nanos().checked_sub(within).filter(|left| *left > 0)?;
        Some(Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX)))
    }
}

/// What the threads share.
struct Shared {
    log: Option<Log>,
    stall: Option<Stall>,
    first: OnceLock<Instant>,
    requests: AtomicU64,
}

impl Shared {
    /// Holds this thread still while a stall lasts: that is what a stalled server does to everyone.
    fn stall(&self) {
        let Some(stall) = self.stall else { return };
        if let Some(left) = stall.left(self.first.get_or_init(Instant::now).elapsed()) {
            thread::sleep(left);
        }
    }
}

/// A running origin.
pub struct Origin {
    address: SocketAddr,
    tls: Option<SocketAddr>,
    end: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl Origin {
    /// Listens and answers from now on.
    ///
    /// # Errors
    /// When it cannot listen, or the log cannot be written.
    pub fn start(options: &Options, identity: &Identity) -> Result<Self, LoadError> {
        let (plain, address) = listeners(options.listen, options.threads)?;
        let (secure, tls) = match options.tls {
            Some(tls) => listeners(tls, options.threads).map(|(sockets, address)| (sockets, Some(address)))?,
            None => (Vec::new(), None),
        };
        let acceptor = TlsAcceptor::from(Arc::new(identity.server()?));
        let shared = Arc::new(Shared {
            log: options.log.as_deref().map(Log::create).transpose()?,
            stall: options.stall,
            first: OnceLock::new(),
            requests: AtomicU64::new(0),
        });
        let (end, ended) = watch::channel(false);
        let mut secure = secure.into_iter();
        let mut threads = Vec::with_capacity(options.threads);
        for (number, plain) in plain.into_iter().enumerate() {
            let worker =
                Worker { plain, secure: secure.next(), acceptor: acceptor.clone(), shared: Arc::clone(&shared) };
            let ended = ended.clone();
            let thread = thread::Builder::new().name(format!("origin-{number}")).spawn(move || worker.run(ended));
            threads.push(thread.map_err(LoadError::io("a thread cannot be started"))?);
        }
        Ok(Self { address, tls, end, threads, shared })
    }

    /// Where it listens for HTTP.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for HTTPS.
    #[must_use]
    pub fn tls(&self) -> Option<SocketAddr> {
        self.tls
    }

    /// Ends all connections, writes what is left of the log, says how many requests there were.
    ///
    /// # Errors
    /// When the log could not be written.
    pub fn stop(self) -> Result<u64, LoadError> {
        // Without receivers all threads have ended.
        let _ = self.end.send(true);
        for thread in self.threads {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
        if let Some(log) = &self.shared.log {
            log.finish()?;
        }
        Ok(self.shared.requests.load(Ordering::Relaxed))
    }
}

struct Worker {
    plain: std::net::TcpListener,
    secure: Option<std::net::TcpListener>,
    acceptor: TlsAcceptor,
    shared: Arc<Shared>,
}

impl Worker {
    fn run(self, mut ended: watch::Receiver<bool>) {
        let runtime = match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return eprintln!("warning: a thread of the origin has no runtime: {error}"),
        };
        let local = LocalSet::new();
        local.block_on(&runtime, async move {
            let served = Rc::new(Served::new(self.shared));
            let (plain, secure) =
                (TcpListener::from_std(self.plain), self.secure.map(TcpListener::from_std).transpose());
            let (Ok(plain), Ok(secure)) = (plain, secure) else {
                return eprintln!("warning: a thread of the origin cannot listen");
            };
            let rooms = Arc::new(tokio::sync::Semaphore::new(MOST_CONNECTIONS));
            loop {
                let Ok(room) = Arc::clone(&rooms).acquire_owned().await else { return };
                let (accepted, is_secure) = tokio::select! {
                    accepted = plain.accept() => (accepted, false),
                    accepted = accept(secure.as_ref()) => (accepted, true),
                    _ = ended.wait_for(|ended| *ended) => break,
                };
                let Ok((stream, _)) = accepted else {
                    // No descriptor is left, say: somebody will end a connection.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                };
                let (served, acceptor) = (Rc::clone(&served), self.acceptor.clone());
                tokio::task::spawn_local(async move {
                    // A client that goes away is no error of the origin's.
                    let _ = match is_secure {
                        false => serve_plain(stream, &served).await,
                        true => serve_secure(stream, &acceptor, &served).await,
                    };
                    drop(room);
                });
            }
            served.flush_log();
        });
    }
}

async fn accept(listener: Option<&TcpListener>) -> std::io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

async fn serve_plain(stream: TcpStream, served: &Rc<Served>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut first = [0; 3];
    // Prior knowledge: the preface of HTTP/2 begins like no method.
    if stream.peek(&mut first).await? == first.len() && first == *b"PRI" {
        return http2::serve(stream, served).await;
    }
    http1::serve(stream, served).await
}

async fn serve_secure(stream: TcpStream, acceptor: &TlsAcceptor, served: &Rc<Served>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let stream = acceptor.accept(stream).await?;
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        return http2::serve(stream, served).await;
    }
    http1::serve(stream, served).await
}

/// What the connections of a thread share.
struct Served {
    shared: Arc<Shared>,
    lines: std::cell::RefCell<Vec<u8>>,
    coded: route::Coded,
}

impl Served {
    fn new(shared: Arc<Shared>) -> Self {
        Self { shared, lines: std::cell::RefCell::default(), coded: route::Coded::default() }
    }

    /// Counts a request and notes it in the log.
    fn note(&self, method: &str, target: &str, id: Option<&[u8]>, status: u16, size: u64) {
        self.shared.requests.fetch_add(1, Ordering::Relaxed);
        if let Some(log) = &self.shared.log {
            let mut lines = self.lines.borrow_mut();
            log.line(&mut lines, method, target, id, status, size);
        }
    }

    fn flush_log(&self) {
        if let Some(log) = &self.shared.log {
            log.write(&mut self.lines.borrow_mut());
        }
    }
}

fn listeners(address: SocketAddr, count: usize) -> Result<(Vec<std::net::TcpListener>, SocketAddr), LoadError> {
    let mut bound = address;
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count.max(1) {
        let socket = listener(bound).map_err(|source| LoadError::Listen { address, source })?;
        // Port 0 became a free one: the others share it.
        bound = socket.local_addr().map_err(|source| LoadError::Listen { address, source })?;
        sockets.push(socket);
    }
    Ok((sockets, bound))
}

fn listener(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stalls_come_again() {
        let stall = Stall { every: Duration::from_secs(5), length: Duration::from_millis(500) };
        let left = |ms| stall.left(Duration::from_millis(ms)).map(|left| left.as_millis());
        assert_eq!(
            [left(0), left(4_999), left(5_000), left(5_100), left(5_500)],
            [None, None, Some(500), Some(400), None]
        );
        assert_eq!(left(10_499), Some(1));
    }
}

//! Connections to servers: names resolved, our own listeners refused, addresses tried in order, the
//! upstream proxy gone through.
//!
//! In: host and port. Out: a connected stream with the address and how long each step took.

use std::{
    borrow::Cow,
    cell::RefCell,
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::net::TcpStream;
use weir_engine::record::Fault;

use crate::{core::Core, failure::Failure, http1::connect_via, stream::Stream};

/// A connected stream.
#[derive(Debug)]
pub struct Dialled {
    /// The connection; through an upstream proxy, the tunnel inside it.
    pub stream: Stream,
    /// Address that was dialled: the server's, or the upstream proxy's.
    pub address: SocketAddr,
    /// Resolving took, microseconds; `None` when nothing had to be resolved.
    pub dns_us: Option<u64>,
    /// Connecting took, microseconds.
    pub connect_us: Option<u64>,
}

/// What the connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Plain HTTP requests: an upstream proxy takes them in absolute-form on this connection.
    PlainHttp,
    /// TLS or any other bytes: an upstream proxy is asked for a tunnel by CONNECT.
    Tunnel,
}

/// How long a resolved name is believed.
const NAME_LIFE: Duration = Duration::from_secs(5);
/// Names remembered.
const NAMES: usize = 1024;
/// Addresses tried of one name.
const ADDRESSES: usize = 8;

/// When a name was resolved, and to what.
type Resolved = (Instant, Rc<[IpAddr]>);

/// Names resolved lately, on one worker.
#[derive(Debug, Default)]
pub struct NameCache {
    names: RefCell<HashMap<Box<str>, Resolved>>,
}

impl NameCache {
    fn get(&self, host: &str) -> Option<Rc<[IpAddr]>> {
        let names = self.names.borrow();
        let (at, addresses) = names.get(host)?;
        (at.elapsed() < NAME_LIFE).then(|| Rc::clone(addresses))
    }

    fn put(&self, host: &str, addresses: Rc<[IpAddr]>) {
        let mut names = self.names.borrow_mut();
        if names.len() >= NAMES {
            names.retain(|_, (at, _)| at.elapsed() < NAME_LIFE);
            if names.len() >= NAMES {
                names.clear();
            }
        }
        names.insert(host.into(), (Instant::now(), addresses));
    }
}

/// Microseconds since an instant.
#[must_use]
pub fn elapsed_us(since: Instant) -> u64 {
    micros(since.elapsed())
}

/// A duration in microseconds.
#[must_use]
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Connects to a server, through the upstream proxy when there is one.
///
/// # Errors
/// Name, address or connection failures; [`Fault::LoopRefused`] for our own listeners.
pub async fn dial(core: &Core, host: &str, port: u16, purpose: Purpose) -> Result<Dialled, Failure> {
    let timeout = core.config().upstream.timeouts.connect;
    let deadline = tokio::time::Instant::now() + timeout;
    let Some(proxy) = &core.config().upstream.proxy else {
        return connect(core, host, port, deadline).await;
    };
    // The proxy would dial for us what we refuse to dial ourselves.
    if let Ok(address) = host.parse::<IpAddr>() {
        refuse_own(core, SocketAddr::new(address, port))?;
    }
    let mut dialled = connect(core, &proxy.host, proxy.port, deadline).await.map_err(|failure| {
        Failure::new(failure.fault, format!("The upstream proxy cannot be reached. {}", failure.detail))
    })?;
    if purpose == Purpose::Tunnel {
        let shaken = connect_via::tunnel(&mut dialled.stream, host, port, proxy.credentials.as_ref());
        tokio::time::timeout_at(deadline, shaken).await.unwrap_or_else(|_| {
            Err(Failure::new(
                Fault::UpstreamProxyFailed,
                format!("The upstream proxy did not answer CONNECT {host}:{port} within {timeout:?}."),
            ))
        })?;
    }
    Ok(dialled)
}

async fn connect(core: &Core, host: &str, port: u16, deadline: tokio::time::Instant) -> Result<Dialled, Failure> {
    let (addresses, dns_us) = resolve(core, host, deadline).await?;
    let started = Instant::now();
    let mut last: Option<Failure> = None;
    let count = addresses.len().min(ADDRESSES);
    for (index, address) in addresses.iter().take(ADDRESSES).enumerate() {
        let address = SocketAddr::new(*address, port);
        refuse_own(core, address)?;
        // Each address gets its share of what time is left, so that one black hole does not take it all.
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        let share = left / u32::try_from(count - index).unwrap_or(1);
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                let connect_us = Some(elapsed_us(started));
                return Ok(Dialled { stream: Stream::tcp(stream), address, dns_us, connect_us });
            }
            Ok(Err(error)) => last = Some(connect_failure(host, address, &error)),
            Err(_) => {
                last = Some(Failure::new(
                    Fault::ConnectTimeout,
                    format!("{host} ({address}) did not answer the connect within {} ms.", share.as_millis()),
                ));
            }
        }
    }
    Err(last.unwrap_or_else(|| no_address(host, "no address")))
}

async fn resolve(
    core: &Core,
    host: &str,
    deadline: tokio::time::Instant,
) -> Result<(Rc<[IpAddr]>, Option<u64>), Failure> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok((Rc::from([address]), None));
    }
    if let Some(addresses) = core.names.get(host) {
        return Ok((addresses, None));
    }
    // A label of a name is at most 63 octets and a name at most 253 (RFC 1035 §2.3.4).
    if host.len() > 253 {
        return Err(no_address(host, "the name is too long"));
    }
    let started = Instant::now();
    let looked_up = tokio::time::timeout_at(deadline, tokio::net::lookup_host((host, 0))).await;
    let addresses: Rc<[IpAddr]> = match looked_up {
        Ok(Ok(found)) => found.map(|address| address.ip()).collect(),
        Ok(Err(error)) => return Err(no_address(host, error.to_string())),
        Err(_) => return Err(no_address(host, "the name server did not answer in time")),
    };
    if addresses.is_empty() {
        return Err(no_address(host, "no address"));
    }
    core.names.put(host, Rc::clone(&addresses));
    Ok((addresses, Some(elapsed_us(started))))
}

fn no_address(host: &str, why: impl Into<Cow<'static, str>>) -> Failure {
    let why = why.into();
    Failure::new(Fault::DnsFailed, format!("The name {host} has no address ({why}). Check the name and the network."))
}

fn connect_failure(host: &str, address: SocketAddr, error: &io::Error) -> Failure {
    let (fault, what) = match error.kind() {
        io::ErrorKind::ConnectionRefused => (Fault::ConnectRefused, "refused the connection; is the server running?"),
        io::ErrorKind::TimedOut => (Fault::ConnectTimeout, "did not answer the connect."),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable => {
            (Fault::ConnectUnreachable, "cannot be reached from here; check the network.")
        }
        _ => return Failure::new(Fault::ConnectFailed, format!("Connecting to {host} ({address}) failed: {error}.")),
    };
    Failure::new(fault, format!("{host} ({address}) {what}"))
}

/// Refuses addresses that are our own listeners, by the resolved address: a name, a redirect or a
/// rebinding cannot lead around it.
pub(crate) fn refuse_own(core: &Core, address: SocketAddr) -> Result<(), Failure> {
    let own = std::iter::once(core.shared.listen).chain(core.config().refuse.iter().copied());
    for listener in own {
        if listener.port() == address.port() && reaches(address.ip().to_canonical(), listener.ip().to_canonical()) {
            return Err(Failure::new(
                Fault::LoopRefused,
                format!("{address} is a listener of weir itself; the proxy does not dial it."),
            ));
        }
    }
    Ok(())
}

/// Whether a connect to `to` arrives at a listener on `listener` (same port).
fn reaches(to: IpAddr, listener: IpAddr) -> bool {
    if to == listener {
        return true;
    }
    // Connecting to the unspecified address reaches the loopback.
    if to.is_unspecified() {
        return listener.is_loopback() || listener.is_unspecified();
    }
    listener.is_unspecified() && is_local(to)
}

/// Whether an address is one of this host's interfaces: then the route to it begins at itself. Sends nothing.
fn is_local(address: IpAddr) -> bool {
    if address.is_loopback() {
        return true;
    }
    let any: SocketAddr = if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    std::net::UdpSocket::bind(any)
        .and_then(|socket| {
            socket.connect((address, 9))?;
            socket.local_addr()
        })
        .is_ok_and(|local| local.ip() == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_listeners_are_found_under_every_name_of_the_address() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert!(reaches(ip("127.0.0.1"), ip("127.0.0.1")));
        assert!(reaches(ip("0.0.0.0"), ip("127.0.0.1")));
        assert!(reaches(ip("::"), ip("0.0.0.0")));
        assert!(reaches(ip("127.3.2.1"), ip("0.0.0.0")));
        assert!(!reaches(ip("127.0.0.2"), ip("127.0.0.1")));
        assert!(!reaches(ip("192.0.2.1"), ip("0.0.0.0")));
    }
}

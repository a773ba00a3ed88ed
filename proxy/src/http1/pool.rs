//! Idle HTTP/1.1 connections to servers, by origin, of one worker: the last one in is the first out.
//!
//! In: connections whose exchange is complete. Out: connections on which nothing was heard meanwhile.

use std::{cell::RefCell, net::SocketAddr, rc::Rc};

use bytestring::ByteString;
use hashbrown::HashMap;

use super::wire::Wire;
use crate::{config::Timeouts, core::Slabs, hooks::ServerTls};

/// Whom a connection leads to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Whether there is TLS on it.
    pub secure: bool,
    /// Host, lower case, no brackets.
    pub host: ByteString,
    /// Port.
    pub port: u16,
    /// Name in TLS, lower case, where it is another than `host`: what a client said by SNI inside a CONNECT, to an
    /// address most of the time. Connections for different names are never shared.
    pub name: Option<ByteString>,
}

impl Origin {
    /// The name that goes into SNI and that the certificate is verified for.
    #[must_use]
    pub fn server_name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.host)
    }
}

/// A connection to a server.
#[derive(Debug)]
pub struct Server {
    /// The connection.
    pub wire: Wire,
    /// Address that was dialled.
    pub address: SocketAddr,
    /// What the TLS handshake told.
    pub tls: Option<Rc<ServerTls>>,
    /// When it was made, on the worker's clock.
    pub opened_ms: u64,
    /// Exchanges it has served.
    pub served: u64,
    /// Resolving took, microseconds; for the first exchange on it.
    pub dns_us: Option<u64>,
    /// Connecting took.
    pub connect_us: Option<u64>,
    /// The TLS handshake took.
    pub tls_us: Option<u64>,
    idle_since_ms: u64,
}

impl Server {
    /// A fresh connection.
    #[must_use]
    pub fn new(wire: Wire, address: SocketAddr, opened_ms: u64) -> Self {
        Self {
            wire,
            address,
            tls: None,
            opened_ms,
            served: 0,
            dns_us: None,
            connect_us: None,
            tls_us: None,
            idle_since_ms: opened_ms,
        }
    }
}

/// Origins remembered without a connection, before they are swept.
const EMPTY_ORIGINS: usize = 1024;

/// The idle connections.
#[derive(Debug)]
#[allow(clippy::vec_box, reason = "a connection goes in and out with each request: a pointer moves, not 300 bytes")]
pub struct Pool {
    idle: RefCell<HashMap<Origin, Vec<Box<Server>>, rustc_hash::FxBuildHasher>>,
    per_origin: usize,
    idle_ms: u64,
    age_ms: u64,
}

impl Pool {
    /// At most `per_origin` idle connections each.
    #[must_use]
    pub fn new(per_origin: usize, timeouts: &Timeouts) -> Self {
        let millis = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            idle: RefCell::default(),
            per_origin,
            idle_ms: millis(timeouts.pool_idle),
            age_ms: millis(timeouts.pool_age),
        }
    }

    /// A usable idle connection.
    #[must_use]
    pub fn take(&self, origin: &Origin, now_ms: u64, slabs: &Slabs) -> Option<Box<Server>> {
        let mut idle = self.idle.borrow_mut();
        let servers = idle.get_mut(origin)?;
        while let Some(server) = servers.pop() {
            if self.is_fresh(&server, now_ms) && server.wire.is_quiet(slabs) {
                return Some(server);
            }
        }
        None
    }

    fn is_fresh(&self, server: &Server, now_ms: u64) -> bool {
        now_ms.saturating_sub(server.idle_since_ms) < self.idle_ms
            && now_ms.saturating_sub(server.opened_ms) < self.age_ms
    }

    /// Keeps a connection for the next exchange.
    pub fn put(&self, origin: &Origin, mut server: Box<Server>, now_ms: u64) {
        server.idle_since_ms = now_ms;
        let mut idle = self.idle.borrow_mut();
        match idle.get_mut(origin) {
            Some(servers) => {
                if servers.len() >= self.per_origin {
                    servers.remove(0);
                }
                servers.push(server);
            }
            None if self.per_origin > 0 => {
                idle.insert(origin.clone(), vec![server]);
            }
            None => {}
        }
    }

    /// Closes connections that are too old, or that the server closed.
    pub fn sweep(&self, now_ms: u64, slabs: &Slabs) {
        let mut idle = self.idle.borrow_mut();
        for servers in idle.values_mut() {
            servers.retain(|server| self.is_fresh(server, now_ms) && server.wire.is_quiet(slabs));
        }
        if idle.len() > EMPTY_ORIGINS {
            idle.retain(|_, servers| !servers.is_empty());
        }
    }

    /// Closes all.
    pub fn clear(&self) {
        self.idle.borrow_mut().clear();
    }
}

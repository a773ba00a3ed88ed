//! What the proxy is told: parsed once by the command line, then only read, but for what is kept of bodies.
//!
//! In: typed values. Out: the same, with the defaults of the house and the checks that need no socket.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
    },
    time::Duration,
};

/// Everything that decides how the proxy behaves.
#[derive(Debug, Clone)]
pub struct ProxyConfig {
    /// Address to listen on; port 0 takes a free port.
    pub listen: SocketAddr,
    /// Worker threads; 0: one for each core.
    pub threads: usize,
    /// Listeners of our own (the UI) that the proxy must never dial; its own address is always among them.
    pub refuse: Vec<SocketAddr>,
    /// Towards servers.
    pub upstream: UpstreamConfig,
    /// Hosts whose TLS passes untouched: exact names or `*.suffix`.
    pub passthrough: Vec<String>,
    /// Whether hosts whose clients refuse our CA are let through from then on.
    pub passthrough_pinned: bool,
    /// User name and password clients must give (Basic). The user name `*` stands for any: what a client gives
    /// then names its device, as it does where nothing must be given.
    pub auth: Option<(String, String)>,
    /// What is kept of bodies; it may change while the proxy runs.
    pub keep: Arc<Keep>,
    /// Bounds on everything that comes from the network.
    pub limits: Limits,
}

impl Default for ProxyConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 5559)),
            threads: 0,
            refuse: Vec::new(),
            upstream: UpstreamConfig::default(),
            passthrough: Vec::new(),
            passthrough_pinned: false,
            auth: None,
            keep: Arc::default(),
            limits: Limits::default(),
        }
    }
}

/// Which bodies are kept (`--bodies`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum BodyPolicy {
    /// Every body.
    All = 0,
    /// All but image, audio and video responses, which are hashed and counted.
    #[default]
    MediaOff = 1,
    /// None: bodies are only counted.
    None = 2,
}

/// What is kept of bodies: read once a body, changed at any time.
#[derive(Debug)]
pub struct Keep {
    bodies: AtomicU8,
    responses: AtomicBool,
}

impl Default for Keep {
    fn default() -> Self {
        Self::new(BodyPolicy::default(), true)
    }
}

impl Keep {
    /// Bodies by this policy; without `responses` (`--no-responses`) none of responses.
    #[must_use]
    pub fn new(bodies: BodyPolicy, responses: bool) -> Self {
        Self { bodies: AtomicU8::new(bodies as u8), responses: AtomicBool::new(responses) }
    }

    /// Which bodies are kept.
    #[must_use]
    pub fn bodies(&self) -> BodyPolicy {
        match self.bodies.load(Relaxed) {
            0 => BodyPolicy::All,
            1 => BodyPolicy::MediaOff,
            _ => BodyPolicy::None,
        }
    }

    /// Whether response bodies are kept at all.
    #[must_use]
    pub fn responses(&self) -> bool {
        self.responses.load(Relaxed)
    }

    /// Changes which bodies are kept, from the next body on.
    pub fn set_bodies(&self, bodies: BodyPolicy) {
        self.bodies.store(bodies as u8, Relaxed);
    }

    /// Changes whether response bodies are kept, from the next body on.
    pub fn set_responses(&self, responses: bool) {
        self.responses.store(responses, Relaxed);
    }
}

/// How servers are reached.
#[derive(Debug, Clone, Default)]
pub struct UpstreamConfig {
    /// PEM files with authorities trusted beside the system's.
    pub extra_ca: Vec<PathBuf>,
    /// Accept any server certificate.
    pub insecure: bool,
    /// Another proxy that everything goes through.
    pub proxy: Option<UpstreamProxy>,
    /// How long each step may take.
    pub timeouts: Timeouts,
}

/// An upstream HTTP proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamProxy {
    /// Host name or address, IPv6 without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// User name and password for it (Basic).
    pub credentials: Option<(String, String)>,
}

impl UpstreamProxy {
    /// Reads `http://[user:pass@]host[:port]` (the scheme may be left out; port 8080 when none is given).
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = match text.split_once("://") {
            None => text,
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some((scheme, _)) => {
                return Err(format!("the upstream proxy's scheme is {scheme}; only http:// is spoken"));
            }
        };
        let rest = rest.trim_end_matches('/');
        let (credentials, authority) = match rest.rsplit_once('@') {
            None => (None, rest),
            Some((user_info, authority)) => {
                let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
                (Some((user.to_owned(), password.to_owned())), authority)
            }
        };
        match weir_engine::record::url::split_host_port(authority) {
            Some((host, port)) if !host.is_empty() && !host.contains('/') => {
                Ok(Self { host: host.to_owned(), port: port.unwrap_or(8080), credentials })
            }
            _ => Err(format!("{text} is no proxy address; write http://host:port")),
        }
    }
}

/// How long each step may take. Checked about ten times a second, so they are coarse.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Resolving and connecting, all addresses together.
    pub connect: Duration,
    /// TLS handshakes, each side.
    pub handshake: Duration,
    /// Silence of the server while a response is due or under way; also of a tunnel.
    pub response: Duration,
    /// Idle upstream connections are closed after this.
    pub pool_idle: Duration,
    /// Upstream connections are not reused when older than this.
    pub pool_age: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            response: Duration::from_secs(300),
            pool_idle: Duration::from_secs(30),
            pool_age: Duration::from_secs(600),
        }
    }
}

/// Bounds on everything that comes from the network.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a message head, trailer sections too.
    pub head_bytes: usize,
    /// Field lines of a head (at most 256 in HTTP/1.1).
    pub header_count: usize,
    /// Bytes of a chunk-size line with its extensions.
    pub chunk_line_bytes: usize,
    /// Client connections in all.
    pub connections: usize,
    /// Connections of one client address.
    pub connections_per_client: usize,
    /// Silence of a client between requests.
    pub client_idle: Duration,
    /// From the first byte of a head to its last.
    pub head_read: Duration,
    /// Silence of a client in the middle of a request body.
    pub client_body: Duration,
    /// Bytes kept of one body; the rest passes unrecorded.
    pub stored_body_bytes: usize,
    /// Payload bytes kept of one message (WebSocket, event, gRPC).
    pub stored_message_bytes: usize,
    /// Idle upstream connections for one origin, on each worker.
    pub pool_per_origin: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 64 << 10,
            header_count: 200,
            chunk_line_bytes: 4 << 10,
            connections: 40_000,
            connections_per_client: 20_000,
            client_idle: Duration::from_secs(600),
            head_read: Duration::from_secs(30),
            client_body: Duration::from_secs(120),
            stored_body_bytes: 32 << 20,
            stored_message_bytes: 1 << 20,
            pool_per_origin: 128,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::UpstreamProxy;

    #[test]
    fn upstream_proxy_addresses() {
        let parsed = UpstreamProxy::parse("http://u:p@proxy.example:3128/").expect("parses");
        assert_eq!((parsed.host.as_str(), parsed.port), ("proxy.example", 3128));
        assert_eq!(parsed.credentials, Some(("u".to_owned(), "p".to_owned())));
        assert_eq!(UpstreamProxy::parse("[::1]:81").expect("parses").host, "::1");
        assert!(UpstreamProxy::parse("https://a").is_err());
        assert!(UpstreamProxy::parse("http://:80").is_err());
    }
}

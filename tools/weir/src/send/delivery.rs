//! A request sent through a proxy of its own: what verifies servers, measures and records is the same as in a capture.
//!
//! In: a request, and how to reach its server. Out: the entry of the session that has it.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use weir_engine::{
    ledger::Counters,
    pipeline::{Budget, Ids, Outlet, WhenFull, queue},
};
use weir_proxy::{
    Proxy, ProxyConfig,
    ca::Authority,
    config::{BodyPolicy, Keep, UpstreamConfig, UpstreamProxy},
};
use weir_storage::{Home, Recorder, RecorderOptions, SessionEntry};

use super::request::Request;

/// Memory for buffers.
const MEMORY: usize = 256 << 20;
/// Silence of the server that is borne; a little more than the proxy bears.
const SILENCE: Duration = Duration::from_secs(310);
/// Bytes of an answer that are waited for: a stream without end must not be.
const MOST: usize = 256 << 20;
/// What is under way at the end gets this long.
const GRACE: Duration = Duration::from_secs(3);

/// How a server is reached.
#[derive(Debug, Clone, Default)]
pub(crate) struct Way {
    /// Through this proxy.
    pub(crate) proxy: Option<UpstreamProxy>,
    /// Extra authorities.
    pub(crate) extra_ca: Vec<PathBuf>,
    /// Any certificate will do.
    pub(crate) insecure: bool,
}

/// Sends a request and records it into a session of this name.
pub(crate) fn send(home: &Home, name: String, request: &Request, way: Way) -> Result<SessionEntry> {
    let authority = Arc::new(Authority::load_or_create(&home.ca_dir())?);
    let (sender, receiver) = queue(16);
    let (counters, ids) = (Arc::new(Counters::default()), Arc::new(Ids::default()));
    let options = RecorderOptions { name: Some(name), ..RecorderOptions::new(home.clone(), "proxy") };
    let recorder = Recorder::start(options, receiver, Arc::clone(&counters), Arc::clone(&ids))?;
    let defaults = ProxyConfig::default();
    let config = ProxyConfig {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        threads: 1,
        upstream: UpstreamConfig {
            extra_ca: way.extra_ca,
            insecure: way.insecure,
            proxy: way.proxy,
            ..defaults.upstream.clone()
        },
        keep: Arc::new(Keep::new(BodyPolicy::All, true)),
        ..defaults
    };
    let outlet = Outlet::new(sender, counters, WhenFull::Wait);
    let delivered = Proxy::start(config, authority, outlet, ids, Budget::new(MEMORY))
        .map_err(anyhow::Error::from)
        .and_then(|proxy| {
            let delivered = deliver(proxy.local_addr(), request);
            proxy.stop(GRACE);
            delivered
        });
    // The session ends well either way: what was recorded of it tells why it failed.
    let entry = recorder.finish()?;
    delivered?;
    if entry.exchanges == 0 {
        bail!("nothing was recorded of the request; look at session {}", entry.id);
    }
    Ok(entry)
}

fn deliver(proxy: SocketAddr, request: &Request) -> Result<()> {
    let mut stream = TcpStream::connect(proxy).context("the proxy of its own cannot be reached")?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    // A server may answer and close before all is sent: then the answer counts.
    let written = stream.write_all(&request.to_bytes());
    let mut buffer = vec![0; 64 << 10];
    let mut read = 0;
    while read < MOST {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => return Err(error).context("the answer did not end"),
        }
    }
    if read == 0 {
        written.context("the request could not be sent")?;
    }
    Ok(())
}

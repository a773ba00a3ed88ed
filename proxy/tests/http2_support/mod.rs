//! A proxy with TLS on both sides, servers to talk to, and a client, for the HTTP/2 stories.
//!
//! The interceptor here chooses the versions of both sides itself, so that every pair can be tried.

use std::{net::SocketAddr, rc::Rc, sync::Arc, time::Duration, time::Instant};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt, LocalBoxFuture};
use h2::client::SendRequest;
use rustls::{ClientConfig, RootCertStore, ServerConfig, pki_types::ServerName, sign::SingleCertAndKey};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, server::TlsStream};
use weir_engine::{
    ledger::Counters,
    pipeline::{Budget, Ids, Outlet, Receiver, WhenFull, queue},
    record::{Connection, Exchange, Fault, Message, Record, TlsDetails},
};
use weir_proxy::{
    Proxy, ProxyConfig,
    ca::Authority,
    client::Client,
    dial::{self, Purpose},
    failure::Failure,
    hooks::{Alpn, Hooks, Interception, Interceptor, Secured, ServerTls, Upstream},
    stream::Stream,
};

fn protocols(alpn: &[Alpn]) -> Vec<Vec<u8>> {
    alpn.iter().map(|alpn| if *alpn == Alpn::Http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }).collect()
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn server_config(authority: &Authority, host: &str, alpn: &[Alpn]) -> Arc<ServerConfig> {
    let leaf = authority.leaf(host).expect("a leaf");
    let resolver = SingleCertAndKey::from((*leaf).clone());
    let builder =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().expect("versions");
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = protocols(alpn);
    Arc::new(config)
}

fn client_config(authority: &Authority, alpn: &[Alpn]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate_der().to_vec().into()).expect("a root");
    let builder =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().expect("versions");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols(alpn);
    Arc::new(config)
}

fn name(host: &str) -> ServerName<'static> {
    ServerName::try_from(host.to_owned()).expect("a name")
}

/// TLS for the proxy under test.
struct TestTls {
    authority: Arc<Authority>,
    origin: Arc<Authority>,
    /// What clients are answered with; none: what the server settled on.
    client_alpn: Option<Alpn>,
}

impl Interceptor for TestTls {
    fn name_asked_for(&self, _: &[u8]) -> Option<bytestring::ByteString> {
        None
    }

    fn is_passthrough(&self, _: std::net::IpAddr, _: &str, _: u16) -> bool {
        false
    }

    fn intercept<'a>(
        &'a self,
        context: &'a Rc<Client>,
        client: Stream,
        host: &'a str,
        port: u16,
    ) -> LocalBoxFuture<'a, Interception> {
        async move {
            let upstream = async {
                let dialled = dial::dial(&context.core, host, port, Purpose::Tunnel).await?;
                let secured = self.secure(dialled.stream, host, &[Alpn::Http2, Alpn::Http11]).await?;
                Ok::<_, Failure>(Upstream {
                    secured,
                    address: dialled.address,
                    dns_us: dialled.dns_us,
                    connect_us: dialled.connect_us,
                })
            };
            let (upstream, failure) = match upstream.await {
                Ok(upstream) => (Some(upstream), None),
                Err(failure) => (None, Some(failure)),
            };
            let settled = upstream.as_ref().map_or(Alpn::Http2, |upstream| upstream.secured.alpn);
            let alpn = self.client_alpn.unwrap_or(settled);
            let acceptor = TlsAcceptor::from(server_config(&self.authority, host, &[alpn]));
            match acceptor.accept(client).await {
                Ok(stream) => Interception::Decrypted {
                    client: Stream::other(stream),
                    alpn,
                    tls: TlsDetails {
                        alpn: Some(if alpn == Alpn::Http2 { "h2" } else { "http/1.1" }.into()),
                        ..TlsDetails::default()
                    },
                    sni: None,
                    upstream,
                    failure,
                },
                Err(_) => Interception::Failed {
                    failure: Failure::from(Fault::ClientTlsFailed),
                    sni: None,
                    tls: TlsDetails::default(),
                },
            }
        }
        .boxed_local()
    }

    fn secure<'a>(
        &'a self,
        stream: Stream,
        host: &'a str,
        offer: &'a [Alpn],
    ) -> LocalBoxFuture<'a, Result<Secured, Failure>> {
        async move {
            let started = Instant::now();
            let connector = TlsConnector::from(client_config(&self.origin, offer));
            let stream = connector
                .connect(name(host), stream)
                .await
                .map_err(|error| Failure::new(Fault::UpstreamTlsFailed, error.to_string()))?;
            let alpn = if stream.get_ref().1.alpn_protocol() == Some(b"h2") { Alpn::Http2 } else { Alpn::Http11 };
            let tls_us = u64::try_from(started.elapsed().as_micros()).expect("short");
            Ok(Secured { stream: Stream::other(stream), alpn, tls: Rc::new(ServerTls::default()), tls_us })
        }
        .boxed_local()
    }
}

/// A server that speaks `alpn` over TLS on a free port; `serve` gets each connection. Runs as long as the
/// process.
pub(crate) fn origin(
    authority: &Arc<Authority>,
    alpn: Alpn,
    serve: impl Fn(TlsStream<TcpStream>) -> BoxFuture<'static, ()> + Send + Sync + 'static,
) -> SocketAddr {
    let acceptor = TlsAcceptor::from(server_config(authority, "127.0.0.1", &[alpn]));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("non-blocking");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                if let Ok(stream) = acceptor.accept(stream).await {
                    tokio::spawn(serve(stream));
                }
            }
        });
    });
    address
}

/// A proxy and what it recorded.
pub(crate) struct Recorded {
    proxy: Proxy,
    /// Signs what the proxy shows to clients.
    pub(crate) authority: Arc<Authority>,
    receiver: Receiver,
}

/// Everything of a session.
#[derive(Default)]
pub(crate) struct Records {
    /// In the order they ended.
    pub(crate) exchanges: Vec<Exchange>,
    /// In the order they ended.
    pub(crate) connections: Vec<Connection>,
    /// In order.
    pub(crate) messages: Vec<Message>,
}

impl Recorded {
    /// Starts one whose upstream trusts `origin`.
    pub(crate) fn start(origin: &Arc<Authority>, client_alpn: Option<Alpn>) -> Self {
        Self::start_with(origin, client_alpn, ProxyConfig::default())
    }

    /// The same, configured otherwise.
    pub(crate) fn start_with(origin: &Arc<Authority>, client_alpn: Option<Alpn>, config: ProxyConfig) -> Self {
        let authority = Arc::new(Authority::ephemeral().expect("an authority"));
        let (sender, receiver) = queue(4096);
        let outlet = Outlet::new(sender, Arc::new(Counters::default()), WhenFull::Wait);
        let tls = TestTls { authority: Arc::clone(&authority), origin: Arc::clone(origin), client_alpn };
        let hooks = Hooks { interceptor: Some(Arc::new(tls)), ..Hooks::default() };
        let config = ProxyConfig { listen: ([127, 0, 0, 1], 0).into(), threads: 1, ..config };
        let proxy = Proxy::start_with(config, hooks, outlet, Arc::new(Ids::default()), Budget::new(256 << 20));
        Self { proxy: proxy.expect("starts"), authority, receiver }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.proxy.local_addr()
    }

    /// An HTTP/2 client inside CONNECT to `server`; the connection is driven by a task.
    pub(crate) async fn connect(&self, server: SocketAddr) -> SendRequest<Bytes> {
        let mut stream = TcpStream::connect(self.address()).await.expect("connects");
        stream.set_nodelay(true).expect("no delay");
        let ask = format!("CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n\r\n");
        stream.write_all(ask.as_bytes()).await.expect("writes");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.expect("an answer"));
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        let connector = TlsConnector::from(client_config(&self.authority, &[Alpn::Http2]));
        let stream = connector.connect(name("127.0.0.1"), stream).await.expect("TLS");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        tokio::spawn(connection);
        send
    }

    /// Stops it and gives what it recorded.
    pub(crate) fn stop(self) -> Records {
        self.proxy.stop(Duration::from_secs(5));
        let mut records = Records::default();
        while let Some(batch) = self.receiver.try_recv() {
            for record in batch.records {
                match record {
                    Record::Exchange(exchange) => records.exchanges.push(*exchange),
                    Record::Connection(connection) => records.connections.push(*connection),
                    Record::Message(message) => records.messages.push(*message),
                }
            }
        }
        records
    }
}

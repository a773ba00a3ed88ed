//! TLS as the core hooks it in: hello, decision, server where it is needed, answer.
//!
//! In: a client's stream after CONNECT. Out: what became of it, with the server connection that was made to settle
//! ALPN. The steps are those of [`tls`](super); here they are put in order around the core's own dialling.

use std::{
    io,
    net::IpAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytestring::ByteString;
use futures_util::future::LocalBoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use weir_engine::record::Fault;

use super::{
    Alpn, ClientTls, ClientTlsError, ClientTlsOptions, Decision, TlsSetupError, UpstreamStream, UpstreamTls,
    UpstreamTlsOptions, alpn::BOTH, faults::is_refusal, hello::sni_of, pinned::Outcome,
};
use crate::{
    ca::{Authority, HostName},
    client::Client,
    config::ProxyConfig,
    dial::{self, Purpose, elapsed_us},
    failure::Failure,
    hooks::{self, Interception, Interceptor, Secured, ServerTls, Upstream},
    setup::SETUP_HOST,
    stream::Stream,
};

/// Interception for the core.
#[derive(Debug)]
pub struct TlsHook {
    client: Arc<ClientTls>,
    upstream: UpstreamTls,
}

impl TlsHook {
    /// Sets both sides up as configured.
    ///
    /// # Errors
    /// When a passthrough rule or a file with authorities cannot be read.
    pub fn new(authority: Arc<Authority>, config: &ProxyConfig) -> Result<Self, TlsSetupError> {
        let handshake_timeout = config.upstream.timeouts.handshake;
        let client = ClientTls::new(
            authority,
            &ClientTlsOptions {
                passthrough: config.passthrough.clone(),
                passthrough_pinned: config.passthrough_pinned,
                handshake_timeout,
            },
        )?;
        let upstream = UpstreamTls::new(&UpstreamTlsOptions {
            extra_ca: config.upstream.extra_ca.clone(),
            insecure: config.upstream.insecure,
            handshake_timeout,
        })?;
        Ok(Self { client: Arc::new(client), upstream })
    }

    async fn take_over(&self, context: &Rc<Client>, stream: Stream, host: &str, port: u16) -> Interception {
        let address = context.address.ip();
        let hello = match self.client.read_hello(stream).await {
            Ok(hello) => hello,
            Err(error) => return failed(error),
        };
        let sni = hello.sni().cloned();
        let offer = hello.offer();
        let (mut upstream, mut failure) = (None, None);
        let decision = match host {
            // The set-up page is answered here; there is no server.
            SETUP_HOST => Decision::Answer(offer.fallback()),
            host => self.client.decide(address, host, port, &hello),
        };
        let alpn = match decision {
            Decision::LetThrough(_) => {
                let (mut stream, read) = hello.into_parts();
                stream.unread(read);
                return Interception::Passthrough { client: stream, sni };
            }
            Decision::Answer(alpn) => alpn,
            Decision::AskOrigin => match self.ask_origin(context, host, sni.as_deref(), port).await {
                Ok((made, chosen)) => {
                    self.client.learn_origin(sni.as_deref().unwrap_or(host), port, chosen);
                    upstream = Some(made);
                    offer.answer(chosen)
                }
                Err(why) => {
                    failure = Some(why);
                    offer.fallback()
                }
            },
        };
        match self.client.answer(address, hello, host, alpn).await {
            Err(error) => failed(error),
            Ok(taken) => {
                let name = sni.clone().unwrap_or_else(|| host.into());
                let noted =
                    Noted { stream: taken.stream, client: Arc::clone(&self.client), address, name, told: false };
                Interception::Decrypted {
                    client: Stream::other(noted),
                    alpn: version(taken.alpn),
                    tls: taken.tls,
                    sni,
                    upstream,
                    failure,
                }
            }
        }
    }

    /// Connects to the server with both versions on offer.
    async fn ask_origin(
        &self,
        context: &Rc<Client>,
        host: &str,
        sni: Option<&str>,
        port: u16,
    ) -> Result<(Upstream, Option<Alpn>), Failure> {
        let dialled = dial::dial(&context.core, host, port, Purpose::Tunnel).await?;
        // CONNECT says where to, SNI which server there: the client will look for that name in the certificate.
        let name = sni.unwrap_or(host);
        let started = Instant::now();
        let made = self.shake(dialled.stream, name, BOTH).await?;
        let chosen = made.alpn;
        let secured = secured(made, started);
        let (dns_us, connect_us) = (dialled.dns_us, dialled.connect_us);
        Ok((Upstream { secured, address: dialled.address, dns_us, connect_us }, chosen))
    }

    async fn shake(&self, stream: Stream, host: &str, offer: &[Alpn]) -> Result<UpstreamStream<Stream>, Failure> {
        let name = HostName::parse(host).map_err(|error| Failure::new(Fault::UpstreamTlsFailed, error.to_string()))?;
        let made = self.upstream.connect(stream, &name, offer).await;
        made.map_err(|error| Failure::new(error.fault, error.detail))
    }
}

impl Interceptor for TlsHook {
    fn is_passthrough(&self, client: IpAddr, host: &str, port: u16) -> bool {
        host != SETUP_HOST && self.client.lets_through(client, host, port).is_some()
    }

    fn name_asked_for(&self, hello: &[u8]) -> Option<ByteString> {
        sni_of(hello)
    }

    fn intercept<'a>(
        &'a self,
        context: &'a Rc<Client>,
        client: Stream,
        host: &'a str,
        port: u16,
    ) -> LocalBoxFuture<'a, Interception> {
        Box::pin(self.take_over(context, client, host, port))
    }

    fn secure<'a>(
        &'a self,
        stream: Stream,
        name: &'a str,
        offer: &'a [hooks::Alpn],
    ) -> LocalBoxFuture<'a, Result<Secured, Failure>> {
        Box::pin(async move {
            let started = Instant::now();
            let offer: Vec<_> = offer.iter().map(|alpn| protocol(*alpn)).collect();
            Ok(secured(self.shake(stream, name, &offer).await?, started))
        })
    }
}

fn failed(error: ClientTlsError) -> Interception {
    let failure = Failure::new(error.fault, error.detail);
    Interception::Failed { failure, sni: error.sni, tls: *error.tls }
}

fn version(alpn: Option<Alpn>) -> hooks::Alpn {
    if alpn == Some(Alpn::H2) { hooks::Alpn::Http2 } else { hooks::Alpn::Http11 }
}

fn protocol(alpn: hooks::Alpn) -> Alpn {
    match alpn {
        hooks::Alpn::Http2 => Alpn::H2,
        hooks::Alpn::Http11 => Alpn::Http11,
    }
}

fn secured(made: UpstreamStream<Stream>, started: Instant) -> Secured {
    let tls = ServerTls {
        details: made.tls,
        certificate_subject: made.certificate.subject,
        certificate_issuer: made.certificate.issuer,
        certificate_not_after_us: made.certificate.not_after_us,
    };
    let tls_us = elapsed_us(started);
    Secured { stream: Stream::other(made.stream), alpn: version(made.alpn), tls: Rc::new(tls), tls_us }
}

/// A decrypted stream that tells what it says about the client's trust: a request came, or it closed without one.
struct Noted {
    stream: tokio_rustls::server::TlsStream<Stream>,
    client: Arc<ClientTls>,
    address: IpAddr,
    name: ByteString,
    told: bool,
}

impl Noted {
    fn tell(&mut self, outcome: Outcome) {
        if !std::mem::replace(&mut self.told, true) {
            self.client.note(self.address, &self.name, outcome);
        }
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.tell(Outcome::ClosedUnused);
    }
}

impl AsyncRead for Noted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.told {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let before = buf.filled().len();
        let read = std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        match &read {
            Err(error) if is_refusal(error) => self.tell(Outcome::Refused),
            Ok(()) if buf.filled().len() > before => self.tell(Outcome::Served),
            _ => {}
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Noted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

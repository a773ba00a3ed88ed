//! Reads a ClientHello (RFC 8446 §4.1.2) from a client without losing a byte of it.
//!
//! In: a stream whose next bytes look like TLS. Out: what the client asks for, before anything is answered; the
//! handshake can then go on with any certificate, or the bytes read can be passed on untouched.

use std::io;

use bytes::Bytes;
use bytestring::ByteString;
use rustls::server::{Accepted, Acceptor};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{ClientTlsError, Offer};
use crate::ca::{CaError, HostName};

/// Longest hello that is read: post-quantum key shares and encrypted hellos take some KiB.
pub(super) const HELLO_LIMIT: usize = 64 << 10;

/// A client's hello, and the stream it came from.
pub struct Hello<S> {
    pub(super) stream: S,
    pub(super) accepted: Accepted,
    pub(super) raw: Vec<u8>,
    /// Where in `raw` the bytes begin that the acceptor has not taken.
    pub(super) rest: usize,
    sni: Option<ByteString>,
    offer: Offer,
    tls13: bool,
}

/// The name asked for in a hello that is to be passed on untouched, lower case; `None` too where the bytes are not all
/// of it yet.
#[must_use]
pub fn sni_of(mut bytes: &[u8]) -> Option<ByteString> {
    let mut acceptor = Acceptor::default();
    acceptor.read_tls(&mut bytes).ok()?;
    let accepted = acceptor.accept().ok()??;
    accepted.client_hello().server_name().map(|name| name.to_ascii_lowercase().into())
}

impl<S> Hello<S> {
    /// Name the client asks for (SNI, RFC 6066 §3), lower case.
    #[must_use]
    pub fn sni(&self) -> Option<&ByteString> {
        self.sni.as_ref()
    }

    /// The protocols it offers (ALPN).
    #[must_use]
    pub fn offer(&self) -> Offer {
        self.offer
    }

    /// The version that an answer settles on: TLS 1.3 where the client offers cipher suites of it (RFC 8446 §4.1.2).
    #[must_use]
    pub fn version(&self) -> &'static str {
        if self.tls13 { "TLSv1.3" } else { "TLSv1.2" }
    }

    /// The name the client will look for in a certificate: SNI, or the host of CONNECT where it sent none.
    ///
    /// # Errors
    /// [`CaError::BadHost`] when neither is a host.
    pub fn name(&self, connect_host: &str) -> Result<HostName, CaError> {
        HostName::parse(self.sni.as_deref().unwrap_or(connect_host))
    }

    /// The stream and every byte that was read from it, to be passed on untouched.
    #[must_use]
    pub fn into_parts(self) -> (S, Bytes) {
        (self.stream, self.raw.into())
    }
}

impl<S> std::fmt::Debug for Hello<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hello").field("sni", &self.sni).field("offer", &self.offer).finish_non_exhaustive()
    }
}

/// Reads the hello; answers what is none with the alert TLS has for it.
pub(super) async fn read<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> Result<Hello<S>, ClientTlsError> {
    let mut acceptor = Acceptor::default();
    let mut raw = Vec::with_capacity(2_048);
    let mut taken = 0;
    loop {
        if raw.len() >= HELLO_LIMIT {
            return Err(ClientTlsError::failed(format!("The client's hello is longer than {HELLO_LIMIT} bytes.")));
        }
        let read = stream.read_buf(&mut raw).await.map_err(|error| broken_off(&error))?;
        if read == 0 {
            return Err(broken_off(&io::ErrorKind::UnexpectedEof.into()));
        }
        while taken < raw.len() {
            let mut unread = &raw[taken..];
            let took = acceptor.read_tls(&mut unread).map_err(|error| broken_off(&error))?;
            taken += took;
            match acceptor.accept() {
                Ok(Some(accepted)) => {
                    let hello = accepted.client_hello();
                    let sni = hello.server_name().map(|name| ByteString::from(name.to_ascii_lowercase()));
                    let offer = hello.alpn().map(Offer::new).unwrap_or_default();
                    // The suites of TLS 1.3 are 0x1301 to 0x1305 (RFC 8446 appendix B.4).
                    let tls13 = hello.cipher_suites().iter().any(|suite| u16::from(*suite) >> 8 == 0x13);
                    return Ok(Hello { stream, accepted, raw, rest: taken, sni, offer, tls13 });
                }
                Ok(None) if took == 0 => break,
                Ok(None) => {}
                Err((error, mut alert)) => {
                    let mut bytes = Vec::new();
                    // Writing to a vector cannot fail; and a client that is gone needs no alert.
                    let _ = alert.write_all(&mut bytes);
                    let _ = stream.write_all(&bytes).await;
                    return Err(ClientTlsError::failed(format!("The client's hello is not valid: {error}.")));
                }
            }
        }
    }
}

fn broken_off(error: &io::Error) -> ClientTlsError {
    ClientTlsError::failed(match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            "The client closed the connection before its hello was complete.".to_owned()
        }
        _ => format!("Reading the client's hello failed: {error}."),
    })
}

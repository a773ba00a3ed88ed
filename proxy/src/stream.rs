//! A byte stream to a client or a server, whatever carries it.
//!
//! In: a TCP stream, or anything on top of one (TLS), and bytes that were read from it ahead of time.
//! Out: one type to read from and write to; plain TCP is reached without a virtual call.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// Anything bytes can be read from and written to on one thread.
pub trait Io: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

enum Transport {
    Tcp(TcpStream),
    Other(Box<dyn Io>),
}

/// A stream with the bytes that were read from it ahead of time: they are read again first.
pub struct Stream {
    ahead: Bytes,
    transport: Transport,
}

impl Stream {
    /// Over TCP.
    #[must_use]
    pub fn tcp(stream: TcpStream) -> Self {
        Self { ahead: Bytes::new(), transport: Transport::Tcp(stream) }
    }

    /// Over anything else, a TLS stream mostly.
    #[must_use]
    pub fn other(stream: impl Io + 'static) -> Self {
        Self { ahead: Bytes::new(), transport: Transport::Other(Box::new(stream)) }
    }

    /// Puts bytes back in front: they are what is read next.
    pub fn unread(&mut self, bytes: Bytes) {
        self.ahead = if self.ahead.is_empty() { bytes } else { [bytes, self.ahead.clone()].concat().into() };
    }

    /// The bytes that were put back, to be looked at without reading.
    #[must_use]
    pub fn ahead(&self) -> &Bytes {
        &self.ahead
    }

    /// Closes so that the other end sees that something is missing: TCP by reset, others without the
    /// goodbye that they owe.
    pub fn abort(self) {
        if let Transport::Tcp(stream) = &self.transport {
            let _ = stream.set_zero_linger();
        }
    }

    fn transport(&mut self) -> Pin<&mut dyn Io> {
        match &mut self.transport {
            Transport::Tcp(stream) => Pin::new(stream),
            Transport::Other(stream) => Pin::new(&mut **stream),
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Tcp(_) => "tcp",
            Transport::Other(_) => "other",
        };
        f.debug_struct("Stream").field("transport", &transport).field("ahead", &self.ahead.len()).finish()
    }
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.ahead.is_empty() {
            let len = this.ahead.len().min(buf.remaining());
            buf.put_slice(&this.ahead[..len]);
            this.ahead.advance(len);
            return Poll::Ready(Ok(()));
        }
        match &mut this.transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Transport::Other(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Transport::Other(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Transport::Other(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Tcp(stream) => stream.is_write_vectored(),
            Transport::Other(stream) => stream.is_write_vectored(),
        }
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            // TCP has no buffer of its own to flush.
            Transport::Tcp(_) => Poll::Ready(Ok(())),
            Transport::Other(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().transport().poll_shutdown(cx)
    }
}

//! One connection as the forwarding code sees it: bytes that were read and not yet used, and a stream.
//!
//! In: a [`Stream`]. Out: bytes read into the worker's slabs, bytes written, each counted, each wait
//! bounded by the client connection's [`Watch`]. Reading and writing may be under way at once (one
//! task polls both), so the inside is in cells.

use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWrite};

use crate::{
    core::Slabs,
    stream::Stream,
    watch::{Interrupt, Watch},
};

/// Why reading or writing ended.
#[derive(Debug)]
pub enum WireError {
    /// The other end closed where more was due.
    Closed,
    /// The connection failed.
    Io(io::Error),
    /// Waiting was ended.
    Interrupted(Interrupt),
    /// The client, for whom the server was waited for, is gone.
    ClientGone,
}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::Closed } else { Self::Io(error) }
    }
}

/// A connection with what was read ahead on it.
#[derive(Debug)]
pub struct Wire {
    stream: RefCell<Stream>,
    ahead: RefCell<Bytes>,
    read_bytes: Cell<u64>,
    written_bytes: Cell<u64>,
    ended: Cell<bool>,
}

impl Wire {
    /// Over a stream.
    #[must_use]
    pub fn new(stream: Stream) -> Self {
        Self {
            stream: RefCell::new(stream),
            ahead: RefCell::default(),
            read_bytes: Cell::new(0),
            written_bytes: Cell::new(0),
            ended: Cell::new(false),
        }
    }

    /// The stream again, with the unused bytes in front.
    #[must_use]
    pub fn into_stream(self) -> Stream {
        let mut stream = self.stream.into_inner();
        let ahead = self.ahead.into_inner();
        if !ahead.is_empty() {
            stream.unread(ahead);
        }
        stream
    }

    /// Bytes read since the last call, and bytes written.
    pub fn take_counts(&self) -> (u64, u64) {
        (self.read_bytes.take(), self.written_bytes.take())
    }

    /// Whether the other end has closed its side.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.ended.get()
    }

    /// The bytes read and not yet used.
    pub fn with_ahead<T>(&self, use_it: impl FnOnce(&mut Bytes) -> T) -> T {
        use_it(&mut self.ahead.borrow_mut())
    }

    /// Whether nothing is read ahead.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.ahead.borrow().is_empty()
    }

    /// Reads once and adds what came; 0 at the end.
    ///
    /// # Errors
    /// What the system said.
    pub fn poll_fill(&self, cx: &mut Context<'_>, slabs: &Slabs, bulk: bool) -> Poll<io::Result<usize>> {
        let chunk = ready!(slabs.with(bulk, |slab| {
            let mut stream = self.stream.borrow_mut();
            let read = std::pin::pin!(stream.read_buf(slab));
            read.poll(cx).map_ok(|_| slab.split().freeze())
        }))?;
        let len = chunk.len();
        if len == 0 {
            self.ended.set(true);
            return Poll::Ready(Ok(0));
        }
        self.read_bytes.set(self.read_bytes.get() + len as u64);
        let mut ahead = self.ahead.borrow_mut();
        if ahead.is_empty() {
            *ahead = chunk;
        } else {
            let mut joined = match std::mem::take(&mut *ahead).try_into_mut() {
                Ok(unique) => unique,
                Err(shared) => {
                    let mut copy = bytes::BytesMut::with_capacity(2 * (shared.len() + chunk.len()));
                    copy.extend_from_slice(&shared);
                    copy
                }
            };
            joined.extend_from_slice(&chunk);
            *ahead = joined.freeze();
        }
        Poll::Ready(Ok(len))
    }

    /// Reads once, waiting for it; 0 at the end.
    ///
    /// # Errors
    /// Failure of the connection, or the end of the wait.
    pub async fn fill(&self, slabs: &Slabs, watch: &Watch, bulk: bool) -> Result<usize, WireError> {
        std::future::poll_fn(|cx| match self.poll_fill(cx, slabs, bulk) {
            Poll::Ready(result) => Poll::Ready(result.map_err(WireError::from)),
            Poll::Pending => watch.poll_interrupt(cx).map(|interrupt| Err(WireError::Interrupted(interrupt))),
        })
        .await
    }

    /// Writes all slices, in as few system calls as the kernel allows.
    ///
    /// # Errors
    /// Failure of the connection, or the end of the wait.
    pub async fn write_all(&self, watch: &Watch, slices: &mut [IoSlice<'_>]) -> Result<(), WireError> {
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut left = &mut slices[..];
        let mut written = 0;
        std::future::poll_fn(|cx| {
            let mut stream = self.stream.borrow_mut();
            while written < total {
                let result = match &left[..] {
                    [only] => Pin::new(&mut *stream).poll_write(cx, only),
                    many => Pin::new(&mut *stream).poll_write_vectored(cx, many),
                };
                match result {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(WireError::Io(io::ErrorKind::WriteZero.into()))),
                    Poll::Ready(Ok(count)) => {
                        written += count;
                        IoSlice::advance_slices(&mut left, count);
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(WireError::Io(error))),
                    Poll::Pending => {
                        return watch.poll_interrupt(cx).map(|interrupt| Err(WireError::Interrupted(interrupt)));
                    }
                }
            }
            match Pin::new(&mut *stream).poll_flush(cx) {
                Poll::Ready(result) => Poll::Ready(result.map_err(WireError::Io)),
                Poll::Pending => watch.poll_interrupt(cx).map(|interrupt| Err(WireError::Interrupted(interrupt))),
            }
        })
        .await?;
        self.written_bytes.set(self.written_bytes.get() + total as u64);
        Ok(())
    }

    /// Writes one slice.
    ///
    /// # Errors
    /// As [`write_all`](Self::write_all).
    pub async fn write(&self, watch: &Watch, bytes: &[u8]) -> Result<(), WireError> {
        self.write_all(watch, &mut [IoSlice::new(bytes)]).await
    }

    /// Closes the writing side.
    pub async fn shutdown(&self, watch: &Watch) {
        std::future::poll_fn(|cx| match Pin::new(&mut *self.stream.borrow_mut()).poll_shutdown(cx) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => watch.poll_interrupt(cx).map(|_| ()),
        })
        .await;
    }

    /// Whether an idle connection is still usable: nothing may be readable on it, not even its end.
    #[must_use]
    pub fn is_quiet(&self, slabs: &Slabs) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        self.is_drained() && self.poll_fill(&mut cx, slabs, false).is_pending()
    }
}

//! Bodies on an HTTP/1.1 connection: read by their framing, written by theirs.
//!
//! In: a [`Wire`] and a [`Framing`]. Out: [`Reader`] and [`Writer`], which are the seam's
//! [`BodySource`] and [`BodySink`] too, and [`relay`], which passes one on into the other piece by
//! piece: everything that is there goes in one write, and nothing waits for more.

use std::{
    io::{IoSlice, Write},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use weir_engine::record::{Fault, Headers};

use super::{
    chunk::{ChunkDecoder, Decoded},
    head::Framing,
    wire::{Wire, WireError},
};
use crate::{
    body::{BodySink, BodySource, Frame},
    client::Client,
    watch::Interrupt,
};

/// Bodies with more than this left are read in large pieces.
const BULK: u64 = 16 << 10;
/// Pieces up to this size are copied behind what is written already; larger ones go as they are.
const COPIED: usize = 2 << 10;
/// How long a client that closed its sending side is believed to still wait for a silent server.
const HALF_CLOSED: Duration = Duration::from_secs(10);

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client's.
    Client,
    /// The server's.
    Server,
}

impl Side {
    /// Why reading from this side ended.
    #[must_use]
    pub fn read_fault(self, error: &WireError) -> Fault {
        match (self, error) {
            (_, WireError::Interrupted(Interrupt::Stopped)) => Fault::Stopped,
            (_, WireError::ClientGone) => Fault::ClientAborted,
            (Self::Client, WireError::Interrupted(Interrupt::Deadline)) => Fault::ClientTimeout,
            (Self::Client, _) => Fault::ClientClosed,
            (Self::Server, WireError::Interrupted(Interrupt::Deadline)) => Fault::ServerTimeout,
            (Self::Server, WireError::Closed) => Fault::ServerClosed,
            (Self::Server, WireError::Io(_)) => Fault::ServerReset,
        }
    }

    /// Why writing to this side ended.
    #[must_use]
    pub fn write_fault(self, error: &WireError) -> Fault {
        match (self, error) {
            (_, WireError::Interrupted(Interrupt::Stopped)) => Fault::Stopped,
            (Self::Client, WireError::Interrupted(Interrupt::Deadline)) => Fault::ClientTimeout,
            (Self::Client, _) | (_, WireError::ClientGone) => Fault::ClientAborted,
            (Self::Server, WireError::Interrupted(Interrupt::Deadline)) => Fault::ServerTimeout,
            (Self::Server, _) => Fault::ServerReset,
        }
    }
}

#[derive(Debug)]
enum Coding {
    Length(u64),
    Chunked(ChunkDecoder),
    Close,
    Done,
}

/// What there is of a body without waiting.
#[derive(Debug)]
pub enum Taken {
    /// Bytes of it.
    Data(Bytes),
    /// Its end.
    End(Option<Headers>),
    /// Nothing before more is read.
    More,
}

/// Reads one body.
#[derive(Debug)]
pub struct Reader<'a> {
    client: &'a Client,
    wire: &'a Wire,
    side: Side,
    coding: Coding,
    /// The client's connection, watched for its end while the server is waited for.
    near: Option<&'a Wire>,
}

impl<'a> Reader<'a> {
    /// The body that begins with the next byte on `wire`.
    #[must_use]
    pub fn new(client: &'a Client, wire: &'a Wire, side: Side, framing: Framing) -> Self {
        let limits = &client.core.config().limits;
        let coding = match framing {
            Framing::None | Framing::Length(0) => Coding::Done,
            Framing::Length(length) => Coding::Length(length),
            Framing::Chunked => Coding::Chunked(ChunkDecoder::new(limits.chunk_line_bytes, limits.head_bytes)),
            Framing::Close => Coding::Close,
        };
        Self { client, wire, side, coding, near: None }
    }

    /// Watches the client's connection while the server is waited for.
    #[must_use]
    pub fn watching(mut self, near: Option<&'a Wire>) -> Self {
        self.near = near;
        self
    }

    /// Whether the body is complete.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.coding, Coding::Done)
    }

    /// What there is without waiting.
    ///
    /// # Errors
    /// [`Fault::BadChunk`].
    pub fn take(&mut self) -> Result<Taken, Fault> {
        let taken = self.wire.with_ahead(|ahead| match &mut self.coding {
            Coding::Done => Ok(Taken::End(None)),
            _ if ahead.is_empty() => Ok(Taken::More),
            Coding::Close => Ok(Taken::Data(std::mem::take(ahead))),
            Coding::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(ahead.len());
                *left -= count as u64;
                Ok(Taken::Data(ahead.split_to(count)))
            }
            Coding::Chunked(decoder) => match decoder.decode(ahead) {
                Ok(Decoded::Data(bytes)) => Ok(Taken::Data(bytes)),
                Ok(Decoded::More) => Ok(Taken::More),
                Ok(Decoded::End(trailers)) => Ok(Taken::End(trailers)),
                Err(_) => Err(Fault::BadChunk),
            },
        })?;
        if matches!(taken, Taken::End(_)) || matches!(self.coding, Coding::Length(0)) {
            self.coding = Coding::Done;
        }
        Ok(taken)
    }

    /// Reads more.
    ///
    /// # Errors
    /// Why there is no more, where the body is not complete.
    pub async fn fill(&mut self) -> Result<(), Fault> {
        let bulk = match &self.coding {
            Coding::Length(left) => *left > BULK,
            Coding::Chunked(decoder) => decoder.chunk_left() > BULK,
            Coding::Close | Coding::Done => false,
        };
        let config = self.client.core.config();
        self.client.watch.arm(match self.side {
            Side::Client => config.limits.client_body,
            Side::Server => config.upstream.timeouts.response,
        });
        match fill_watching(self.client, self.wire, self.near, bulk).await {
            Ok(0) if matches!(self.coding, Coding::Close) => {
                self.coding = Coding::Done;
                Ok(())
            }
            Ok(0) => Err(self.side.read_fault(&WireError::Closed)),
            Ok(_) => Ok(()),
            Err(error) => Err(self.side.read_fault(&error)),
        }
    }
}

/// Reads from `wire`; meanwhile the client's connection is watched for its end, which shortens the wait: a client
/// that closed its sending side may still read, one that reset the connection does not.
///
/// # Errors
/// [`WireError::ClientGone`] where the wait was for a client that left; otherwise what ended the reading.
pub(super) async fn fill_watching(
    client: &Client,
    wire: &Wire,
    near: Option<&Wire>,
    bulk: bool,
) -> Result<usize, WireError> {
    let slabs = &client.core.slabs;
    let watched_for = near;
    let mut near = near.filter(|near| near.is_drained());
    if near.is_some_and(Wire::ended) {
        client.watch.arm(HALF_CLOSED);
        near = None;
    }
    std::future::poll_fn(|cx| {
        if let Poll::Ready(result) = wire.poll_fill(cx, slabs, bulk) {
            return Poll::Ready(result.map_err(WireError::from));
        }
        if let Some(watched) = near
            && let Poll::Ready(result) = watched.poll_fill(cx, slabs, false)
        {
            near = None;
            match result {
                Ok(0) => client.watch.arm(HALF_CLOSED),
                // The next request, pipelined: it waits its turn.
                Ok(_) => {}
                Err(_) => return Poll::Ready(Err(WireError::ClientGone)),
            }
        }
        let left = watched_for.is_some_and(Wire::ended);
        client.watch.poll_interrupt(cx).map(|interrupt| match interrupt {
            Interrupt::Deadline if left => Err(WireError::ClientGone),
            interrupt => Err(WireError::Interrupted(interrupt)),
        })
    })
    .await
}

impl BodySource for Reader<'_> {
    async fn frame(&mut self) -> Result<Option<Frame>, Fault> {
        loop {
            if self.is_done() {
                return Ok(None);
            }
            match self.take()? {
                Taken::Data(bytes) => return Ok(Some(Frame::Data(bytes))),
                Taken::End(trailers) => return Ok(trailers.map(Frame::Trailers)),
                Taken::More => self.fill().await?,
            }
        }
    }

    fn remaining(&self) -> Option<u64> {
        match self.coding {
            Coding::Length(left) => Some(left),
            Coding::Done => Some(0),
            Coding::Chunked(_) | Coding::Close => None,
        }
    }
}

/// Writes one body, behind the head that is staged before it.
#[derive(Debug)]
pub struct Writer<'a> {
    client: &'a Client,
    wire: &'a Wire,
    side: Side,
    chunked: bool,
    staged: Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Writes `head` with the first bytes of the body.
    #[must_use]
    pub fn new(client: &'a Client, wire: &'a Wire, side: Side, chunked: bool, head: Vec<u8>) -> Self {
        Self { client, wire, side, chunked, staged: head }
    }

    /// Writes what is staged.
    ///
    /// # Errors
    /// Why it could not be written.
    pub async fn flush(&mut self) -> Result<(), Fault> {
        if self.staged.is_empty() {
            return Ok(());
        }
        self.arm();
        let written = self.wire.write(&self.client.watch, &self.staged).await;
        self.staged.clear();
        written.map_err(|error| self.side.write_fault(&error))
    }

    fn arm(&self) {
        self.client.watch.arm(self.client.core.config().upstream.timeouts.response);
    }

    /// Passes bytes on; small ones are staged until [`flush`](Self::flush).
    ///
    /// # Errors
    /// Why they could not be written.
    pub async fn stage(&mut self, bytes: &Bytes) -> Result<(), Fault> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.chunked {
            // Writing to a Vec does not fail.
            let _ = write!(self.staged, "{:x}\r\n", bytes.len());
        }
        if bytes.len() <= COPIED {
            self.staged.extend_from_slice(bytes);
            if self.chunked {
                self.staged.extend_from_slice(b"\r\n");
            }
            return if self.staged.len() > 16 * COPIED { self.flush().await } else { Ok(()) };
        }
        self.arm();
        let end: &[u8] = if self.chunked { b"\r\n" } else { b"" };
        let mut slices = [IoSlice::new(&self.staged), IoSlice::new(bytes), IoSlice::new(end)];
        let slices = if self.chunked { &mut slices[..] } else { &mut slices[..2] };
        let slices = if self.staged.is_empty() { &mut slices[1..] } else { slices };
        let written = self.wire.write_all(&self.client.watch, slices).await;
        self.staged.clear();
        written.map_err(|error| self.side.write_fault(&error))
    }

    /// Ends the body and writes what is staged.
    ///
    /// # Errors
    /// Why it could not be written.
    pub async fn finish(&mut self, trailers: Option<&Headers>) -> Result<(), Fault> {
        if self.chunked {
            self.staged.extend_from_slice(b"0\r\n");
            for (name, value) in trailers.iter().flat_map(|trailers| trailers.iter()) {
                self.staged.extend_from_slice(name);
                self.staged.extend_from_slice(b": ");
                self.staged.extend_from_slice(value);
                self.staged.extend_from_slice(b"\r\n");
            }
            self.staged.extend_from_slice(b"\r\n");
        }
        self.flush().await
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.client.core.recycle(std::mem::take(&mut self.staged));
    }
}

impl BodySink for Writer<'_> {
    async fn data(&mut self, bytes: Bytes) -> Result<(), Fault> {
        self.stage(&bytes).await?;
        self.flush().await
    }

    async fn end(&mut self, trailers: Option<Headers>) -> Result<(), Fault> {
        self.finish(trailers.as_ref()).await
    }
}

/// Which side ended a relay.
#[derive(Debug, Clone, Copy)]
pub enum RelayError {
    /// The body could not be read.
    Reading(Fault),
    /// It could not be written.
    Writing(Fault),
}

impl RelayError {
    /// The fault of either.
    #[must_use]
    pub fn fault(self) -> Fault {
        match self {
            Self::Reading(fault) | Self::Writing(fault) => fault,
        }
    }
}

/// Passes a body on as it comes; `seen` gets each piece once it is on its way.
///
/// # Errors
/// Which side ended it, and why.
pub async fn relay(
    reader: &mut Reader<'_>,
    writer: &mut Writer<'_>,
    mut seen: impl FnMut(Bytes),
) -> Result<Option<Headers>, RelayError> {
    loop {
        let taken = match reader.take() {
            Ok(taken) => taken,
            Err(fault) => {
                // What came before the fault is the client's to see, however the pieces arrived.
                let _ = writer.flush().await;
                return Err(RelayError::Reading(fault));
            }
        };
        match taken {
            Taken::Data(bytes) => {
                writer.stage(&bytes).await.map_err(RelayError::Writing)?;
                seen(bytes);
            }
            Taken::More => {
                writer.flush().await.map_err(RelayError::Writing)?;
                reader.fill().await.map_err(RelayError::Reading)?;
            }
            Taken::End(trailers) => {
                writer.finish(trailers.as_ref()).await.map_err(RelayError::Writing)?;
                return Ok(trailers);
            }
        }
    }
}

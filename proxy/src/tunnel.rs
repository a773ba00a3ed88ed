//! Bytes passed through between client and server, counted, and looked at on the way by a [`Tap`].
//!
//! In: two connections. Out: the same bytes on the other side, each direction closed on its own as it
//! ends, and why it ended if it did not end well.

use bytes::Bytes;
use weir_engine::record::{Direction, Fault};

use crate::{
    client::Client,
    http1::wire::{Wire, WireError},
    watch::Interrupt,
};

/// Sees the bytes that pass; never changes or delays them.
pub trait Tap {
    /// Bytes that were just passed on.
    fn pass(&mut self, direction: Direction, bytes: &Bytes);
}

/// Looks at nothing.
#[derive(Debug, Clone, Copy)]
pub struct NoTap;

impl Tap for NoTap {
    fn pass(&mut self, _: Direction, _: &Bytes) {}
}

/// Passes bytes until both directions have ended, or either fails.
pub async fn run(client: &Client, near: &Wire, far: &Wire, tap: &mut dyn Tap) -> Option<Fault> {
    let tap = std::cell::RefCell::new(tap);
    let up = one_way(client, near, far, Direction::Sent, &tap);
    let down = one_way(client, far, near, Direction::Received, &tap);
    let (mut up, mut down) = (std::pin::pin!(up), std::pin::pin!(down));
    let (mut up_done, mut down_done) = (false, false);
    std::future::poll_fn(|cx| {
        use std::task::Poll;
        // Who has said that it ends, and is gone before the other's last word (a TLS goodbye, say), has ended well.
        if !up_done && let Poll::Ready(result) = up.as_mut().poll(cx) {
            if let Err(fault) = result {
                return Poll::Ready((!down_done || fault != Fault::ServerReset).then_some(fault));
            }
            up_done = true;
        }
        if !down_done && let Poll::Ready(result) = down.as_mut().poll(cx) {
            if let Err(fault) = result {
                return Poll::Ready((!up_done || fault != Fault::ClientAborted).then_some(fault));
            }
            down_done = true;
        }
        if up_done && down_done { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}

async fn one_way(
    client: &Client,
    from: &Wire,
    to: &Wire,
    direction: Direction,
    tap: &std::cell::RefCell<&mut dyn Tap>,
) -> Result<(), Fault> {
    let core = &client.core;
    let watch = &client.watch;
    let limit = core.config().upstream.timeouts.response;
    let mut last = 0;
    loop {
        let bytes = from.with_ahead(std::mem::take);
        if bytes.is_empty() {
            watch.arm(limit);
            // Twice a full read: it is bulk, worth larger reads.
            match from.fill(&core.slabs, watch, last >= 32 << 10).await {
                Ok(0) => {
                    to.shutdown(watch).await;
                    return Ok(());
                }
                Ok(count) => last = count,
                Err(error) => return Err(fault(&error, direction, true)),
            }
            continue;
        }
        watch.arm(limit);
        to.write(watch, &bytes).await.map_err(|error| fault(&error, direction, false))?;
        tap.borrow_mut().pass(direction, &bytes);
    }
}

fn fault(error: &WireError, direction: Direction, reading: bool) -> Fault {
    // Reading what is sent, and writing what is received, is about the client.
    let client = (direction == Direction::Sent) == reading;
    match error {
        WireError::Interrupted(Interrupt::Stopped) => Fault::Stopped,
        WireError::Interrupted(Interrupt::Deadline) => {
            if client {
                Fault::ClientTimeout
            } else {
                Fault::ServerTimeout
            }
        }
        _ if client => Fault::ClientAborted,
        WireError::Closed => Fault::ServerClosed,
        WireError::Io(_) | WireError::ClientGone => Fault::ServerReset,
    }
}

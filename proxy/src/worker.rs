//! One worker thread: its runtime, its listener, its connections, its tick.
//!
//! In: a listening socket shared with the other workers by SO_REUSEPORT, and what all of them share.
//! Out: a task for each client; the clock, the flush of the outlet and the sweep of the pool every
//! tick; at a stop: no more clients, a grace for what is under way, then the cut.

use std::{
    net::TcpListener,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::{net::TcpStream, sync::watch, task::LocalSet};
use weir_engine::pipeline::Outlet;

use crate::{
    client,
    core::{Core, Shared},
    watch::StopPhase,
};

/// How often deadlines are looked at and the outlet is flushed.
const TICK: Duration = Duration::from_millis(100);
/// Ticks between sweeps of the pool.
const SWEEP: u32 = 20;

/// When a worker is to stop: not yet, or draining until an instant.
pub(crate) type StopSignal = Option<Instant>;

/// Runs a worker until it was stopped and its connections are gone.
///
/// # Errors
/// When the runtime or the listener cannot be set up.
pub(crate) fn run(
    shared: Arc<Shared>,
    outlet: Outlet,
    listener: TcpListener,
    stop: watch::Receiver<StopSignal>,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let core = Core::new(shared, outlet);
        serve(&core, listener, stop).await;
        core.pool.clear();
        core.publish();
        Ok(())
    })
}

async fn serve(core: &Rc<Core>, listener: tokio::net::TcpListener, mut stop: watch::Receiver<StopSignal>) {
    let open = Rc::new(());
    let started = Instant::now();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut ticks = 0_u32;
    let mut listener = Some(listener);
    loop {
        let accept = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            accepted = accept => match accepted {
                Ok((stream, address)) => admit(core, stream, address, &open),
                Err(error) => {
                    // Out of descriptors, mostly: connections that end give some back.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            },
            _ = tick.tick() => {
                ticks = ticks.wrapping_add(1);
                core.watches.tick(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
                core.clock.set();
                core.publish();
                if ticks.is_multiple_of(SWEEP) {
                    core.pool.sweep(core.watches.now_ms(), &core.slabs);
                }
                // While the recorder is behind, what gathers waits where it is.
                if !core.is_delivering() && let Some(batch) = core.flush() {
                    core.deliver_later(batch);
                }
                match *stop.borrow() {
                    Some(until) if Instant::now() >= until => core.watches.stop(StopPhase::Cut),
                    _ => {}
                }
                if listener.is_none() && Rc::strong_count(&open) == 1 && !core.is_delivering() {
                    return;
                }
            }
            changed = stop.changed(), if listener.is_some() => {
                if changed.is_err() || stop.borrow().is_some() {
                    listener = None;
                    core.watches.stop(StopPhase::Draining);
                    tick.reset_immediately();
                }
            }
        }
    }
}

fn admit(core: &Rc<Core>, stream: TcpStream, address: std::net::SocketAddr, open: &Rc<()>) {
    let address = std::net::SocketAddr::new(address.ip().to_canonical(), address.port());
    if !core.shared.admit(address.ip()) {
        refuse(core, &stream, address);
        return;
    }
    let _ = stream.set_nodelay(true);
    let core = Rc::clone(core);
    let open = Rc::clone(open);
    tokio::task::spawn_local(async move {
        let shared = Arc::clone(&core.shared);
        client::run(core, stream, address).await;
        shared.dismiss(address.ip());
        drop(open);
    });
}

/// Tells a client that has too many connections, as far as that goes without waiting, and notes it.
fn refuse(core: &Rc<Core>, stream: &TcpStream, address: std::net::SocketAddr) {
    use weir_engine::record::{Connection, Fault, Record};
    let failure = Fault::TooManyConnections.into();
    let answer = crate::http1::page::of_failure(&failure, None);
    let (mut bytes, _) = crate::http1::page::head(&answer, true);
    bytes.extend_from_slice(&answer.body);
    let _ = stream.try_write(&bytes);
    core.record_later(Record::Connection(Box::new(Connection {
        id: core.shared.ids.next_connection(),
        client: Some(address),
        opened_us: crate::core::now_us(),
        error: Some(Fault::TooManyConnections),
        ..Connection::default()
    })));
    core.shared.received_bytes.fetch_add(bytes.len() as u64, Relaxed);
}

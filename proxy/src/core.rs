//! What all connections of one worker thread share: configuration, pool, name cache, outlet, buffers.
//!
//! In: finished records and requests for shared things. Out: batches to the recorder; buffers to read
//! into. Everything here lives on one thread: `Rc`, `Cell`, no locks.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use bytes::BytesMut;
use weir_engine::{
    pipeline::{Batch, Budget, Ids, Outlet},
    record::Record,
};

use crate::{
    config::ProxyConfig,
    dial::NameCache,
    hooks::Hooks,
    http1::pool::Pool,
    http2::{Http2Limits, links::Links},
    watch::Watches,
};

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    /// Configuration.
    pub config: ProxyConfig,
    /// Address the proxy listens on, with its real port.
    pub listen: SocketAddr,
    /// Numbers of exchanges and connections.
    pub ids: Arc<Ids>,
    /// Memory budget of everything that is kept.
    pub budget: Budget,
    /// TLS and the set-up page.
    pub hooks: Hooks,
    /// Client connections open now.
    pub open_connections: AtomicU64,
    /// Exchanges under way now.
    pub open_exchanges: AtomicU64,
    /// Bytes from clients, counted as connections close and tick.
    pub sent_bytes: AtomicU64,
    /// Bytes to clients.
    pub received_bytes: AtomicU64,
    /// Connections open now by client address.
    pub per_client: Mutex<HashMap<IpAddr, usize>>,
}

impl Shared {
    /// Counts a client's connection in; `false` when it has too many, or there are too many in all.
    #[must_use]
    pub fn admit(&self, address: IpAddr) -> bool {
        let limits = &self.config.limits;
        let mut per_client = self.per_client.lock().unwrap_or_else(PoisonError::into_inner);
        if self.open_connections.load(Relaxed) >= limits.connections as u64 {
            return false;
        }
        let count = per_client.entry(address).or_default();
        if *count >= limits.connections_per_client {
            return false;
        }
        *count += 1;
        self.open_connections.fetch_add(1, Relaxed);
        true
    }

    /// Counts a client's connection out.
    pub fn dismiss(&self, address: IpAddr) {
        let mut per_client = self.per_client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = per_client.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                per_client.remove(&address);
            }
        }
        self.open_connections.fetch_sub(1, Relaxed);
    }
}

/// What the connections of one worker share.
#[derive(Debug)]
pub struct Core {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// The clock of deadlines, and the deadlines.
    pub watches: Rc<Watches>,
    /// The time of day.
    pub clock: Clock,
    /// Idle upstream connections.
    pub pool: Pool,
    /// HTTP/2 connections to servers.
    pub http2: Links,
    /// Resolved names.
    pub names: NameCache,
    /// Buffers that are read into.
    pub slabs: Slabs,
    outlet: RefCell<Outlet>,
    spare: RefCell<Vec<Vec<u8>>>,
    /// Exchanges under way on this worker that were not yet added to the shared count.
    open_exchanges: Cell<i64>,
    /// Batches on their way by a task of their own.
    delivering: Cell<usize>,
}

/// Largest buffer that is kept for the next user.
const SPARE_BYTES: usize = 64 << 10;
/// Buffers kept for next users.
const SPARE_COUNT: usize = 64;

impl Core {
    /// The shared part of a worker.
    #[must_use]
    pub fn new(shared: Arc<Shared>, outlet: Outlet) -> Rc<Self> {
        Rc::new(Self {
            watches: Rc::new(Watches::default()),
            clock: Clock::default(),
            pool: Pool::new(shared.config.limits.pool_per_origin, &shared.config.upstream.timeouts),
            http2: Links::new(Http2Limits::default().max_connections_per_origin),
            names: NameCache::default(),
            slabs: Slabs::default(),
            outlet: RefCell::new(outlet),
            spare: RefCell::default(),
            open_exchanges: Cell::new(0),
            delivering: Cell::new(0),
            shared,
        })
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &ProxyConfig {
        &self.shared.config
    }

    /// Hands a record over. Returns the batch that has to wait for room, if any: await
    /// [`deliver`](Self::deliver) with it before the next request is read (back-pressure).
    #[must_use = "a returned batch is not in the queue yet"]
    pub fn push(&self, record: Record) -> Option<Batch> {
        self.outlet.borrow_mut().push(record)
    }

    /// Waits until there is room for a batch that [`push`](Self::push) returned.
    pub async fn deliver(&self, batch: Batch) {
        let delivery = self.outlet.borrow().delivery();
        delivery.deliver(batch).await;
    }

    /// Hands a record over, waiting while the queue is full.
    pub async fn record(&self, record: Record) {
        if let Some(batch) = self.push(record) {
            self.deliver(batch).await;
        }
    }

    /// Hands a record over from where nothing can be awaited; a full queue is waited for by a task of its own.
    pub fn record_later(self: &Rc<Self>, record: Record) {
        if let Some(batch) = self.push(record) {
            self.deliver_later(batch);
        }
    }

    /// Waits for room in a task of its own; a worker ends only when there is none of them left.
    pub fn deliver_later(self: &Rc<Self>, batch: Batch) {
        self.delivering.set(self.delivering.get() + 1);
        let core = Rc::clone(self);
        tokio::task::spawn_local(async move {
            core.deliver(batch).await;
            core.delivering.set(core.delivering.get() - 1);
        });
    }

    /// Whether batches are on their way by tasks of their own.
    #[must_use]
    pub fn is_delivering(&self) -> bool {
        self.delivering.get() > 0
    }

    /// Hands over what has gathered.
    #[must_use = "a returned batch is not in the queue yet"]
    pub fn flush(&self) -> Option<Batch> {
        self.outlet.borrow_mut().flush()
    }

    /// Counts an exchange in.
    pub fn exchange_opened(&self) {
        self.open_exchanges.set(self.open_exchanges.get() + 1);
    }

    /// Counts an exchange out.
    pub fn exchange_closed(&self) {
        self.open_exchanges.set(self.open_exchanges.get() - 1);
    }

    /// Adds this worker's counts to the shared ones; called by the tick.
    pub fn publish(&self) {
        let change = self.open_exchanges.take();
        if change != 0 {
            // Two's complement: adding a negative change is a wrapping addition.
            self.shared.open_exchanges.fetch_add(change.cast_unsigned(), Relaxed);
        }
    }

    /// An empty buffer to write a head into.
    #[must_use]
    pub fn buffer(&self) -> Vec<u8> {
        self.spare.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(2048))
    }

    /// Gives a buffer back for the next user.
    pub fn recycle(&self, mut buffer: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        if buffer.capacity() <= SPARE_BYTES && spare.len() < SPARE_COUNT {
            buffer.clear();
            spare.push(buffer);
        }
    }
}

/// Times of day for monotonic instants: the wall clock is asked once a tick, not once a request.
#[derive(Debug)]
pub struct Clock {
    anchor: Cell<(Instant, i64)>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { anchor: Cell::new((Instant::now(), now_us())) }
    }
}

impl Clock {
    /// Follows the wall clock, which may have been set; called by the tick.
    pub fn set(&self) {
        self.anchor.set((Instant::now(), now_us()));
    }

    /// An instant in microseconds since the Unix epoch.
    #[must_use]
    pub fn at_us(&self, instant: Instant) -> i64 {
        let (anchor, anchor_us) = self.anchor.get();
        let micros = |duration: std::time::Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        match instant.checked_duration_since(anchor) {
            Some(after) => anchor_us.saturating_add(micros(after)),
            None => anchor_us.saturating_sub(micros(anchor.duration_since(instant))),
        }
    }
}

/// Microseconds since the Unix epoch.
#[must_use]
pub fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Bytes of a slab for heads and small bodies.
const SMALL_SLAB: usize = 64 << 10;
/// Room there must be for a read of a head or a small body.
const SMALL_ROOM: usize = 4 << 10;
/// Bytes of a slab for large bodies.
const BULK_SLAB: usize = 512 << 10;
/// Room there must be for a read of a large body.
const BULK_ROOM: usize = 64 << 10;

/// The buffers all connections of a worker read into: what was read is split off and shared, so that an
/// idle connection holds no buffer, and a small message costs what it is long.
#[derive(Debug, Default)]
pub struct Slabs {
    small: RefCell<BytesMut>,
    bulk: RefCell<BytesMut>,
}

impl Slabs {
    /// A slab with room to read into.
    pub fn with<T>(&self, bulk: bool, read: impl FnOnce(&mut BytesMut) -> T) -> T {
        let (slab, room, size) =
            if bulk { (&self.bulk, BULK_ROOM, BULK_SLAB) } else { (&self.small, SMALL_ROOM, SMALL_SLAB) };
        let mut slab = slab.borrow_mut();
        // What was read is always split off, so the length is 0 and all capacity is room.
        if slab.capacity() < room {
            // The same memory again when nobody holds a piece of it any more, else a new slab.
            if !slab.try_reclaim(size) {
                *slab = BytesMut::with_capacity(size);
            }
        }
        read(&mut slab)
    }
}

//! A session for each device, beside that of the capture (`--session-per-device`).
//!
//! In: the batches of the proxy. Out: each record in the session of its device, with a ledger of its own; in the
//! ledger of the capture's session what went there counts as `policy:device_session`. Devices past the limit stay in the
//! capture's session, so that nothing is lost.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::json;
use weir_engine::{
    ledger::{Counters, Layer},
    pipeline::{
        Batch, Ids, Outlet, Receiver, WhenFull, queue,
        queue::{Received, Sender},
    },
    record::Record,
};
use weir_storage::{Labels, Recorder, RecorderOptions, SessionEntry, SessionId, StorageError};

/// Devices with a session of their own at most: each has threads.
const MOST: usize = 128;
/// Batches between the router and the recorder of a device.
const QUEUE_BATCHES: usize = 16;
/// How long a record may wait for others of its device.
const FLUSH: Duration = Duration::from_millis(100);

/// What the sessions of devices are made of.
pub(super) struct Plan {
    /// As that of the capture, its name too.
    pub(super) options: RecorderOptions,
    /// The capture's session.
    pub(super) parent: SessionId,
    /// Where its control API listens.
    pub(super) ui: Option<String>,
    /// Numbers of exchanges and connections.
    pub(super) ids: Arc<Ids>,
    /// The ledger of the capture's session.
    pub(super) counters: Arc<Counters>,
}

/// The router and the sessions it made.
#[derive(Debug)]
pub(crate) struct PerDevice {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    recorders: Mutex<HashMap<String, Recorder>>,
    labels: Mutex<Labels>,
    steered: Mutex<Steered>,
}

/// How sessions are to be begun from now on.
#[derive(Debug)]
pub(super) struct Steered {
    /// As that of the capture, its name too.
    pub(super) options: RecorderOptions,
    /// Whether the capture is paused.
    pub(super) paused: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PerDevice {
    /// Routes what comes out of `receiver`; what belongs to no device goes to `rest`.
    pub(super) fn start(plan: Plan, labels: Labels, receiver: Receiver, rest: Sender) -> Result<Self> {
        let shared = Arc::new(Shared {
            recorders: Mutex::default(),
            labels: Mutex::new(labels),
            steered: Mutex::new(Steered { options: plan.options.clone(), paused: false }),
        });
        let router = Router { plan, shared: Arc::clone(&shared), outlets: HashMap::new(), rest };
        let thread = std::thread::Builder::new()
            .name("weir-router".to_owned())
            .spawn(move || router.run(&receiver))
            .context("the router of devices cannot be started")?;
        Ok(Self { shared, thread })
    }

    /// Changes the recorder of each device; `steer` says the same of those that are still to come.
    pub(super) fn each(
        &self,
        steer: impl FnOnce(&mut Steered),
        change: impl Fn(&Recorder) -> Result<SessionEntry, StorageError>,
    ) -> Result<()> {
        steer(&mut lock(&self.shared.steered));
        lock(&self.shared.recorders).values().try_for_each(|recorder| change(recorder).map(drop))?;
        Ok(())
    }

    /// Asks the recorder of one of the sessions.
    pub(super) fn with<T>(&self, session: &SessionId, act: impl FnOnce(&Recorder) -> T) -> Option<T> {
        lock(&self.shared.recorders).values().find(|recorder| recorder.id() == *session).map(act)
    }

    /// Takes over the names of clients' addresses: who gets one goes on in a session of that name.
    pub(super) fn set_labels(&self, labels: &Labels) {
        *lock(&self.shared.labels) = labels.clone();
        lock(&self.shared.recorders).values().for_each(|recorder| recorder.set_labels(labels.shared()));
    }

    /// Waits until everything is routed, then closes the sessions.
    pub(super) fn finish(self) -> Result<()> {
        if self.thread.join().is_err() {
            tracing::error!("the router of devices failed");
        }
        let recorders = std::mem::take(&mut *lock(&self.shared.recorders));
        for (_, recorder) in recorders {
            recorder.finish()?;
        }
        Ok(())
    }
}

/// The router thread's own.
struct Router {
    plan: Plan,
    shared: Arc<Shared>,
    outlets: HashMap<String, Outlet>,
    rest: Sender,
}

impl Router {
    fn run(mut self, receiver: &Receiver) {
        let mut deadline = Instant::now() + FLUSH;
        loop {
            let ended = match receiver.recv_deadline(deadline) {
                Received::Batch(batch) => {
                    self.route(batch);
                    false
                }
                Received::TimedOut => false,
                Received::Ended => true,
            };
            if ended || Instant::now() >= deadline {
                for outlet in self.outlets.values_mut() {
                    if let Some(batch) = outlet.flush() {
                        outlet.deliver_blocking(batch);
                    }
                }
                deadline = Instant::now() + FLUSH;
            }
            if ended {
                return;
            }
        }
    }

    fn route(&mut self, batch: Batch) {
        let mut rest = Batch::default();
        let mut routed = [0_u64; Layer::ALL.len()];
        for record in batch.records {
            let layer = match &record {
                Record::Exchange(_) => Layer::Exchanges,
                Record::Connection(_) => Layer::Connections,
                Record::Message(_) => Layer::Messages,
            };
            match self.device_of(&record).and_then(|device| self.outlet(&device)) {
                Some(outlet) => {
                    routed[layer as usize] += 1;
                    if let Some(batch) = outlet.push(record) {
                        outlet.deliver_blocking(batch);
                    }
                }
                None => rest.records.push(record),
            }
        }
        for layer in Layer::ALL {
            self.plan.counters.dropped(layer, "policy:device_session", routed[layer as usize]);
        }
        if !rest.records.is_empty()
            && let Err(refused) = self.rest.send_blocking(rest)
        {
            tracing::error!("{} records came after the recorder had ended", refused.records.len());
        }
    }

    fn device_of(&self, record: &Record) -> Option<String> {
        let (device, client): (_, Option<SocketAddr>) = match record {
            Record::Exchange(exchange) => (&exchange.device, exchange.client),
            Record::Connection(connection) => (&connection.device, connection.client),
            Record::Message(message) => (&message.device, message.client),
        };
        if let Some(device) = device {
            return Some(device.to_string());
        }
        let address = client?.ip();
        let label = lock(&self.shared.labels).get(address).map(str::to_owned);
        Some(label.unwrap_or_else(|| address.to_canonical().to_string()))
    }

    /// The way into the session of a device, which is begun when it is new.
    fn outlet(&mut self, device: &str) -> Option<&mut Outlet> {
        if !self.outlets.contains_key(device) {
            if self.outlets.len() >= MOST {
                return None;
            }
            match self.begin(device) {
                Ok(outlet) => {
                    self.outlets.insert(device.to_owned(), outlet);
                }
                Err(error) => {
                    tracing::warn!("device {device} stays in the session of the capture: {error}");
                    return None;
                }
            }
        }
        self.outlets.get_mut(device)
    }

    fn begin(&self, device: &str) -> Result<Outlet, StorageError> {
        let (sender, receiver) = queue(QUEUE_BATCHES);
        let counters = Arc::new(Counters::default());
        let (mut options, paused) = {
            let steered = lock(&self.shared.steered);
            (steered.options.clone(), steered.paused)
        };
        let parent = options.name.as_deref().unwrap_or("capture");
        options.name = Some(format!("{parent}: {device}"));
        options.labels = lock(&self.shared.labels).shared();
        let recorder = Recorder::start(options, receiver, Arc::clone(&counters), Arc::clone(&self.plan.ids))?;
        recorder.update_entry(|entry| {
            entry.ui.clone_from(&self.plan.ui);
            entry.other.insert("parent".to_owned(), json!(self.plan.parent));
            entry.other.insert("device".to_owned(), json!(device));
        })?;
        if paused {
            recorder.set_paused(true)?;
        }
        lock(&self.shared.recorders).insert(device.to_owned(), recorder);
        Ok(Outlet::new(sender, counters, WhenFull::Wait))
    }
}

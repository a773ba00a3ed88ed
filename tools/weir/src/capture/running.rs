//! A capture while it runs: what the status line, the API and the shutdown share.
//!
//! In: the parts (recorder, proxy, counters). Out: its [status](Status), and the ways to steer it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio::sync::Notify;
use weir_engine::{
    filter::{Expr, FilterSet},
    ledger::{Counters, Layer, Tally},
    pipeline::Budget,
};
use weir_proxy::{Proxy, config::Keep};
use weir_storage::{Catalogue, CookieQuery, Deleted, Home, Labels, Recorder, SessionEntry, StorageError, Tail};

use super::{
    packets::Packets,
    per_device::{PerDevice, Steered},
    rate::RateMeter,
};
use crate::api::{Recording, RecordingChange, Status, Steer};

/// The parts that end at shutdown, and what is remembered of them.
#[derive(Debug)]
struct Parts {
    proxy: Option<Proxy>,
    packets: Option<Packets>,
    recorder: Option<Recorder>,
    /// The sessions of devices, where each has its own.
    devices: Option<PerDevice>,
    /// The entry as last known: names, addresses, filters; counts are the recorder's.
    entry: SessionEntry,
    paused_at: Option<Instant>,
    paused: Duration,
    meter: RateMeter,
}

/// What was begun, and is to be ended.
#[derive(Debug)]
pub(crate) struct Begun {
    /// The recorder of the capture's session.
    pub(crate) recorder: Recorder,
    /// The sessions of devices, where each has its own.
    pub(crate) devices: Option<PerDevice>,
    /// The proxy, unless packets alone are recorded.
    pub(crate) proxy: Option<Proxy>,
    /// What reads the packets of interfaces.
    pub(crate) packets: Option<Packets>,
    /// The entry of the capture's session.
    pub(crate) entry: SessionEntry,
}

/// A running capture.
#[derive(Debug)]
pub(crate) struct Running {
    home: Home,
    counters: Arc<Counters>,
    budget: Budget,
    keep: Arc<Keep>,
    started: Instant,
    parts: Mutex<Parts>,
    stopping: AtomicBool,
    stop: Notify,
}

impl Running {
    /// Takes over the parts.
    pub(crate) fn new(home: Home, counters: Arc<Counters>, budget: Budget, keep: Arc<Keep>, begun: Begun) -> Self {
        let Begun { recorder, devices, proxy, packets, entry } = begun;
        let parts = Parts {
            entry,
            devices,
            proxy,
            packets,
            recorder: Some(recorder),
            paused_at: None,
            paused: Duration::ZERO,
            meter: RateMeter::default(),
        };
        Self {
            home,
            counters,
            budget,
            keep,
            started: Instant::now(),
            parts: Mutex::new(parts),
            stopping: AtomicBool::new(false),
            stop: Notify::new(),
        }
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until somebody asks for a stop through the API.
    pub(crate) async fn stop_wanted(&self) {
        self.stop.notified().await;
    }

    /// Notes the count of exchanges for the rate; called a few times a second.
    pub(crate) fn tick(&self) {
        let seen = self.counters.snapshot().layer(Layer::Exchanges).map_or(0, |tally| tally.seen);
        self.parts().meter.note(Instant::now(), seen);
    }

    /// Stops in the order in which data flows: proxy and packets (their outlets go with them), then the recorder, which
    /// drains, flushes, compacts and closes the entry. Blocks.
    pub(crate) fn shut_down(&self, grace: Duration) -> Result<SessionEntry> {
        self.stopping.store(true, Relaxed);
        let (proxy, packets, recorder, devices) = {
            let mut parts = self.parts();
            parts.end_pause();
            (parts.proxy.take(), parts.packets.take(), parts.recorder.take(), parts.devices.take())
        };
        if let Some(proxy) = proxy {
            proxy.stop(grace);
        }
        let read = packets.map_or(Ok(()), Packets::stop);
        if let Some(devices) = devices {
            devices.finish()?;
        }
        let Some(recorder) = recorder else { bail!("the capture has been stopped already") };
        let closed = recorder.finish()?;
        // Nobody listens there any more.
        let entry = Catalogue::open(&self.home).update(&closed.id, |entry| {
            entry.proxy = None;
            entry.ui = None;
        })?;
        self.parts().entry = entry.clone();
        read.map(|()| entry)
    }

    /// Changes the recorder, and remembers the entry that came of it.
    fn change(&self, change: impl FnOnce(&Recorder) -> Result<SessionEntry, StorageError>) -> Result<()> {
        let mut parts = self.parts();
        parts.entry = change(parts.recorder()?)?;
        Ok(())
    }

    /// Changes the recorders of devices too; `steer` says the same of those that are still to come.
    fn change_all(
        &self,
        steer: impl FnOnce(&mut Steered),
        change: impl Fn(&Recorder) -> Result<SessionEntry, StorageError>,
    ) -> Result<()> {
        self.change(&change)?;
        match &self.parts().devices {
            Some(devices) => devices.each(steer, change),
            None => Ok(()),
        }
    }

    /// Whether a limit was reached.
    pub(crate) fn is_full(&self) -> bool {
        self.parts().recorder.as_ref().is_some_and(|recorder| recorder.status().is_full)
    }
}

impl Parts {
    fn recorder(&self) -> Result<&Recorder> {
        self.recorder.as_ref().context("the capture is being stopped; nothing can be changed any more")
    }

    /// Ends a pause, when there is one.
    fn end_pause(&mut self) {
        if let Some(since) = self.paused_at.take() {
            self.paused += since.elapsed();
        }
    }
}

impl Steer for Running {
    fn status(&self) -> Status {
        let ledger = self.counters.snapshot();
        let parts = self.parts();
        let entry = parts.entry.clone();
        let recorded = parts.recorder.as_ref().map(Recorder::status);
        let proxy = parts.proxy.as_ref().map(Proxy::status).unwrap_or_default();
        let paused = parts.paused + parts.paused_at.map_or(Duration::ZERO, |since| since.elapsed());
        let state = match (self.stopping.load(Relaxed), parts.paused_at) {
            (true, _) => "stopping",
            (false, Some(_)) => "paused",
            (false, None) => "running",
        };
        Status {
            session: entry.id.to_string(),
            name: entry.name,
            state,
            started: entry.started.to_string(),
            duration_s: self.started.elapsed().saturating_sub(paused).as_secs_f64(),
            wall_s: self.started.elapsed().as_secs_f64(),
            exchanges: recorded.as_ref().map_or(entry.exchanges, |status| status.exchanges),
            rate: parts.meter.per_second(),
            request_bytes: recorded.as_ref().map_or(entry.request_bytes, |status| status.request_bytes),
            response_bytes: recorded.as_ref().map_or(entry.response_bytes, |status| status.response_bytes),
            sent_bytes: proxy.sent_bytes,
            received_bytes: proxy.received_bytes,
            open_exchanges: proxy.open_exchanges,
            open_connections: proxy.open_connections,
            dropped: ledger.layer(Layer::Exchanges).map_or(0, Tally::dropped_total),
            lost: ledger.lost(),
            memory_used: self.budget.used() as u64,
            memory_limit: self.budget.limit() as u64,
            stored_bytes: recorded.as_ref().map_or(0, |status| status.stored_bytes),
            recording: Recording {
                bodies: self.keep.bodies().into(),
                responses: self.keep.responses(),
                cookies: recorded.as_ref().is_some_and(|status| status.cookies),
            },
            filters: entry.filters,
            last_error: recorded.and_then(|status| status.last_error).or(entry.last_error),
            proxy: entry.proxy,
            ledger,
        }
    }

    fn entry(&self) -> Result<SessionEntry> {
        let id = self.parts().entry.id;
        Ok(Catalogue::open(&self.home).load(&id)?)
    }

    fn home(&self) -> &Home {
        &self.home
    }

    fn stop(&self) {
        self.stop.notify_one();
    }

    fn rename(&self, name: &str) -> Result<()> {
        self.change(|recorder| recorder.rename(name))
    }

    fn pause(&self) -> Result<()> {
        if self.parts().paused_at.is_some() {
            return Ok(());
        }
        self.change_all(|steered| steered.paused = true, |recorder| recorder.set_paused(true))?;
        self.parts().paused_at = Some(Instant::now());
        Ok(())
    }

    fn resume(&self) -> Result<()> {
        if self.parts().paused_at.is_none() {
            return Ok(());
        }
        self.change_all(|steered| steered.paused = false, |recorder| recorder.set_paused(false))?;
        self.parts().end_pause();
        Ok(())
    }

    fn set_filters(&self, filters: FilterSet) -> Result<()> {
        let change = |recorder: &Recorder| recorder.set_filters(filters.clone());
        self.change_all(|steered| steered.options.filters = filters.clone(), change)?;
        if let Some(packets) = &self.parts().packets {
            packets.set_filters(&filters);
        }
        Ok(())
    }

    fn set_recording(&self, change: RecordingChange) -> Result<()> {
        if let Some(bodies) = change.bodies {
            self.keep.set_bodies(bodies.into());
        }
        if let Some(responses) = change.responses {
            self.keep.set_responses(responses);
        }
        if let Some(cookies) = change.cookies {
            let change = |recorder: &Recorder| {
                recorder.set_cookies(cookies);
                recorder.entry()
            };
            self.change_all(|steered| steered.options.cookies = cookies, change)?;
        }
        Ok(())
    }

    fn set_labels(&self, labels: &Labels) -> Result<()> {
        self.change(|recorder| {
            recorder.set_labels(labels.shared());
            recorder.entry()
        })?;
        if let Some(devices) = &self.parts().devices {
            devices.set_labels(labels);
        }
        Ok(())
    }

    fn tail(&self, filter: Option<Expr>) -> Result<Tail> {
        Ok(self.parts().recorder()?.tail(filter))
    }

    fn delete_requests(&self, filter: &Expr) -> Result<Deleted> {
        Ok(self.parts().recorder()?.delete_requests(filter)?)
    }

    fn delete_cookies(&self, query: &CookieQuery) -> Result<Deleted> {
        Ok(self.parts().recorder()?.delete_cookies(query)?)
    }
}

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

use anyhow::{Result, bail};
use tokio::sync::Notify;
use weir_engine::{
    filter::FilterSet,
    ledger::{Counters, Layer, Tally},
    pipeline::Budget,
};
use weir_proxy::Proxy;
use weir_storage::{Catalogue, Home, Recorder, SessionEntry, StorageError};

use super::rate::RateMeter;
use crate::api::{Status, Steer};

/// The parts that end at shutdown, and what is remembered of them.
#[derive(Debug)]
struct Parts {
    proxy: Option<Proxy>,
    recorder: Option<Recorder>,
    /// The entry as last known: names, addresses, filters; counts are the recorder's.
    entry: SessionEntry,
    paused_at: Option<Instant>,
    paused: Duration,
    meter: RateMeter,
}

/// A running capture.
#[derive(Debug)]
pub(crate) struct Running {
    home: Home,
    counters: Arc<Counters>,
    budget: Budget,
    started: Instant,
    parts: Mutex<Parts>,
    stopping: AtomicBool,
    stop: Notify,
}

impl Running {
    /// Takes over the parts.
    pub(crate) fn new(
        home: Home,
        counters: Arc<Counters>,
        budget: Budget,
        recorder: Recorder,
        proxy: Proxy,
        entry: SessionEntry,
    ) -> Self {
        let parts = Parts {
            entry,
            proxy: Some(proxy),
            recorder: Some(recorder),
            paused_at: None,
            paused: Duration::ZERO,
            meter: RateMeter::default(),
        };
        Self {
            home,
            counters,
            budget,
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

    /// Stops in the order in which data flows: the proxy (its outlets go with it), then the recorder, which
    /// drains, flushes, compacts and closes the entry. Blocks.
    pub(crate) fn shut_down(&self, grace: Duration) -> Result<SessionEntry> {
        self.stopping.store(true, Relaxed);
        let (proxy, recorder) = {
            let mut parts = self.parts();
            parts.end_pause();
            (parts.proxy.take(), parts.recorder.take())
        };
        if let Some(proxy) = proxy {
            proxy.stop(grace);
        }
        let Some(recorder) = recorder else { bail!("the capture has been stopped already") };
        let closed = recorder.finish()?;
        // Nobody listens there any more.
        let entry = Catalogue::open(&self.home).update(&closed.id, |entry| {
            entry.proxy = None;
            entry.ui = None;
        })?;
        self.parts().entry = entry.clone();
        Ok(entry)
    }

    /// Changes the recorder, and remembers the entry that came of it.
    fn change(&self, change: impl FnOnce(&Recorder) -> Result<SessionEntry, StorageError>) -> Result<()> {
        let mut parts = self.parts();
        let Some(recorder) = &parts.recorder else {
            bail!("the capture is being stopped; nothing can be changed any more");
        };
        parts.entry = change(recorder)?;
        Ok(())
    }
}

impl Parts {
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
        self.change(|recorder| recorder.set_paused(true))?;
        self.parts().paused_at = Some(Instant::now());
        Ok(())
    }

    fn resume(&self) -> Result<()> {
        if self.parts().paused_at.is_none() {
            return Ok(());
        }
        self.change(|recorder| recorder.set_paused(false))?;
        self.parts().end_pause();
        Ok(())
    }

    fn set_filters(&self, filters: FilterSet) -> Result<()> {
        self.change(|recorder| recorder.set_filters(filters))
    }
}

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
use jiff::Zoned;
use tokio::sync::Notify;
use weir_engine::{
    filter::{Expr, FilterSet},
    ledger::{Counters, Layer, Tally},
    pipeline::Budget,
};
use weir_proxy::{Proxy, config::Keep};
use weir_storage::{
    Catalogue, CookieQuery, Deleted, Home, Labels, Recorder, SessionEntry, SessionId, StorageError, Tail,
    recorder::{Ending, Next},
};

use super::{
    options::default_name,
    packets::{self, Packets},
    per_device::{PerDevice, Steered},
    rate::RateMeter,
};
use crate::{
    api::{
        NextSession, Recording, RecordingChange, Refused, Status, Steer,
        token::{Token, TokenFile},
    },
    send::delivery::Way,
};

/// Sessions that are being closed at most before another can begin.
const MOST_ENDINGS: usize = 8;

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
    /// Earlier sessions of this capture that are being closed.
    endings: Vec<Ending>,
    /// What the earlier sessions lost.
    lost_before: u64,
    /// Bytes clients sent and received before the session began.
    bytes_before: (u64, u64),
    /// The secret of the control API, and the file it lies in under the session's name.
    token: Option<(Token, TokenFile)>,
    started: Instant,
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
    /// How servers are reached.
    pub(crate) way: Way,
}

/// A running capture.
#[derive(Debug)]
pub(crate) struct Running {
    home: Home,
    counters: Arc<Counters>,
    budget: Budget,
    keep: Arc<Keep>,
    way: Way,
    parts: Mutex<Parts>,
    stopping: AtomicBool,
    stop: Notify,
}

impl Running {
    /// Takes over the parts.
    pub(crate) fn new(home: Home, counters: Arc<Counters>, budget: Budget, keep: Arc<Keep>, begun: Begun) -> Self {
        let Begun { recorder, devices, proxy, packets, entry, way } = begun;
        let parts = Parts {
            entry,
            devices,
            proxy,
            packets,
            recorder: Some(recorder),
            endings: Vec::new(),
            lost_before: 0,
            bytes_before: (0, 0),
            token: None,
            started: Instant::now(),
            paused_at: None,
            paused: Duration::ZERO,
            meter: RateMeter::default(),
        };
        Self {
            home,
            counters,
            budget,
            keep,
            way,
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
        let (proxy, packets, recorder, devices, endings) = {
            let mut parts = self.parts();
            parts.end_pause();
            let endings = std::mem::take(&mut parts.endings);
            (parts.proxy.take(), parts.packets.take(), parts.recorder.take(), parts.devices.take(), endings)
        };
        if let Some(proxy) = proxy {
            proxy.stop(grace);
        }
        let read = packets.map_or(Ok(()), Packets::stop);
        if let Some(devices) = devices {
            devices.finish()?;
        }
        // Before the last one: who waits for that one's end waits for all.
        let lost: u64 = endings.into_iter().map(lost_by).sum();
        let Some(recorder) = recorder else { bail!("the capture has been stopped already") };
        let closed = recorder.finish()?;
        // Nobody listens there any more.
        let entry = Catalogue::open(&self.home).update(&closed.id, |entry| {
            entry.proxy = None;
            entry.ui = None;
        })?;
        let mut parts = self.parts();
        parts.lost_before += lost;
        parts.token = None;
        parts.entry = entry.clone();
        read.map(|()| entry)
    }

    /// Takes over the token of the control API: its file follows the session.
    pub(crate) fn keep_token(&self, token: Token, file: TokenFile) {
        self.parts().token = Some((token, file));
    }

    /// What earlier sessions of this capture lost.
    pub(crate) fn lost_before(&self) -> u64 {
        self.parts().lost_before
    }

    /// The recorder of a session: the capture's own, or that of a device.
    fn with_recorder<T>(
        &self,
        session: &SessionId,
        act: impl FnOnce(&Recorder) -> Result<T, StorageError>,
    ) -> Result<Option<T>> {
        let parts = self.parts();
        if parts.entry.id == *session {
            return Ok(Some(act(parts.recorder()?)?));
        }
        let found = parts.devices.as_ref().and_then(|devices| devices.with(session, act));
        Ok(found.transpose()?)
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

/// Waits until a session is closed; what it lost.
fn lost_by(ending: Ending) -> u64 {
    let id = ending.id();
    match ending.finish() {
        Ok(entry) => packets::lost(&entry.ledger),
        Err(error) => {
            tracing::error!("session {id} could not be closed: {error}");
            0
        }
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
            duration_s: parts.started.elapsed().saturating_sub(paused).as_secs_f64(),
            wall_s: parts.started.elapsed().as_secs_f64(),
            exchanges: recorded.as_ref().map_or(entry.exchanges, |status| status.exchanges),
            rate: parts.meter.per_second(),
            request_bytes: recorded.as_ref().map_or(entry.request_bytes, |status| status.request_bytes),
            response_bytes: recorded.as_ref().map_or(entry.response_bytes, |status| status.response_bytes),
            sent_bytes: proxy.sent_bytes.saturating_sub(parts.bytes_before.0),
            received_bytes: proxy.received_bytes.saturating_sub(parts.bytes_before.1),
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

    fn tail(&self, session: &SessionId, filter: Option<Expr>) -> Result<Option<Tail>> {
        self.with_recorder(session, |recorder| Ok(recorder.tail(filter)))
    }

    fn delete_requests(&self, session: &SessionId, filter: &Expr) -> Result<Option<Deleted>> {
        self.with_recorder(session, |recorder| recorder.delete_requests(filter))
    }

    fn delete_cookies(&self, session: &SessionId, query: &CookieQuery) -> Result<Option<Deleted>> {
        self.with_recorder(session, |recorder| recorder.delete_cookies(query))
    }

    fn way(&self) -> Way {
        self.way.clone()
    }

    fn begin_session(&self, next: NextSession) -> Result<()> {
        let mut parts = self.parts();
        if parts.devices.is_some() {
            bail!(Refused("a capture with a session for each device cannot begin another; stop it, and start one"));
        }
        if parts.packets.is_some() {
            bail!(Refused("a capture of packets cannot begin another session; stop it, and start one"));
        }
        let (over, under_way) = std::mem::take(&mut parts.endings).into_iter().partition(Ending::is_over);
        parts.endings = under_way;
        let over: Vec<Ending> = over;
        parts.lost_before += over.into_iter().map(lost_by).sum::<u64>();
        if parts.endings.len() >= MOST_ENDINGS {
            bail!(Refused("earlier sessions are still being closed; try again in a while"));
        }
        let name = next.name.unwrap_or_else(|| default_name(&Zoned::now()));
        let (proxy, ui) = (parts.entry.proxy.clone(), parts.entry.ui.clone());
        let recorder =
            parts.recorder.as_mut().context("the capture is being stopped; no session can begin any more")?;
        let ending = recorder.begin_next(Next { name: Some(name), filters: next.rules })?;
        let entry = recorder.update_entry(|entry| (entry.proxy, entry.ui) = (proxy, ui))?;
        // Who asks for the last session from now on must not be led to this one.
        if let Err(error) = ending.update_entry(|entry| (entry.proxy, entry.ui) = (None, None)) {
            tracing::warn!("{error}");
        }
        let id = entry.id.to_string();
        let bytes = parts.proxy.as_ref().map(Proxy::status).unwrap_or_default();
        parts.bytes_before = (bytes.sent_bytes, bytes.received_bytes);
        parts.started = Instant::now();
        (parts.paused_at, parts.paused, parts.meter) = (None, Duration::ZERO, RateMeter::default());
        parts.endings.push(ending);
        parts.entry = entry;
        // Last: what fails here must not leave the rest undone.
        if let Some((token, _)) = parts.token.take() {
            let file = TokenFile::write(self.home.root(), &id, &token)
                .context("the token's file cannot be written; the new session runs, weir stop cannot reach it")?;
            parts.token = Some((token, file));
        }
        Ok(())
    }
}

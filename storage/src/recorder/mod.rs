//! The recorder: from the queue to parts on disk.
//!
//! - [`intake`]: the thread that takes batches, filters, counts and fills columns.
//! - [`rejected`]: which exchanges it left out lately, so that their messages are left out too.
//! - [`order`], [`density`], [`bulk`]: what is otherwise when files are recorded: rows put in the order of time, bodies
//!   that do not shrink told apart, large parts written once.
//! - [`writer`]: the thread that writes the columns as parts, keeps the catalogue entry, and has parts merged.
//! - [`tail`]: what was just written, for whoever watches.
//!
//! ```text
//! Receiver ── intake (filter, hash, columns) ── Flush ── writer (Parquet, fsync, rename, entry) ── merging
//! ```
//!
//! A flush leaves the intake every interval, or when its columns are full; one waits at most, so a
//! slow disk slows the intake, the queue fills, and the queue's policy decides. A disk that fails does
//! not: the writer keeps what it could not write up to a limit, tries again, and then drops the oldest
//! with a count.

mod bulk;
mod density;
mod flush;
mod intake;
mod order;
mod rejected;
mod succession;
mod tail;
mod writer;

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use weir_engine::{
    filter::{Expr, FilterSet},
    ledger::{Counters, Layer},
    pipeline::{Ids, Receiver, lane, queue::Interrupter},
};

pub use self::{
    succession::{Ending, Next},
    tail::{Seen, Tail},
};
pub use crate::compaction::MergePolicy;
use crate::{
    catalogue::{Catalogue, check_name},
    error::StorageError,
    home::Home,
    labels::LabelsByAddress,
    lock::FileLock,
    query::{CookieQuery, Session},
    session::{SessionEntry, SessionId, SessionState},
    time::Timestamp,
    tombstones::Deleted,
};

/// When a session is full: what comes then is passed on, counted and not recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// So many exchanges.
    pub exchanges: Option<u64>,
    /// So many bytes of parts on disk; it may pass this by one flush.
    pub bytes: Option<u64>,
}

/// How a session is recorded.
#[derive(Debug, Clone)]
pub struct RecorderOptions {
    /// Where to.
    pub home: Home,
    /// The session's name; `None`: made from the time.
    pub name: Option<String>,
    /// What the entry says the session comes from: `proxy`, `packets`, ….
    pub source: String,
    /// What to leave out.
    pub filters: FilterSet,
    /// Whether cookies are gathered in their table.
    pub cookies: bool,
    /// When it is full.
    pub limits: Limits,
    /// Names of clients' addresses.
    pub labels: LabelsByAddress,
    /// What a crash may cost at most.
    pub flush_interval: Duration,
    /// Bytes of columns after which a part is written before its time.
    pub flush_bytes: usize,
    /// Bytes of columns kept while the disk refuses them.
    pub pending_bytes: usize,
    /// When parts are merged.
    pub merge: MergePolicy,
    /// For recordings of files, which can be made again: rows are held and written together, and a crash may cost
    /// all that is held.
    pub bulk: bool,
}

impl RecorderOptions {
    /// The defaults for a session in `home`.
    #[must_use]
    pub fn new(home: Home, source: impl Into<String>) -> Self {
        Self {
            home,
            name: None,
            source: source.into(),
            filters: FilterSet::default(),
            cookies: true,
            limits: Limits::default(),
            labels: LabelsByAddress::default(),
            flush_interval: Duration::from_secs(1),
            flush_bytes: 8 << 20,
            pending_bytes: 64 << 20,
            merge: MergePolicy::default(),
            bulk: false,
        }
    }
}

/// How a recording goes.
#[derive(Debug, Clone, Default)]
pub struct RecorderStatus {
    /// Exchanges taken, on disk or about to be.
    pub exchanges: u64,
    /// Exchanges on disk.
    pub flushed: u64,
    /// Sum of `request_size` of the exchanges taken.
    pub request_bytes: u64,
    /// Sum of `response_size` of the exchanges taken.
    pub response_bytes: u64,
    /// Whether it is paused.
    pub paused: bool,
    /// Whether cookies are gathered.
    pub cookies: bool,
    /// Bytes of parts written.
    pub stored_bytes: u64,
    /// Whether a limit was reached.
    pub is_full: bool,
    /// What keeps it from writing now.
    pub last_error: Option<String>,
}

/// What all threads of a recorder share.
#[derive(Debug)]
struct Shared {
    id: SessionId,
    catalogue: Catalogue,
    /// Those that the outlets count with; its own once the next session has begun.
    counters: Mutex<Arc<Counters>>,
    /// Whether the receiver is asked for, for the next session.
    hand_over: AtomicBool,
    settings: Mutex<Settings>,
    /// Goes up with each change of the settings.
    settings_version: AtomicU64,
    exchanges: AtomicU64,
    flushed: AtomicU64,
    request_bytes: AtomicU64,
    response_bytes: AtomicU64,
    deleted_exchanges: AtomicU64,
    deleted_request_bytes: AtomicU64,
    deleted_response_bytes: AtomicU64,
    /// Bytes of the live parts written.
    stored_bytes: AtomicU64,
    limits: Limits,
    is_full: AtomicBool,
    watchers: tail::Watchers,
    /// Bodies that were to be stored have been lost: those that come again must be stored again.
    forget_bodies: AtomicBool,
    last_error: Mutex<Option<String>>,
}

#[derive(Debug, Clone)]
struct Settings {
    filters: Arc<FilterSet>,
    cookies: bool,
    labels: LabelsByAddress,
    paused_since: Option<Timestamp>,
    /// Of the pauses that have ended.
    paused_us: u64,
    /// The latest of those, microseconds since the Unix epoch: what ended in one may come to the intake after it.
    pauses: VecDeque<Range<i64>>,
}

/// Pauses remembered after their end.
const PAUSES: usize = 16;

impl Settings {
    fn paused_us(&self) -> u64 {
        let pause = self.paused_since.map_or(0, |since| Timestamp::now().as_micros() - since.as_micros());
        self.paused_us + u64::try_from(pause).unwrap_or(0)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A session being recorded.
#[derive(Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
    options: RecorderOptions,
    ids: Arc<Ids>,
    /// Ends a wait of the intake.
    interrupter: Option<Interrupter>,
    intake: JoinHandle<Option<intake::HandedOver>>,
    writer: JoinHandle<Result<SessionEntry, StorageError>>,
}

/// Where an intake gets its work from: it waits until then.
type Start = lane::Sender<intake::Work>;

impl Recorder {
    /// Begins a session and records what comes out of `receiver` until every outlet is gone.
    ///
    /// # Errors
    /// [`StorageError::BadName`], [`StorageError::Io`].
    pub fn start(
        options: RecorderOptions,
        receiver: Receiver,
        counters: Arc<Counters>,
        ids: Arc<Ids>,
    ) -> Result<Self, StorageError> {
        let settings = Settings {
            filters: Arc::new(options.filters.clone()),
            cookies: options.cookies,
            labels: Arc::clone(&options.labels),
            paused_since: None,
            paused_us: 0,
            pauses: VecDeque::new(),
        };
        let (mut recorder, start) = Self::prepare(options, settings, counters, ids)?;
        recorder.begin(&start, intake::Work::new(receiver));
        Ok(recorder)
    }

    /// A session with its threads, which wait for work.
    fn prepare(
        options: RecorderOptions,
        settings: Settings,
        counters: Arc<Counters>,
        ids: Arc<Ids>,
    ) -> Result<(Self, Start), StorageError> {
        let home = options.home.clone();
        let mut entry = SessionEntry::new("", options.source.clone());
        entry.name = match &options.name {
            Some(name) => {
                check_name(name)?;
                name.clone()
            }
            None => default_name(&entry.source, entry.started),
        };
        entry.filters = settings.filters.to_expr().map(|expr| expr.to_string());
        home.create()?;
        let id = entry.id;
        let catalogue = Catalogue::open(&home);
        let Some(session_lock) = FileLock::try_acquire(&home.lock_path(&id))? else {
            return Err(StorageError::Running(id.to_string()));
        };
        Home::create_dir(&home.live_dir(&id))?;
        catalogue.create(&entry)?;
        let shared = Arc::new(Shared {
            id,
            catalogue,
            counters: Mutex::new(counters),
            hand_over: AtomicBool::new(false),
            settings: Mutex::new(settings),
            settings_version: AtomicU64::new(0),
            exchanges: AtomicU64::new(0),
            flushed: AtomicU64::new(0),
            request_bytes: AtomicU64::new(0),
            response_bytes: AtomicU64::new(0),
            deleted_exchanges: AtomicU64::new(0),
            deleted_request_bytes: AtomicU64::new(0),
            deleted_response_bytes: AtomicU64::new(0),
            stored_bytes: AtomicU64::new(0),
            limits: options.limits,
            is_full: AtomicBool::new(false),
            watchers: tail::Watchers::default(),
            forget_bodies: AtomicBool::new(false),
            last_error: Mutex::new(None),
        });
        let spawn_failed = |error| StorageError::io("start a thread for session", id.to_string())(error);
        let (flushes, to_write) = lane::bounded(1);
        let (flush_interval, flush_bytes) = (options.flush_interval, options.flush_bytes);
        let bulk = options.bulk.then(|| bulk::Bulk::new(home.clone(), Arc::clone(&shared)));
        let in_order = bulk.is_some();
        let (pending_bytes, merge) = (options.pending_bytes, options.merge);
        let writer =
            writer::Writer::new(home, Arc::clone(&shared), session_lock, flush_interval, pending_bytes, merge, bulk);
        let writer = thread::Builder::new()
            .name("weir-writer".into())
            .spawn(move || writer.run(&to_write))
            .map_err(spawn_failed)?;
        let intake =
            intake::Intake::new(Arc::clone(&shared), Arc::clone(&ids), flushes, flush_interval, flush_bytes, in_order);
        let (start, work) = lane::bounded(1);
        let intake = thread::Builder::new()
            .name("weir-recorder".into())
            .spawn(move || work.recv().and_then(|work| intake.run(work)))
            .map_err(spawn_failed)?;
        Ok((Self { shared, options, ids, interrupter: None, intake, writer }, start))
    }

    /// Lets the intake begin.
    fn begin(&mut self, start: &Start, work: intake::Work) {
        self.interrupter = Some(work.receiver.interrupter());
        // The intake waits for it; a thread that died is told of by `finish`.
        let _ = start.send(work);
    }

    /// The session's id.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.shared.id
    }

    /// The session's entry as it is on disk now.
    ///
    /// # Errors
    /// [`StorageError::Io`], [`StorageError::Entry`].
    pub fn entry(&self) -> Result<SessionEntry, StorageError> {
        self.shared.catalogue.load(&self.shared.id)
    }

    /// How it goes.
    #[must_use]
    pub fn status(&self) -> RecorderStatus {
        let (paused, cookies) = {
            let settings = lock(&self.shared.settings);
            (settings.paused_since.is_some(), settings.cookies)
        };
        RecorderStatus {
            exchanges: self.shared.exchanges.load(Relaxed),
            flushed: self.shared.flushed.load(Relaxed),
            request_bytes: self.shared.request_bytes.load(Relaxed),
            response_bytes: self.shared.response_bytes.load(Relaxed),
            paused,
            cookies,
            stored_bytes: self.shared.stored_bytes.load(Relaxed),
            is_full: self.shared.is_full.load(Relaxed),
            last_error: lock(&self.shared.last_error).clone(),
        }
    }

    /// Changes what is left out, from the next batch on.
    ///
    /// # Errors
    /// What [`Catalogue::update`] may say; the filter is changed nonetheless.
    pub fn set_filters(&self, filters: FilterSet) -> Result<SessionEntry, StorageError> {
        let text = filters.to_expr().map(|expr| expr.to_string());
        lock(&self.shared.settings).filters = Arc::new(filters);
        self.shared.settings_version.fetch_add(1, Relaxed);
        self.update_entry(|entry| entry.filters = text)
    }

    /// Leaves out everything (counted as `policy:paused`), or no longer.
    ///
    /// # Errors
    /// What [`Catalogue::update`] may say; the change is made nonetheless.
    pub fn set_paused(&self, paused: bool) -> Result<SessionEntry, StorageError> {
        let paused_us = {
            let mut settings = lock(&self.shared.settings);
            settings.paused_us = settings.paused_us();
            if let Some(since) = settings.paused_since {
                settings.pauses.push_back(since.as_micros()..Timestamp::now().as_micros());
                let excess = settings.pauses.len().saturating_sub(PAUSES);
                settings.pauses.drain(..excess);
            }
            settings.paused_since = paused.then(Timestamp::now);
            settings.paused_us
        };
        self.shared.settings_version.fetch_add(1, Relaxed);
        self.update_entry(|entry| {
            entry.paused_us = paused_us;
            entry.state = if paused { SessionState::Paused } else { SessionState::Running };
        })
    }

    /// Gathers cookies in their table from the next batch on, or no longer.
    pub fn set_cookies(&self, cookies: bool) {
        lock(&self.shared.settings).cookies = cookies;
        self.shared.settings_version.fetch_add(1, Relaxed);
    }

    /// Takes over the names of clients' addresses, from the next batch on.
    pub fn set_labels(&self, labels: LabelsByAddress) {
        lock(&self.shared.settings).labels = labels;
        self.shared.settings_version.fetch_add(1, Relaxed);
    }

    /// Watches what is put on disk from now on.
    #[must_use]
    pub fn tail(&self, filter: Option<Expr>) -> Tail {
        self.shared.watchers.watch(filter)
    }

    /// Deletes requests that are on disk: nobody sees them any more; their parts are rewritten when the session ends.
    ///
    /// # Errors
    /// [`StorageError::Io`], [`StorageError::Parquet`].
    pub fn delete_requests(&self, filter: &Expr) -> Result<Deleted, StorageError> {
        let deleted = self.session()?.bury_requests(filter)?;
        let shared = &self.shared;
        lock(&shared.counters).deleted(Layer::Exchanges, deleted.exchanges);
        shared.exchanges.fetch_sub(deleted.exchanges.min(shared.exchanges.load(Relaxed)), Relaxed);
        shared.deleted_exchanges.fetch_add(deleted.exchanges, Relaxed);
        shared.deleted_request_bytes.fetch_add(deleted.request_bytes, Relaxed);
        shared.deleted_response_bytes.fetch_add(deleted.response_bytes, Relaxed);
        Ok(deleted)
    }

    /// Deletes cookies, as [`delete_requests`](Self::delete_requests) does requests.
    ///
    /// # Errors
    /// [`StorageError::Io`], [`StorageError::Parquet`].
    pub fn delete_cookies(&self, query: &CookieQuery) -> Result<Deleted, StorageError> {
        self.session()?.bury_cookies(query)
    }

    fn session(&self) -> Result<Session, StorageError> {
        Ok(Session::open(self.shared.catalogue.home(), self.entry()?))
    }

    /// Gives the session another name.
    ///
    /// # Errors
    /// What [`Catalogue::rename`] may say.
    pub fn rename(&self, name: &str) -> Result<SessionEntry, StorageError> {
        self.shared.catalogue.rename(&self.shared.id, name)
    }

    /// Changes fields of the entry that are not the recorder's: the addresses of proxy and UI.
    ///
    /// # Errors
    /// What [`Catalogue::update`] may say.
    pub fn update_entry(&self, change: impl FnOnce(&mut SessionEntry)) -> Result<SessionEntry, StorageError> {
        self.shared.catalogue.update(&self.shared.id, change)
    }

    /// Waits until every outlet is gone, everything is written and in the lake, and closes the entry.
    ///
    /// # Errors
    /// [`StorageError::RecorderFailed`] when a thread failed. A disk that refused the last rows or the
    /// merge is no error here: the entry says so (`failed`, `last_error`, the ledger).
    pub fn finish(self) -> Result<SessionEntry, StorageError> {
        let id = self.shared.id;
        let failed = || StorageError::RecorderFailed(id.to_string());
        self.intake.join().map_err(|_| failed())?;
        self.writer.join().map_err(|_| failed())?
    }
}

fn default_name(source: &str, started: Timestamp) -> String {
    // 2026-11-21T22:54:38… in UTC.
    let text = started.to_string();
    let (date, time) = text.split_once('T').unwrap_or((&text, ""));
    format!("{source} {date} {}", time.get(..8).unwrap_or(time))
}

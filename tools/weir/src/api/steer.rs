//! What the control API needs from whoever captures: the seam between the two.

use serde::{Deserialize, Serialize};
use weir_engine::{
    filter::{Expr, FilterSet},
    ledger::Ledger,
};
use weir_storage::{CookieQuery, Deleted, Home, Labels, SessionEntry, SessionId, Tail};

use crate::{cli::capture::Bodies, send::delivery::Way};

/// A running capture as it stands: the document of `/api/v1/session` and of each event.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Status {
    /// Session id.
    pub(crate) session: String,
    /// Its name.
    pub(crate) name: String,
    /// `running`, `paused`, `stopping`.
    pub(crate) state: &'static str,
    /// RFC 3339.
    pub(crate) started: String,
    /// Seconds since then, pauses left out.
    pub(crate) duration_s: f64,
    /// Seconds since then.
    pub(crate) wall_s: f64,
    /// Exchanges recorded.
    pub(crate) exchanges: u64,
    /// Exchanges seen a second, over the last seconds.
    pub(crate) rate: f64,
    /// Bytes of bodies recorded, of requests.
    pub(crate) request_bytes: u64,
    /// Bytes of bodies recorded, of responses.
    pub(crate) response_bytes: u64,
    /// Bytes clients sent, recorded or not, on connections that have ended.
    pub(crate) sent_bytes: u64,
    /// Bytes clients received, recorded or not, on connections that have ended.
    pub(crate) received_bytes: u64,
    /// Exchanges under way.
    pub(crate) open_exchanges: u64,
    /// Client connections open.
    pub(crate) open_connections: u64,
    /// Exchanges dropped, wanted (filters) and not.
    pub(crate) dropped: u64,
    /// Dropped without having been asked for, over all layers.
    pub(crate) lost: u64,
    /// Bytes of the memory budget in use.
    pub(crate) memory_used: u64,
    /// Bytes of the memory budget.
    pub(crate) memory_limit: u64,
    /// Bytes of parts written to disk.
    pub(crate) stored_bytes: u64,
    /// What is kept of each exchange.
    pub(crate) recording: Recording,
    /// The capture filter as an expression.
    pub(crate) filters: Option<String>,
    /// What last went wrong while writing.
    pub(crate) last_error: Option<String>,
    /// Address of the proxy, while it runs.
    pub(crate) proxy: Option<String>,
    /// What was seen, kept and dropped.
    pub(crate) ledger: Ledger,
}

/// What a capture keeps of each exchange: the toggles of `weir filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recording {
    /// Which bodies are stored.
    pub(crate) bodies: Bodies,
    /// Whether bodies of responses are stored at all.
    pub(crate) responses: bool,
    /// Whether cookies are gathered in their table.
    pub(crate) cookies: bool,
}

/// A change of [`Recording`]: what is left out stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecordingChange {
    /// Which bodies are stored from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bodies: Option<Bodies>,
    /// Whether bodies of responses are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) responses: Option<bool>,
    /// Whether cookies are gathered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cookies: Option<bool>,
}

impl RecordingChange {
    /// Whether it changes nothing.
    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// Why something cannot be done as things are.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) &'static str);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Refused {}

/// A session to begin in the place of the one that runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NextSession {
    /// Its name; the date and time unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// What it records; the same as now unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rules: Option<FilterSet>,
}

/// A capture that can be steered.
pub(crate) trait Steer: Send + Sync + 'static {
    /// As it stands.
    fn status(&self) -> Status;
    /// Its catalogue entry, for reading the session.
    fn entry(&self) -> anyhow::Result<SessionEntry>;
    /// Where it stores.
    fn home(&self) -> &Home;
    /// Asks it to stop; returns at once.
    fn stop(&self);
    /// Gives the session another name.
    fn rename(&self, name: &str) -> anyhow::Result<()>;
    /// Stops recording, goes on forwarding.
    fn pause(&self) -> anyhow::Result<()>;
    /// Records again.
    fn resume(&self) -> anyhow::Result<()>;
    /// Records from now on what passes `filters`.
    fn set_filters(&self, filters: FilterSet) -> anyhow::Result<()>;
    /// Keeps from now on this of each exchange.
    fn set_recording(&self, change: RecordingChange) -> anyhow::Result<()>;
    /// Takes over the names of clients' addresses.
    fn set_labels(&self, labels: &Labels) -> anyhow::Result<()>;
    /// How it reaches servers.
    fn way(&self) -> Way;
    /// Begins another session in the place of the one that runs, which is closed.
    fn begin_session(&self, next: NextSession) -> anyhow::Result<()>;
    /// Watches what is recorded from now on into a session; none: it is not of this capture.
    fn tail(&self, session: &SessionId, filter: Option<Expr>) -> anyhow::Result<Option<Tail>>;
    /// Deletes requests of a session; none: it is not of this capture.
    fn delete_requests(&self, session: &SessionId, filter: &Expr) -> anyhow::Result<Option<Deleted>>;
    /// Deletes cookies of a session; none: it is not of this capture.
    fn delete_cookies(&self, session: &SessionId, query: &CookieQuery) -> anyhow::Result<Option<Deleted>>;
}

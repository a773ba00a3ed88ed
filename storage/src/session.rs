//! The catalogue entry of a session: `sessions/<id>.json`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use ulid::Ulid;
use weir_engine::ledger::Ledger;

use crate::{error::StorageError, time::Timestamp};

/// A session's id: a ULID. Ids of later sessions sort after those of earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionId(Ulid);

impl SessionId {
    /// A new id, of now.
    #[must_use]
    pub fn generate() -> Self {
        Self(Ulid::generate())
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.array_to_str(&mut [0; ulid::ULID_LEN]))
    }
}

impl FromStr for SessionId {
    type Err = StorageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ulid::from_string(text).map(Self).map_err(|_| StorageError::BadId(text.to_owned()))
    }
}

impl TryFrom<String> for SessionId {
    type Error = StorageError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        id.to_string()
    }
}

/// Where a session is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// Being recorded.
    Running,
    /// Being recorded, but asked to leave out what comes.
    Paused,
    /// Ended cleanly.
    Stopped,
    /// Its writer died; what had been flushed is there.
    Recovered,
    /// It could not be finished; `last_error` says why.
    Failed,
}

impl SessionState {
    /// The word in documents and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Recovered => "recovered",
            Self::Failed => "failed",
        }
    }

    /// Whether a writer is at work (or died without saying so).
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the catalogue knows of a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionEntry {
    /// Its id.
    pub id: SessionId,
    /// Its name, the user's to choose.
    pub name: String,
    /// `proxy`, `packets`, `browser`, `import`, or several joined with `+`.
    pub source: String,
    /// Where it is in its life.
    pub state: SessionState,
    /// When recording began.
    pub started: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// How long it was paused, microseconds.
    #[serde(default)]
    pub paused_us: u64,
    /// Exchanges on disk.
    pub exchanges: u64,
    /// Sum of `request_size` of the exchanges on disk.
    pub request_bytes: u64,
    /// Sum of `response_size` of the exchanges on disk.
    pub response_bytes: u64,
    /// The capture filter as an expression, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters: Option<String>,
    /// What was seen, kept and dropped, and why.
    #[serde(default)]
    pub ledger: Ledger,
    /// Process that records it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Address of its proxy, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// Address of its UI and control API, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ui: Option<String>,
    /// What last went wrong while writing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// What newer versions of weir wrote here, kept as it is.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

impl SessionEntry {
    /// The entry of a session that begins now, in this process.
    #[must_use]
    pub fn new(name: impl Into<String>, source: impl Into<String>) -> Self {
        Self {
            id: SessionId::generate(),
            name: name.into(),
            source: source.into(),
            state: SessionState::Running,
            started: Timestamp::now(),
            ended: None,
            paused_us: 0,
            exchanges: 0,
            request_bytes: 0,
            response_bytes: 0,
            filters: None,
            ledger: Ledger::default(),
            pid: Some(std::process::id()),
            proxy: None,
            ui: None,
            last_error: None,
            other: serde_json::Map::new(),
        }
    }

    /// Seconds it recorded: from start to end (now, while it runs) without the pauses.
    #[must_use]
    pub fn duration_s(&self) -> f64 {
        (self.wall_s() - self.paused_us as f64 / 1e6).max(0.0)
    }

    /// Seconds from start to end (now, while it runs), pauses too.
    #[must_use]
    pub fn wall_s(&self) -> f64 {
        let end = self.ended.unwrap_or_else(Timestamp::now);
        end.as_micros().saturating_sub(self.started.as_micros()).max(0) as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_what_they_do_not_know() {
        let entry = SessionEntry::new("a", "proxy");
        let mut document = serde_json::to_value(&entry).expect("serialises");
        document["tags"] = serde_json::json!(["x"]);
        let read: SessionEntry = serde_json::from_value(document.clone()).expect("reads");
        assert_eq!(serde_json::to_value(&read).expect("serialises"), document);
        assert_eq!(read.id, entry.id);
        assert_eq!(entry.id.to_string().parse::<SessionId>().expect("parses"), entry.id);
    }
}

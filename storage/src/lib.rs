//! weir's lake: sessions as plain Parquet in a Hive-partitioned folder tree (DESIGN §5).
//!
//! Data flows one way through these rooms; a room imports only what stands above it:
//!
//! - [`error`], [`time`]: what can go wrong, said as a sentence; points in time as columns and documents hold them.
//! - [`home`]: where everything lies on disk; [`files`]: files that are wholly there or not at all.
//! - [`schema`]: the five tables.
//! - [`session`]: the catalogue entry of a session; [`lock`]: one writer a session.
//! - [`columns`]: rows into Arrow columns, without an allocation a row.
//! - [`summary`]: what the overview needs to know of a part without reading a row.
//! - [`parts`]: which files hold a session's rows, running or finished; [`part_file`]: writing one.
//! - [`tombstones`]: what is deleted but still in parts; [`labels`]: names of clients' addresses.
//! - [`compaction`]: live parts merged into larger ones, and those into the lake.
//! - [`catalogue`]: finding, renaming, deleting sessions.
//! - [`recovery`]: sessions whose writer died, merged and closed.
//! - [`recorder`]: from the proxy's queue to parts on disk, while a session runs.
//! - [`query`]: the overview, requests, bodies, messages, connections, cookies and devices of a session.
//! - [`export`]: any selection of them as Postman collections, HAR, curl lines and other formats.
//! - [`deletion`]: requests and cookies deleted; [`retention`]: sessions that are too old or too many.
//! - [`jar`]: cookies to send again.

pub mod catalogue;
mod columns;
mod compaction;
mod deletion;
pub mod error;
pub mod export;
mod files;
pub mod home;
pub mod jar;
pub mod labels;
pub mod lock;
mod part_file;
pub mod parts;
pub mod query;
pub mod recorder;
mod recovery;
pub mod retention;
pub mod schema;
pub mod session;
pub mod summary;
pub mod time;
mod tombstones;

pub use catalogue::Catalogue;
pub use deletion::with_ids;
pub use error::StorageError;
pub use export::{ExportFormat, ExportOptions, GroupFolders, Output, Report, export};
pub use home::Home;
pub use jar::Jar;
pub use labels::Labels;
pub use parts::{Part, list_parts, open_parts};
pub use query::{
    ConnectionRow, CookieQuery, CookieRow, DeviceRow, ExchangeRow, GroupBy, MessageRow, Overview, OverviewQuery,
    Requests, RequestsQuery, Session, Sort, StoredBody,
};
pub use recorder::{Limits, Recorder, RecorderOptions, RecorderStatus, Tail};
pub use retention::Keep;
pub use schema::Table;
pub use session::{SessionEntry, SessionId, SessionState};
pub use time::Timestamp;
pub use tombstones::Deleted;

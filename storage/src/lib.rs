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
//! - [`compaction`]: live parts merged into larger ones, and those into the lake.
//! - [`catalogue`]: finding, renaming, deleting sessions.
//! - [`recovery`]: sessions whose writer died, merged and closed.
//! - [`recorder`]: from the proxy's queue to parts on disk, while a session runs.
//! - [`query`]: the overview, requests, bodies, messages and connections of a session.
//! - [`export`]: any selection of them as Postman collections, HAR, curl lines and other formats.

pub mod catalogue;
mod columns;
mod compaction;
pub mod error;
pub mod export;
mod files;
pub mod home;
pub mod lock;
mod part_file;
pub mod parts;
pub mod query;
pub mod recorder;
mod recovery;
pub mod schema;
pub mod session;
pub mod summary;
pub mod time;

pub use catalogue::Catalogue;
pub use error::StorageError;
pub use export::{ExportFormat, ExportOptions, GroupFolders, Output, Report, export};
pub use home::Home;
pub use parts::{Part, list_parts, open_parts};
pub use query::{
    ConnectionRow, ExchangeRow, GroupBy, MessageRow, Overview, OverviewQuery, Requests, RequestsQuery, Session, Sort,
    StoredBody,
};
pub use recorder::{Recorder, RecorderOptions, RecorderStatus};
pub use schema::Table;
pub use session::{SessionEntry, SessionId, SessionState};
pub use time::Timestamp;

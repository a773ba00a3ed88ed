//! The summary of a part of `exchanges`: what the overview needs to know of it without reading a row.
//!
//! In: record batches ([`Builder`]). Out: a [`Summary`], stored in the part's own Parquet key-value
//! metadata under [`METADATA_KEY`], merged over parts by the reader. Its size is bounded: a dimension
//! with more than [`MAX_KEYS`] keys is left out, and the reader scans the part for that one.
//!
//! - [`histogram`]: the mergeable histogram of durations.
//! - [`builder`]: from record batches.
//! - [`encoding`]: its form in the metadata.

pub mod builder;
pub mod encoding;
pub mod histogram;

use std::collections::HashMap;

pub use builder::Builder;
pub use histogram::Histogram;
use parquet::file::metadata::ParquetMetaData;
use rustc_hash::FxBuildHasher;

/// Key in a part's metadata.
pub const METADATA_KEY: &str = "weir.summary";
/// Keys of one dimension at most.
pub const MAX_KEYS: usize = 10_000;
/// The key of exchanges whose column is null: no response, no media type, no known client.
pub const NULL_KEY: &str = "none";

/// What exchanges are grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Dimension {
    /// Column `method`.
    Method,
    /// Column `domain`.
    Domain,
    /// Column `type`.
    Type,
    /// Column `status` as text; [`NULL_KEY`] where it is null.
    Status,
    /// Column `endpoint`.
    Endpoint,
    /// Column `device`.
    Device,
    /// Column `category`.
    Category,
    /// Column `source`.
    Source,
}

impl Dimension {
    /// Every dimension.
    pub const ALL: [Self; 8] = [
        Self::Method,
        Self::Domain,
        Self::Type,
        Self::Status,
        Self::Endpoint,
        Self::Device,
        Self::Category,
        Self::Source,
    ];

    /// The column's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Domain => "domain",
            Self::Type => "type",
            Self::Status => "status",
            Self::Endpoint => "endpoint",
            Self::Device => "device",
            Self::Category => "category",
            Self::Source => "source",
        }
    }
}

/// Whether an exchange counts as an error: no response, a status of 400 or more, or something missing or cut.
#[must_use]
pub fn is_error(status: Option<u16>, has_error: bool) -> bool {
    has_error || status.is_none_or(|status| status >= 400)
}

/// What is known of a set of exchanges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many.
    pub count: u64,
    /// Sum of `request_size`.
    pub request_bytes: u64,
    /// Sum of `response_size`.
    pub response_bytes: u64,
    /// How many are errors ([`is_error`]).
    pub errors: u64,
    /// `duration_us`, of those that have one.
    pub durations: Histogram,
}

impl Totals {
    /// Adds those of another set.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.request_bytes += other.request_bytes;
        self.response_bytes += other.response_bytes;
        self.errors += other.errors;
        self.durations.merge(&other.durations);
    }
}

/// Totals by key.
pub type Groups = HashMap<String, Totals, FxBuildHasher>;

/// The summary of one part, or of several merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// All exchanges.
    pub totals: Totals,
    /// Earliest `started`, microseconds since the Unix epoch; `i64::MAX` when there is none.
    pub first_started_us: i64,
    /// Latest `started`; `i64::MIN` when there is none.
    pub last_started_us: i64,
    groups: [Option<Groups>; Dimension::ALL.len()],
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            totals: Totals::default(),
            first_started_us: i64::MAX,
            last_started_us: i64::MIN,
            groups: Dimension::ALL.map(|_| Some(Groups::default())),
        }
    }
}

impl Summary {
    /// The exchanges by the keys of a dimension; `None` when there were too many keys: scan instead.
    #[must_use]
    pub fn groups(&self, dimension: Dimension) -> Option<&Groups> {
        self.groups[dimension as usize].as_ref()
    }

    /// Adds another summary. A dimension that one of them lacks is lacking then.
    pub fn merge(&mut self, other: &Self) {
        self.totals.merge(&other.totals);
        self.first_started_us = self.first_started_us.min(other.first_started_us);
        self.last_started_us = self.last_started_us.max(other.last_started_us);
        for (mine, theirs) in self.groups.iter_mut().zip(&other.groups) {
            match (mine.as_mut(), theirs) {
                (Some(mine), Some(theirs)) => {
                    for (key, totals) in theirs {
                        match mine.get_mut(key) {
                            Some(there) => there.merge(totals),
                            None => {
                                mine.insert(key.clone(), totals.clone());
                            }
                        }
                    }
                }
                _ => *mine = None,
            }
        }
    }

    /// The summary in the metadata of a part; `None` when it has none that this version reads.
    #[must_use]
    pub fn of_part(metadata: &ParquetMetaData) -> Option<Self> {
        let pairs = metadata.file_metadata().key_value_metadata()?;
        let text = pairs.iter().find(|pair| pair.key == METADATA_KEY)?.value.as_deref()?;
        Self::decode(text)
    }
}

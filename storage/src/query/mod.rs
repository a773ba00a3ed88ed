//! Reading a session: the overview, its requests, one exchange, bodies, messages, connections.
//!
//! In: the parts of a session, finished or still being written by another process. Out: owned rows
//! and counts. Nothing is locked: parts are opened once, and an opened part stays readable when
//! compaction replaces it. A part that is damaged is left out with a warning that names it.
//!
//! - [`cell`], [`rows`]: values and rows out of columns.
//! - [`evaluate`]: the filter language over columns; [`prune`]: over statistics.
//! - [`file`], [`source`]: parts opened for many threads, and work over their row groups.
//! - [`scan`]: the matching rows of one row group.
//! - [`group`] → [`overview`]; [`top`], [`seek`], [`fetch`] → [`requests`]; [`lookup`]: by key in the other tables.
//! - [`compare`]: two sessions. [`bodies`]: text inside bodies; [`cookies`], [`devices`]: gathered over all rows.

mod bodies;
pub mod cell;
mod chosen;
pub mod compare;
pub mod cookies;
pub mod devices;
pub mod evaluate;
mod fetch;
pub(crate) mod file;
pub mod group;
pub mod lookup;
pub mod overview;
pub mod prune;
pub mod requests;
pub mod rows;
pub(crate) mod scan;
mod seek;
pub(crate) mod source;
pub mod top;

pub use cell::{HashHex, HeaderLine};
pub use compare::{Changes, CompareQuery, Comparison};
pub use cookies::{CookieQuery, CookieRow};
pub use devices::DeviceRow;
pub use group::GroupBy;
pub use lookup::{Listing, StoredBody};
pub use overview::{Group, Overview, OverviewQuery};
pub use requests::{Requests, RequestsQuery};
pub use rows::{ConnectionRow, Cookie, ExchangeRow, MessageRow};
pub use top::Sort;
use weir_engine::filter::{self, Column, Expr, Field, Literal};

use self::source::Source;
use crate::{
    error::StorageError,
    home::Home,
    schema::Table,
    session::SessionEntry,
    tombstones::Deleted,
    tombstones::{CookieKey, Ids},
};

/// A session opened for reading. Each query sees what was flushed when it began.
#[derive(Debug, Clone)]
pub struct Session {
    home: Home,
    entry: SessionEntry,
}

impl Session {
    /// The session of a catalogue entry. Nothing is read until it is asked.
    #[must_use]
    pub fn open(home: &Home, entry: SessionEntry) -> Self {
        Self { home: home.clone(), entry }
    }

    /// Its catalogue entry as it was given.
    #[must_use]
    pub fn entry(&self) -> &SessionEntry {
        &self.entry
    }

    pub(crate) fn source(&self, table: Table, page_index: bool) -> Result<Source, StorageError> {
        Source::open(&self.home, &self.entry.id, table, page_index)
    }

    /// Counts, bytes, errors and percentiles by the values of columns.
    ///
    /// # Errors
    /// [`StorageError`] when the parts cannot be listed; damaged ones are warnings in the answer.
    pub fn overview(&self, query: &OverviewQuery) -> Result<Overview, StorageError> {
        overview::overview(&mut self.source(Table::Exchanges, false)?, &self.entry, query)
    }

    /// The rows that a query asks for, read as they are taken.
    ///
    /// # Errors
    /// [`StorageError`] when the parts cannot be listed; damaged ones are warnings of the answer.
    pub fn requests(&self, query: &RequestsQuery) -> Result<Requests, StorageError> {
        let pattern = if query.search_bodies { query.pattern()? } else { None };
        let (mut bodies, mut warnings) = (None, Vec::new());
        if let Some(pattern) = pattern {
            let mut source = self.source(Table::Bodies, false)?;
            bodies = Some(bodies::holding(&mut source, &pattern)?);
            warnings = source.warnings;
        }
        let mut source = self.source(Table::Exchanges, true)?;
        source.warnings.append(&mut warnings);
        Requests::new(source, query, bodies)
    }

    /// One exchange by its id; `None` when there is none (or it stood in a damaged part).
    ///
    /// # Errors
    /// [`StorageError`] when the parts cannot be listed.
    pub fn exchange(&self, id: u64) -> Result<Option<ExchangeRow>, StorageError> {
        let is_it =
            Expr::Compare(Field::Column(Column::Id), filter::Comparison::Equal, Literal::Integer(i128::from(id)));
        let query = RequestsQuery { filter: Some(is_it), limit: Some(1), ..RequestsQuery::default() };
        Ok(self.requests(&query)?.next())
    }

    /// A stored body by its hash; `None` when the session does not have it.
    ///
    /// # Errors
    /// [`StorageError`] when the parts cannot be listed.
    pub fn body(&self, hash: &[u8; 32]) -> Result<Option<StoredBody>, StorageError> {
        lookup::body(&mut self.source(Table::Bodies, true)?, hash)
    }

    /// The messages of an exchange in the order of their times; a hundred thousand at most, with a warning.
    ///
    /// # Errors
    /// [`StorageError`] when the parts cannot be listed.
    pub fn messages(&self, exchange: u64) -> Result<Listing<MessageRow>, StorageError> {
        lookup::messages(&mut self.source(Table::Messages, true)?, exchange)
    }

    /// The connections in the order they were recorded; a hundred thousand at most, with a warning.
    ///
    /// # Errors
    /// [`StorageError`] when the parts cannot be listed.
    pub fn connections(&self) -> Result<Listing<ConnectionRow>, StorageError> {
        lookup::connections(&mut self.source(Table::Connections, false)?)
    }

    /// The cookies that a query finds, by domain, name and path.
    ///
    /// # Errors
    /// [`StorageError`] when the parts cannot be listed.
    pub fn cookies(&self, query: &CookieQuery) -> Result<Listing<CookieRow>, StorageError> {
        cookies::cookies(&mut self.source(Table::Cookies, false)?, query)
    }

    /// The devices, the one seen last first.
    ///
    /// # Errors
    /// [`StorageError`] when the parts cannot be listed.
    pub fn devices(&self) -> Result<Listing<DeviceRow>, StorageError> {
        devices::devices(&mut self.source(Table::Exchanges, false)?, &mut self.source(Table::Connections, false)?)
    }

    /// The names of header fields of requests and of responses, lower case.
    pub(crate) fn header_names(&self, filter: Option<&Expr>) -> Result<compare::HeaderNames, StorageError> {
        compare::header_names(&mut self.source(Table::Exchanges, false)?, filter)
    }

    /// The home it lies in.
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// Ids and sizes of the requests that meet a condition.
    pub(crate) fn chosen(&self, filter: &Expr) -> Result<(Ids, Deleted), StorageError> {
        chosen::chosen(&mut self.source(Table::Exchanges, false)?, filter)
    }

    /// The keys of all rows of the cookies that a query finds, and how many cookies these are.
    pub(crate) fn cookie_keys(&self, query: &CookieQuery) -> Result<(Vec<CookieKey>, u64), StorageError> {
        cookies::keys(&mut self.source(Table::Cookies, false)?, query)
    }
}

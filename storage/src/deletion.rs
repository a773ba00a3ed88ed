//! Requests and cookies deleted, by any filter.
//!
//! In: a condition. Out: a tombstone at once, so that no reader shows the rows again; parts without them as soon as
//! nobody writes to the session: at once when it has ended, else when it ends.

use weir_engine::{
    filter::{Column, Expr, Field, Literal, LiteralSet},
    ledger::Layer,
};

use crate::{
    catalogue::Catalogue,
    compaction,
    error::StorageError,
    lock::FileLock,
    query::{CookieQuery, Session},
    session::SessionId,
    time::Timestamp,
    tombstones::{self, Deleted},
};

/// The condition of these ids; `None` where there are none.
#[must_use]
pub fn with_ids(ids: &[u64]) -> Option<Expr> {
    let literals: Vec<Literal> = ids.iter().map(|id| Literal::Integer((*id).into())).collect();
    LiteralSet::new(literals).map(|set| Expr::In(Field::Column(Column::Id), set))
}

impl Session {
    /// Hides the requests that meet a condition from every reader.
    pub(crate) fn bury_requests(&self, filter: &Expr) -> Result<Deleted, StorageError> {
        let (ids, deleted) = self.chosen(filter)?;
        if !ids.is_empty() {
            tombstones::write_exchanges(self.home(), &self.entry().id, &ids)?;
        }
        Ok(deleted)
    }

    /// Hides the cookies that a query finds from every reader.
    pub(crate) fn bury_cookies(&self, query: &CookieQuery) -> Result<Deleted, StorageError> {
        let now = Timestamp::now();
        let (keys, count) = self.cookie_keys(query)?;
        if !keys.is_empty() {
            tombstones::write_cookies(self.home(), &self.entry().id, &keys, now.as_micros())?;
        }
        Ok(Deleted { cookies: count, ..Deleted::default() })
    }
}

impl Catalogue {
    /// Deletes the requests of a session that has ended.
    ///
    /// # Errors
    /// [`StorageError::Running`]: ask the capture that records it; [`StorageError::Io`], [`StorageError::Parquet`].
    pub fn delete_requests(&self, id: &SessionId, filter: &Expr) -> Result<Deleted, StorageError> {
        self.delete_rows(id, |session| session.bury_requests(filter))
    }

    /// Deletes the cookies of a session that has ended.
    ///
    /// # Errors
    /// As [`delete_requests`](Self::delete_requests).
    pub fn delete_cookies(&self, id: &SessionId, query: &CookieQuery) -> Result<Deleted, StorageError> {
        self.delete_rows(id, |session| session.bury_cookies(query))
    }

    fn delete_rows(
        &self,
        id: &SessionId,
        bury: impl FnOnce(&Session) -> Result<Deleted, StorageError>,
    ) -> Result<Deleted, StorageError> {
        let home = self.home();
        let Some(lock) = FileLock::try_acquire(&home.lock_path(id))? else {
            return Err(StorageError::BeingRecorded(id.to_string()));
        };
        let deleted = bury(&Session::open(home, self.load(id)?))?;
        let messages = compaction::drop_deleted(home, id)?;
        self.update(id, |entry| {
            entry.exchanges = entry.exchanges.saturating_sub(deleted.exchanges);
            entry.request_bytes = entry.request_bytes.saturating_sub(deleted.request_bytes);
            entry.response_bytes = entry.response_bytes.saturating_sub(deleted.response_bytes);
            for (layer, count) in [(Layer::Exchanges, deleted.exchanges), (Layer::Messages, messages)] {
                if count > 0 {
                    entry.ledger.layer_mut(layer).delete(count);
                }
            }
        })?;
        lock.remove();
        Ok(deleted)
    }
}

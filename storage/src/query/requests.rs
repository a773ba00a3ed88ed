//! The requests of a session: filtered, searched, ordered, page by page.
//!
//! Each page is found by its keys alone ([`top`]), then its rows are read whole, some thousand at a
//! time. So memory is bounded however many rows there are, and a short page reads few row groups. A page far down
//! is [sought](super::seek) first.

use std::{collections::VecDeque, sync::Arc};

use arrow::error::ArrowError;
use weir_engine::filter::{Column, Expr, LikePattern};

use super::{
    bodies::Hashes,
    fetch::{Fetcher, rows_at_once},
    rows::ExchangeRow,
    scan::Condition,
    seek::seek,
    source::Source,
    top::{Ranked, Sort, Within, top},
};
use crate::error::StorageError;

/// Keys held at once.
const MAX_KEYS: usize = 256 * 1024;
/// Rows skipped at least for a page to be sought rather than counted to.
const FAR: usize = 8 * 1024;

/// Which requests, in which order.
#[derive(Debug, Clone, Default)]
pub struct RequestsQuery {
    /// Those that meet this; `None`: all.
    pub filter: Option<Expr>,
    /// Those with this text in the URL or a header line, without regard to case.
    pub search: Option<String>,
    /// Whether `search` looks into bodies too, decoded.
    pub search_bodies: bool,
    /// In this order; by default by id.
    pub sort: Sort,
    /// At most so many; `None`: all.
    pub limit: Option<usize>,
    /// Without the first so many.
    pub offset: usize,
    /// Only these columns are read, the others are empty in the rows; `None`: all, with the headers.
    pub columns: Option<Vec<Column>>,
}

impl RequestsQuery {
    /// The text to search for.
    pub(crate) fn pattern(&self) -> Result<Option<LikePattern>, StorageError> {
        let Some(text) = self.search.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
        LikePattern::containing(text, true).map(Some).map_err(|problem| {
            StorageError::Arrow(ArrowError::InvalidArgumentError(format!("the search text: {problem}")))
        })
    }
}

/// The rows a query found, in order, read as they are asked for.
///
/// It is a snapshot: rows that are recorded meanwhile are not in it. Parts that turn out to be
/// damaged are left out; [`warnings`](Self::warnings) names them.
#[derive(Debug)]
pub struct Requests {
    source: Source,
    condition: Condition,
    sort: Sort,
    skip: usize,
    left: usize,
    /// The last key of the pass before.
    after: Option<Ranked>,
    /// Where to look.
    within: Within,
    is_last_pass: bool,
    keys: VecDeque<Ranked>,
    fetcher: Fetcher,
    rows: VecDeque<ExchangeRow>,
    error: Option<StorageError>,
}

impl Requests {
    /// `bodies`: those that hold the text of the search, when it looks into them.
    pub(crate) fn new(source: Source, query: &RequestsQuery, bodies: Option<Hashes>) -> Result<Self, StorageError> {
        Ok(Self {
            condition: Condition {
                filter: query.filter.clone(),
                search: query.pattern()?,
                bodies: bodies.map(Arc::new),
                deleted: source.deleted(),
            },
            source,
            sort: query.sort,
            skip: query.offset,
            left: query.limit.unwrap_or(usize::MAX),
            after: None,
            within: Within::default(),
            is_last_pass: false,
            keys: VecDeque::new(),
            fetcher: Fetcher::of(query.columns.as_deref()),
            rows: VecDeque::new(),
            error: None,
        })
    }

    /// What could not be read so far, as sentences that name the file and what to do.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.source.warnings
    }

    /// Why the rows ended early, when they did.
    #[must_use]
    pub fn error(&self) -> Option<&StorageError> {
        self.error.as_ref()
    }

    /// Takes the error out, to pass it on.
    pub(crate) fn take_error(&mut self) -> Option<StorageError> {
        self.error.take()
    }

    fn fill(&mut self) -> Result<(), StorageError> {
        while self.rows.is_empty() && self.left > 0 {
            if self.keys.is_empty() {
                if self.is_last_pass {
                    return Ok(());
                }
                self.next_pass()?;
                self.fetcher.expect(&self.source, self.keys.iter().take(self.left));
            }
            let Some(next) = self.keys.front() else { continue };
            let count = self.keys.len().min(rows_at_once(&self.source, next.unit())).min(self.left);
            let chunk: Vec<Ranked> = self.keys.drain(..count).collect();
            self.rows = self.fetcher.fetch(&mut self.source, &chunk)?;
            self.left -= self.rows.len().min(self.left);
        }
        Ok(())
    }

    fn next_pass(&mut self) -> Result<(), StorageError> {
        if self.after.is_none() && self.skip >= FAR {
            let (condition, sort, skip, left) = (&self.condition, self.sort, self.skip, self.left);
            let plan = self.source.run(|source| seek(source, condition, sort, skip, left, MAX_KEYS))?;
            if plan.is_empty {
                self.is_last_pass = true;
                return Ok(());
            }
            if let Some(found) = plan.found {
                self.is_last_pass = true;
                self.skip = 0;
                self.keys.extend(found);
                return Ok(());
            }
            (self.within, self.skip) = (plan.within, plan.skip);
        }
        let far_end = self.within.from_end;
        let room = if far_end { self.skip } else { self.skip.saturating_add(self.left).clamp(1, MAX_KEYS) };
        let (condition, sort, after, within) = (&self.condition, self.sort, self.after.as_ref(), &self.within);
        let found = self.source.run(|source| top(source, condition, sort, after, room, within))?;
        if far_end {
            // All rows from the page on were kept: those of the page are the first of them.
            self.is_last_pass = true;
            self.skip = 0;
            self.keys.extend(found);
            return Ok(());
        }
        self.is_last_pass = found.len() < room;
        self.after = found.last().cloned().or(self.after.take());
        let skipped = self.skip.min(found.len());
        self.skip -= skipped;
        self.keys.extend(found.into_iter().skip(skipped));
        Ok(())
    }
}

impl Iterator for Requests {
    type Item = ExchangeRow;

    fn next(&mut self) -> Option<ExchangeRow> {
        if self.rows.is_empty() && self.error.is_none() {
            self.error = self.fill().err();
        }
        self.rows.pop_front()
    }
}

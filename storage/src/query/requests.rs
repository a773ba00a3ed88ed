//! The requests of a session: filtered, searched, ordered, page by page.
//!
//! Each page is found by its keys alone ([`top`]), then its rows are read whole, some thousand at a
//! time. So memory is bounded however many rows there are, and a short page reads few row groups. A page far down
//! is [sought](super::seek) first.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use arrow::error::ArrowError;
use weir_engine::filter::{Expr, LikePattern};

use super::{
    bodies::Hashes,
    file::{OpenPart, guarded},
    rows::ExchangeRow,
    scan::{Condition, read, selection},
    seek::seek,
    source::Source,
    top::{Ranked, Sort, Within, top},
};
use crate::error::StorageError;

/// Keys held at once.
const MAX_KEYS: usize = 256 * 1024;
/// Rows skipped at least for a page to be sought rather than counted to.
const FAR: usize = 8 * 1024;
/// Rows held at once.
const MAX_ROWS: usize = 4096;
/// Bytes of them, about: rows with large headers come in smaller lots.
const MAX_ROW_BYTES: usize = 16 << 20;

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
            }
            let count = self.keys.len().min(self.rows_at_once()).min(self.left);
            let chunk: Vec<Ranked> = self.keys.drain(..count).collect();
            self.fetch(&chunk);
            self.left -= self.rows.len().min(self.left);
        }
        Ok(())
    }

    /// Rows that fit into memory, judged by the mean size of a row where the next one lies.
    fn rows_at_once(&self) -> usize {
        let Some(key) = self.keys.front() else { return MAX_ROWS };
        let group = self.source.parts[key.part].metadata.metadata().row_group(key.group);
        let rows = usize::try_from(group.num_rows()).unwrap_or(1).max(1);
        let mean = usize::try_from(group.total_byte_size()).unwrap_or(0) / rows;
        (MAX_ROW_BYTES / mean.max(1)).clamp(1, MAX_ROWS)
    }

    fn next_pass(&mut self) -> Result<(), StorageError> {
        if self.after.is_none() && self.skip >= FAR {
            let (condition, sort, skip, left) = (&self.condition, self.sort, self.skip, self.left);
            let plan = self.source.run(|source| seek(source, condition, sort, skip, left, MAX_KEYS))?;
            if plan.is_empty {
                self.is_last_pass = true;
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

    /// Reads rows whole. Those of a part that turns out to be damaged are left out.
    fn fetch(&mut self, keys: &[Ranked]) {
        let mut places: BTreeMap<(usize, usize), Vec<(usize, usize)>> = BTreeMap::new();
        for (position, key) in keys.iter().enumerate() {
            places.entry((key.part, key.group)).or_default().push((key.row, position));
        }
        let mut rows: Vec<Option<ExchangeRow>> = vec![None; keys.len()];
        for ((part, group), mut wanted) in places {
            if !self.source.has(part) {
                continue;
            }
            wanted.sort_unstable();
            let open = &self.source.parts[part];
            match read_rows(open, group, &wanted) {
                Ok(found) => found.into_iter().for_each(|(position, row)| rows[position] = Some(row)),
                Err(error) => {
                    let error = open.error(error);
                    self.source.leave_out(&(part, error));
                }
            }
        }
        self.rows.extend(rows.into_iter().flatten());
    }
}

/// The rows at these places of a row group, each with its position in the page.
fn read_rows(
    part: &OpenPart,
    group: usize,
    wanted: &[(usize, usize)],
) -> Result<Vec<(usize, ExchangeRow)>, parquet::errors::ParquetError> {
    guarded(|| {
        let total = usize::try_from(part.metadata.metadata().row_group(group).num_rows()).unwrap_or(0);
        let chosen = selection(wanted.iter().map(|(row, _)| *row), total);
        let mut positions = wanted.iter().map(|(_, position)| *position);
        let mut found = Vec::with_capacity(wanted.len());
        for batch in read(part, group, &ExchangeRow::columns(), Some(chosen))? {
            let batch = batch?;
            for (row, position) in (0..batch.num_rows()).zip(&mut positions) {
                found.push((position, ExchangeRow::read(&batch, row)?));
            }
        }
        Ok(found)
    })
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

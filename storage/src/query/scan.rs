//! Reading the rows of one row group that meet a condition, and of those only the wanted columns.
//!
//! Conditions over dictionary and number columns cost little, those over text and headers much. Where
//! a condition has both, the cheap part is decided first and the dear columns are read only for the
//! rows that are left (late materialisation).

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch},
    buffer::BooleanBuffer,
    compute::kernels::boolean::and_kleene,
    datatypes::UInt64Type,
    error::ArrowError,
};
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection},
    },
    errors::ParquetError,
};
use weir_engine::filter::{Column, Expr, Field, LikePattern};

use super::{
    bodies::Hashes,
    evaluate::{evaluate, header_columns},
    file::{OpenPart, guarded},
    prune::{may_match, range_of},
};
use crate::tombstones::Ids;

/// Rows a batch at most.
pub(crate) const BATCH_ROWS: usize = 32 * 1024;

/// What rows must meet: a filter, a text search, both, or nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Condition {
    /// The filter.
    pub(crate) filter: Option<Expr>,
    /// Found in the URL or in any header line, without regard to case.
    pub(crate) search: Option<LikePattern>,
    /// Bodies that hold the text of `search`: exchanges that carry one of them meet it too.
    pub(crate) bodies: Option<Arc<Hashes>>,
    /// Exchanges that are deleted.
    pub(crate) deleted: Option<Arc<Ids>>,
}

impl Condition {
    /// Whether every row meets it.
    pub(crate) fn is_empty(&self) -> bool {
        self.filter.is_none() && self.search.is_none() && self.deleted.is_none()
    }

    /// Whether every row of a part meets it, as far as its footer tells.
    pub(crate) fn takes_all_of(&self, part: &OpenPart) -> bool {
        let groups = 0..part.metadata.metadata().num_row_groups();
        groups.into_iter().all(|group| self.takes_all_of_group(part, group))
    }

    /// Whether every row of a row group meets it.
    pub(crate) fn takes_all_of_group(&self, part: &OpenPart, group: usize) -> bool {
        self.filter.is_none() && self.search.is_none() && !self.has_deleted(part, group)
    }

    /// Whether deciding it needs no column.
    pub(crate) fn reads_nothing(&self) -> bool {
        self.columns().is_empty()
    }

    /// Whether a row of this group might be deleted.
    fn has_deleted(&self, part: &OpenPart, group: usize) -> bool {
        self.deleted.as_ref().is_some_and(|ids| {
            range_of("id", part.metadata.metadata().row_group(group))
                .is_none_or(|(low, high)| ids.intersects(low, high))
        })
    }

    /// What is to be decided of a row group: where none of its rows is deleted, not whether they are.
    fn of_group(&self, part: &OpenPart, group: usize) -> Self {
        let mut condition = self.clone();
        if !self.has_deleted(part, group) {
            condition.deleted = None;
        }
        condition
    }

    /// Whether a row of this group might meet it.
    pub(crate) fn may_match(&self, part: &OpenPart, group: usize) -> bool {
        self.filter.as_ref().is_none_or(|filter| may_match(filter, part.metadata.metadata().row_group(group)))
    }

    /// Whether deciding it reads text of every row.
    fn is_dear(&self) -> bool {
        self.search.is_some() || self.filter.as_ref().is_some_and(|filter| filter.fields().into_iter().any(is_dear))
    }

    /// A cheap condition and the rest, which together mean this one.
    fn split(&self) -> (Option<Self>, Self) {
        let parts = match &self.filter {
            None => Vec::new(),
            Some(Expr::And(parts)) => parts.clone(),
            Some(other) => vec![other.clone()],
        };
        let (dear, cheap): (Vec<_>, Vec<_>) =
            parts.into_iter().partition(|part| part.fields().into_iter().any(is_dear));
        if (cheap.is_empty() && self.deleted.is_none()) || !self.is_dear() {
            return (None, self.clone());
        }
        let filter = |parts: Vec<Expr>| (!parts.is_empty()).then(|| Expr::all(parts));
        (
            Some(Self { filter: filter(cheap), deleted: self.deleted.clone(), ..Self::default() }),
            Self { filter: filter(dear), deleted: None, ..self.clone() },
        )
    }

    fn columns(&self) -> BTreeSet<&'static str> {
        let name = |field: &Field| match field {
            Field::Column(column) => column.name(),
            Field::Header { response: false, .. } => "request_headers",
            Field::Header { response: true, .. } => "response_headers",
        };
        let mut columns: BTreeSet<_> =
            self.filter.iter().flat_map(|filter| filter.fields().into_iter().map(name).collect::<Vec<_>>()).collect();
        if self.search.is_some() {
            columns.extend(["url", "request_headers", "response_headers"]);
        }
        if self.bodies.is_some() {
            columns.extend(["request_body", "response_body"]);
        }
        if self.deleted.is_some() {
            columns.insert("id");
        }
        columns
    }

    /// The rows of a batch that meet it.
    fn decide(&self, batch: &RecordBatch) -> Result<BooleanBuffer, ArrowError> {
        let mut mask = match &self.filter {
            Some(filter) => evaluate(filter, batch)?,
            None => BooleanArray::new(BooleanBuffer::new_set(batch.num_rows()), None),
        };
        if let Some(search) = &self.search {
            mask = and_kleene(&mask, &found(search, self.bodies.as_deref(), batch)?)?;
        }
        if let Some(deleted) = &self.deleted {
            let ids = batch
                .column_by_name("id")
                .and_then(|column| column.as_primitive_opt::<UInt64Type>())
                .ok_or_else(|| ArrowError::SchemaError("there is no column id".to_owned()))?;
            let stays = BooleanBuffer::collect_bool(ids.len(), |row| !deleted.contains(ids.value(row)));
            mask = and_kleene(&mask, &BooleanArray::new(stays, None))?;
        }
        Ok(match mask.nulls() {
            Some(nulls) => mask.values() & nulls.inner(),
            None => mask.values().clone(),
        })
    }
}

fn is_dear(field: &Field) -> bool {
    match field {
        Field::Header { .. } => true,
        Field::Column(column) => matches!(
            column,
            Column::Url
                | Column::Path
                | Column::Query
                | Column::Client
                | Column::Server
                | Column::RequestBody
                | Column::ResponseBody
        ),
    }
}

/// The rows of a batch whose URL or header lines hold the text.
fn found(search: &LikePattern, bodies: Option<&Hashes>, batch: &RecordBatch) -> Result<BooleanArray, ArrowError> {
    let column = |name: &str| -> Result<&ArrayRef, ArrowError> {
        batch.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(format!("there is no column {name}")))
    };
    let urls = column("url")?
        .as_string_opt::<i32>()
        .ok_or_else(|| ArrowError::SchemaError("column url is not text".to_owned()))?;
    let mut found: Vec<bool> =
        (0..urls.len()).map(|row| urls.is_valid(row) && search.is_match(urls.value(row))).collect();
    for name in ["request_headers", "response_headers"] {
        let (offsets, names, values) = header_columns(column(name)?)?;
        for (row, found) in found.iter_mut().enumerate().filter(|(_, found)| !**found) {
            *found = (offsets[row] as usize..offsets[row + 1] as usize)
                .any(|line| search.is_match(values.value(line)) || search.is_match(names.value(line)));
        }
    }
    for name in bodies.iter().flat_map(|_| ["request_body", "response_body"]) {
        let hashes = column(name)?
            .as_fixed_size_binary_opt()
            .ok_or_else(|| ArrowError::SchemaError(format!("column {name} is not of hashes")))?;
        for (row, found) in found.iter_mut().enumerate().filter(|(row, found)| !**found && hashes.is_valid(*row)) {
            let hash = <&[u8; 32]>::try_from(hashes.value(row));
            *found = hash.is_ok_and(|hash| bodies.is_some_and(|bodies| bodies.contains(hash)));
        }
    }
    Ok(found.into())
}

/// A reader over columns of one row group, for all its rows or for some.
pub(crate) fn read(
    part: &OpenPart,
    group: usize,
    columns: &BTreeSet<&'static str>,
    selection: Option<RowSelection>,
) -> Result<ParquetRecordBatchReader, ParquetError> {
    read_some(part, group, columns, selection, BATCH_ROWS)
}

/// As [`read`], so many rows a batch at most.
pub(crate) fn read_some(
    part: &OpenPart,
    group: usize,
    columns: &BTreeSet<&'static str>,
    selection: Option<RowSelection>,
    batch_rows: usize,
) -> Result<ParquetRecordBatchReader, ParquetError> {
    let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(part.file.clone(), part.metadata.clone());
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    builder = builder.with_projection(mask).with_row_groups(vec![group]).with_batch_size(batch_rows);
    if let Some(selection) = selection {
        builder = builder.with_row_selection(selection);
    }
    builder.build()
}

/// The selection of these rows of a row group; the numbers ascend.
pub(crate) fn selection(rows: impl IntoIterator<Item = usize>, total: usize) -> RowSelection {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for row in rows {
        match ranges.last_mut() {
            Some(last) if last.end == row => last.end += 1,
            _ => ranges.push(row..row + 1),
        }
    }
    RowSelection::from_consecutive_ranges(ranges.into_iter(), total)
}

/// Rows of a batch that meet the condition.
#[derive(Debug)]
pub(crate) struct Matches<'a> {
    /// The wanted columns (and those of the condition).
    pub(crate) batch: &'a RecordBatch,
    /// Which of its rows meet the condition; `None`: all.
    pub(crate) mask: Option<&'a BooleanBuffer>,
    /// Number in the row group of each row of the batch.
    pub(crate) numbers: Numbers<'a>,
}

impl Matches<'_> {
    /// Hands over the place in the batch of each row that meets the condition.
    pub(crate) fn for_each_row(&self, each: impl FnMut(usize) -> Result<(), ArrowError>) -> Result<(), ArrowError> {
        match self.mask {
            Some(mask) => mask.set_indices().try_for_each(each),
            None => (0..self.batch.num_rows()).try_for_each(each),
        }
    }

    /// How many rows meet it.
    pub(crate) fn count(&self) -> usize {
        self.mask.map_or(self.batch.num_rows(), BooleanBuffer::count_set_bits)
    }
}

/// Numbers in the row group of the rows of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Numbers<'a> {
    /// From this one on, without a hole.
    From(usize),
    /// These.
    List(&'a [u32]),
}

impl Numbers<'_> {
    /// The number in the row group of a row of the batch.
    pub(crate) fn get(&self, row: usize) -> usize {
        match self {
            Self::From(first) => first + row,
            Self::List(numbers) => numbers.get(row).map_or(usize::MAX, |number| *number as usize),
        }
    }
}

/// Reads `columns` of the rows of a row group that meet `condition`, batch by batch.
pub(crate) fn scan(
    part: &OpenPart,
    group: usize,
    condition: &Condition,
    columns: &BTreeSet<&'static str>,
    mut each: impl FnMut(Matches<'_>) -> Result<(), ArrowError>,
) -> Result<(), ParquetError> {
    if !condition.may_match(part, group) {
        return Ok(());
    }
    guarded(|| {
        let (cheap, rest) = condition.of_group(part, group).split();
        let total = usize::try_from(part.metadata.metadata().row_group(group).num_rows()).unwrap_or(0);
        let mut left: Option<Vec<u32>> = None;
        if let Some(cheap) = cheap {
            let mut rows = Vec::new();
            let mut first = 0_usize;
            for batch in read(part, group, &cheap.columns(), None)? {
                let batch = batch?;
                rows.extend(cheap.decide(&batch)?.set_indices_u32().map(|row| row + first as u32));
                first += batch.num_rows();
            }
            if rows.is_empty() {
                return Ok(());
            }
            left = Some(rows).filter(|rows| rows.len() < total);
        }
        let mut wanted = rest.columns();
        wanted.extend(columns);
        let chosen = left.as_ref().map(|rows| selection(rows.iter().map(|row| *row as usize), total));
        let mut first = 0_usize;
        for batch in read(part, group, &wanted, chosen)? {
            let batch = batch?;
            let mask = if rest.is_empty() { None } else { Some(rest.decide(&batch)?) };
            let numbers = match &left {
                Some(rows) => Numbers::List(rows.get(first..).unwrap_or_default()),
                None => Numbers::From(first),
            };
            first += batch.num_rows();
            each(Matches { batch: &batch, mask: mask.as_ref(), numbers })?;
        }
        Ok(())
    })
}

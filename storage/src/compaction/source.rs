//! One part as a stream of rows in the order of time.
//!
//! In: a part. Out: batches, one at a time. A part is opened when its first row is due, not before: of
//! the many parts of a merge only those that overlap in time are open together.

use std::fs::File;

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::TimestampMicrosecondType,
};
use parquet::{
    arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder},
    file::{metadata::ParquetMetaData, statistics::Statistics},
};

use crate::{error::StorageError, part_file, parts::Part};

/// Decoded bytes of a batch, about.
const BATCH_BYTES: u64 = 2 << 20;
/// Rows of a batch at most.
const BATCH_ROWS: u64 = 4096;

/// A part of a merge.
pub(crate) struct Source {
    part: Part,
    reader: Option<ParquetRecordBatchReader>,
    /// Lower bound of the times that are still to come from an unopened part.
    earliest: i64,
}

impl Source {
    /// Looks at a part's footer.
    pub(crate) fn new(part: Part) -> Result<Self, StorageError> {
        let builder = open(&part)?;
        let earliest = earliest(builder.metadata(), &part);
        Ok(Self { part, reader: None, earliest })
    }

    /// No row that comes is earlier than this.
    pub(crate) fn earliest(&self) -> i64 {
        self.earliest
    }

    /// The next rows in the order of time, with their times; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(RecordBatch, Vec<i64>)>, StorageError> {
        if self.reader.is_none() {
            let builder = open(&self.part)?;
            let rows = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0).max(1);
            let groups = builder.metadata().row_groups();
            let bytes: u64 = groups.iter().map(|group| u64::try_from(group.total_byte_size()).unwrap_or(0)).sum();
            let batch_rows = (BATCH_BYTES * rows / bytes.max(1)).clamp(16, BATCH_ROWS);
            let reader = builder
                .with_batch_size(usize::try_from(batch_rows).unwrap_or(16))
                .build()
                .map_err(StorageError::parquet("read", &self.part.path))?;
            self.reader = Some(reader);
        }
        let Some(batch) = self.reader.as_mut().and_then(Iterator::next) else {
            // It is not asked again: its pages and dictionaries need not stay until the merge ends.
            self.reader = None;
            return Ok(None);
        };
        let batch = part_file::sorted(batch?, self.part.table)?;
        let times = batch
            .column_by_name(self.part.table.time_column())
            .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>())
            .map_or_else(|| vec![self.earliest; batch.num_rows()], |column| column.values().to_vec());
        Ok(Some((batch, times)))
    }
}

fn open(part: &Part) -> Result<ParquetRecordBatchReaderBuilder<File>, StorageError> {
    let file = File::open(&part.path).map_err(StorageError::io("open", &part.path))?;
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(StorageError::parquet("read", &part.path))
}

fn earliest(metadata: &ParquetMetaData, part: &Part) -> i64 {
    let columns = metadata.file_metadata().schema_descr();
    let time = part.table.time_column();
    let Some(index) = (0..columns.num_columns()).find(|&index| columns.column(index).path().string() == time) else {
        return i64::MIN;
    };
    let minimum = |group: &parquet::file::metadata::RowGroupMetaData| match group.column(index).statistics() {
        Some(Statistics::Int64(times)) => times.min_opt().copied(),
        _ => None,
    };
    metadata.row_groups().iter().map(|group| minimum(group).unwrap_or(i64::MIN)).min().unwrap_or(i64::MAX)
}

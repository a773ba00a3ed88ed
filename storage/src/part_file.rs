//! Writing one part: Parquet under a temporary name, synced, then moved to its place.
//!
//! In: record batches of one table. Out: a finished file. Live parts are quick to write: light
//! compression, statistics of times and ids only. Lake parts are quick to read and small: zstd,
//! statistics and page index, bounded row groups, a Bloom filter on body hashes.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use arrow::{
    array::{AsArray, RecordBatch, UInt32Array},
    compute::take_record_batch,
    datatypes::TimestampMicrosecondType,
    error::ArrowError,
};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, Encoding, ZstdLevel},
    file::{
        metadata::{KeyValue, SortingColumn},
        properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder},
    },
    schema::types::ColumnPath,
};

use crate::{
    error::StorageError,
    files,
    schema::{Table, schema},
    summary,
};

/// Rows of a row group in the lake at most.
const ROW_GROUP_ROWS: usize = 1 << 16;
/// Encoded bytes of a row group in the lake, about.
const ROW_GROUP_BYTES: usize = 32 << 20;
/// Rows of a data page in the lake at most: what a reader of few rows must decode.
const PAGE_ROWS: usize = 8 << 10;
/// Bytes of a page of exchanges: a page of a listing takes a few rows out of many.
const PAGE_BYTES: usize = 64 << 10;
/// Bytes of a page of bodies: what a look-up of one body must inflate.
const BODY_PAGE_BYTES: usize = 256 << 10;
/// Dictionaries past this size cost more than they save.
const DICTIONARY_BYTES: usize = 512 << 10;
/// The same of text that is different in most rows: whoever reads one row reads the dictionary of its row group.
const TEXT_DICTIONARY_BYTES: usize = 96 << 10;

/// What a part is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be on disk soon; merged later.
    Live,
    /// To stay.
    Lake,
    /// To stay: bodies that compression would not make smaller.
    Dense,
}

impl Purpose {
    fn stays(self) -> bool {
        self != Self::Live
    }
}

fn properties(table: Table, purpose: Purpose) -> WriterProperties {
    let column = |name: &str| ColumnPath::from(name);
    let time = table.time_column();
    let mut properties = match purpose {
        Purpose::Live => WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_statistics_enabled(EnabledStatistics::None)
            .set_offset_index_disabled(true)
            .set_max_row_group_row_count(None),
        Purpose::Lake | Purpose::Dense => WriterProperties::builder()
            .set_compression(match purpose {
                Purpose::Dense => Compression::UNCOMPRESSED,
                _ => Compression::ZSTD(ZstdLevel::default()),
            })
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_data_page_row_count_limit(PAGE_ROWS)
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_max_row_group_bytes(Some(ROW_GROUP_BYTES)),
    };
    properties = properties
        .set_created_by(concat!("weir ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_column_encoding(column(time), Encoding::DELTA_BINARY_PACKED)
        .set_column_dictionary_enabled(column(time), false)
        .set_column_statistics_enabled(
            column(time),
            if purpose.stays() { EnabledStatistics::Page } else { EnabledStatistics::Chunk },
        );
    let time_index = schema(table).index_of(time).ok().and_then(|index| leaf_index(table, index));
    if let Some(column_idx) = time_index {
        let sorting = SortingColumn { column_idx, descending: false, nulls_first: false };
        properties = properties.set_sorting_columns(Some(vec![sorting]));
    }
    match table {
        Table::Exchanges => exchanges_properties(properties, purpose),
        Table::Bodies => bodies_properties(properties, purpose),
        Table::Messages if purpose == Purpose::Live => {
            properties.set_column_statistics_enabled("exchange".into(), EnabledStatistics::Chunk)
        }
        Table::Messages | Table::Connections | Table::Cookies => properties,
    }
    .build()
}

/// The number among Parquet's leaf columns of a column that stands before all nested ones.
fn leaf_index(table: Table, index: usize) -> Option<i32> {
    let nested = schema(table).fields().iter().take(index).any(|field| field.data_type().is_nested());
    if nested { None } else { i32::try_from(index).ok() }
}

fn exchanges_properties(mut properties: WriterPropertiesBuilder, purpose: Purpose) -> WriterPropertiesBuilder {
    // Values that hardly ever come again. Packed they are as small as zstd makes them, and read many times faster.
    for name in ["id", "duration_us", "wait_us", "receive_us"] {
        properties = properties
            .set_column_dictionary_enabled(name.into(), false)
            .set_column_encoding(name.into(), Encoding::DELTA_BINARY_PACKED);
    }
    if purpose == Purpose::Live {
        // A look-up of one exchange reads the part that holds it, not all of them.
        properties = properties.set_column_statistics_enabled("id".into(), EnabledStatistics::Chunk);
    }
    if purpose.stays() {
        properties = properties.set_data_page_size_limit(PAGE_BYTES);
        for name in ["url", "path", "query", "client"] {
            properties = properties.set_column_dictionary_page_size_limit(name.into(), TEXT_DICTIONARY_BYTES);
        }
        for list in ["request_headers", "response_headers"] {
            for leaf in ["name", "value"] {
                let path = ColumnPath::new([list, "list", "element", leaf].map(str::to_owned).to_vec());
                properties = properties
                    .set_column_statistics_enabled(path.clone(), EnabledStatistics::None)
                    .set_column_dictionary_page_size_limit(path, TEXT_DICTIONARY_BYTES);
            }
        }
    }
    properties
}

fn bodies_properties(mut properties: WriterPropertiesBuilder, purpose: Purpose) -> WriterPropertiesBuilder {
    for name in ["hash", "bytes", "size"] {
        properties = properties.set_column_dictionary_enabled(name.into(), false);
    }
    // Hashes do not shrink.
    properties = properties
        .set_column_compression("hash".into(), Compression::UNCOMPRESSED)
        .set_column_data_page_size_limit("bytes".into(), BODY_PAGE_BYTES)
        .set_write_batch_size(64);
    if purpose.stays() {
        properties = properties
            .set_column_statistics_enabled("bytes".into(), EnabledStatistics::None)
            .set_column_bloom_filter_enabled("hash".into(), true)
            .set_column_bloom_filter_max_ndv("hash".into(), ROW_GROUP_ROWS as u64);
    }
    properties
}

/// A part being written. Dropped before it is published, it leaves nothing behind.
pub(crate) struct PartWriter {
    writer: ArrowWriter<File>,
    temporary: Temporary,
    summary: Option<summary::Builder>,
    rows: u64,
}

/// A temporary file that goes with its owner.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // After publishing there is nothing under this name.
        let _ = fs::remove_file(&self.0);
    }
}

impl PartWriter {
    /// Begins a part under `dir`; `name` tells writers at work at the same time apart.
    pub(crate) fn create(dir: &Path, name: &str, table: Table, purpose: Purpose) -> Result<Self, StorageError> {
        let path = dir.join(format!("{}{name}.parquet", files::TEMPORARY_PREFIX));
        let file = files::create_file(&path)?;
        let temporary = Temporary(path);
        let writer = ArrowWriter::try_new(file, schema(table), Some(properties(table, purpose)))
            .map_err(StorageError::parquet("write", &temporary.0))?;
        let summary = (table == Table::Exchanges).then(summary::Builder::default);
        Ok(Self { writer, temporary, summary, rows: 0 })
    }

    /// Adds rows, which must be in the order of the table's time column.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), StorageError> {
        if let Some(summary) = &mut self.summary {
            summary.add(batch);
        }
        self.rows += batch.num_rows() as u64;
        self.writer.write(batch).map_err(StorageError::parquet("write", &self.temporary.0))
    }

    /// Rows added.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Where it is written.
    pub(crate) fn temporary(&self) -> &Path {
        &self.temporary.0
    }

    /// Completes the file, makes sure it is on disk, and moves it to its place.
    pub(crate) fn publish(self, place: &Path) -> Result<(), StorageError> {
        let Finished { file, temporary } = self.finish()?;
        files::publish(&file, &temporary.0, place)
    }

    /// Completes the file.
    pub(crate) fn finish(mut self) -> Result<Finished, StorageError> {
        if let Some(summary) = self.summary.take() {
            let pair = KeyValue::new(summary::METADATA_KEY.to_owned(), summary.finish().encode());
            self.writer.append_key_value_metadata(pair);
        }
        let file = self.writer.into_inner().map_err(StorageError::parquet("write", &self.temporary.0))?;
        Ok(Finished { file, temporary: self.temporary })
    }
}

/// A part that is written to its end, but not yet in its place.
pub(crate) struct Finished {
    file: File,
    temporary: Temporary,
}

impl Finished {
    /// Where it lies.
    pub(crate) fn temporary(&self) -> &Path {
        &self.temporary.0
    }

    /// Makes sure its bytes are on disk.
    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        self.file.sync_all().map_err(StorageError::io("sync", &self.temporary.0))
    }

    /// Moves it to its place, synced as it is; its folder is to be synced next.
    pub(crate) fn name(self, place: &Path) -> Result<(), StorageError> {
        fs::rename(&self.temporary.0, place).map_err(StorageError::io("create", place))
    }
}

/// The rows in the order of the table's time column; rows of the same time keep their order.
pub(crate) fn sorted(batch: RecordBatch, table: Table) -> Result<RecordBatch, ArrowError> {
    let Some(times) = batch
        .column_by_name(table.time_column())
        .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>())
    else {
        return Ok(batch);
    };
    if times.values().is_sorted() {
        return Ok(batch);
    }
    let times = times.values();
    let mut order: Vec<u32> = (0..times.len() as u32).collect();
    order.sort_by_key(|row| times[*row as usize]);
    take_record_batch(&batch, &UInt32Array::from(order))
}

//! A filtered copy as Parquet: a folder with `exchanges.parquet`, `bodies.parquet`, `messages.parquet` and
//! `connections.parquet`, with the columns of the lake.
//!
//! Bodies are copied as they are stored. One in which credentials were hidden is another body: it is written decoded,
//! under its own hash, and the exchange points to that. Each body is written once: they go through a sorter, by hash.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Write},
    path::Path,
};

use arrow::{
    array::{
        AsArray, BinaryArray, BooleanArray, FixedSizeBinaryArray, RecordBatch, TimestampMicrosecondArray, UInt64Array,
    },
    compute::filter_record_batch,
    datatypes::UInt64Type,
    error::ArrowError,
};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::{metadata::KeyValue, properties::WriterProperties},
};

use super::{
    Format,
    feed::{Body, Item},
    parquet_rows::{exchanges, messages, words},
    report::Report,
    sorter::Sorter,
    target::Tree,
};
use crate::{
    error::StorageError,
    files,
    query::{ConnectionRow, ExchangeRow, HashHex, MessageRow, Session, file::guarded, scan::read, source::Source},
    schema::{Table, schema},
};

/// The file that every such folder has.
pub(crate) const MARKER: &str = "exchanges.parquet";
/// Rows gathered before they are written.
const BATCH_ROWS: usize = 2048;
/// Bytes of bodies or messages gathered, about.
const BATCH_BYTES: usize = 8 << 20;
/// Hashes of bodies remembered as written: those that come again soon need not be sorted again.
const REMEMBERED: usize = 1 << 16;

/// Writes the folder.
pub(crate) struct ParquetFolder {
    tree: Tree,
    exchanges: Option<TableWriter>,
    messages: Option<TableWriter>,
    rows: Vec<ExchangeRow>,
    row_bytes: usize,
    message_rows: Vec<MessageRow>,
    message_bytes: usize,
    bodies: Sorter,
    recent: HashSet<[u8; 32]>,
    connections: Source,
    wanted: HashSet<u64>,
}

/// A table being written.
struct TableWriter {
    writer: ArrowWriter<File>,
}

fn other(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(inner) => io::Error::other(inner),
        },
        error => io::Error::other(error),
    }
}

fn arrow(error: ArrowError) -> io::Error {
    io::Error::other(error)
}

impl TableWriter {
    fn create(tree: &Tree, table: Table) -> Result<Self, StorageError> {
        let path = tree.path().join(format!("{table}.parquet"));
        let file = files::create_file(&path)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by(concat!("weir ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_max_row_group_row_count(Some(1 << 15))
            .set_max_row_group_bytes(Some(16 << 20))
            .set_dictionary_page_size_limit(256 << 10)
            .build();
        let writer = ArrowWriter::try_new(file, schema(table), Some(properties))
            .map_err(StorageError::parquet("write", path))?;
        Ok(Self { writer })
    }

    fn write(&mut self, batch: &RecordBatch) -> io::Result<()> {
        self.writer.write(batch).map_err(other)
    }

    fn finish(mut self, comment: &str) -> io::Result<u64> {
        self.writer.append_key_value_metadata(KeyValue::new("weir.export".to_owned(), comment.to_owned()));
        let file = self.writer.into_inner().map_err(other)?;
        file.sync_all()?;
        Ok(file.metadata()?.len())
    }
}

impl ParquetFolder {
    /// A folder of a session.
    pub(crate) fn new(session: &Session, tree: Tree, scratch: &Path) -> Result<Self, StorageError> {
        Ok(Self {
            exchanges: Some(TableWriter::create(&tree, Table::Exchanges)?),
            messages: Some(TableWriter::create(&tree, Table::Messages)?),
            tree,
            rows: Vec::new(),
            row_bytes: 0,
            message_rows: Vec::new(),
            message_bytes: 0,
            bodies: Sorter::new(scratch),
            recent: HashSet::new(),
            connections: session.source(Table::Connections, false)?,
            wanted: HashSet::new(),
        })
    }

    /// Keeps a body and tells the hash that it has in the copy.
    fn keep(&mut self, hash: Option<HashHex>, body: &Body, started_us: i64) -> io::Result<Option<HashHex>> {
        let Some(hash) = hash else { return Ok(None) };
        let (hash, bytes, encoding) = match (&body.stored, &body.bytes) {
            (Some(stored), _) => (hash, &stored.bytes, stored.encoding.as_deref()),
            (None, Some(bytes)) => (HashHex(*blake3::hash(bytes).as_bytes()), bytes, None),
            // Not stored: the hash is all there is. Of what cannot be read nothing is told.
            (None, None) => return Ok(Some(hash)),
        };
        if self.recent.len() >= REMEMBERED {
            self.recent.clear();
        }
        if self.recent.insert(hash.0) {
            let mut key = hash.0.to_vec();
            key.extend_from_slice(&(started_us as u64 ^ 1 << 63).to_be_bytes());
            let encoding = encoding.unwrap_or_default().as_bytes();
            let mut value = vec![encoding.len().min(255) as u8];
            value.extend_from_slice(&encoding[..encoding.len().min(255)]);
            value.extend_from_slice(bytes);
            self.bodies.push(&key, &value)?;
        }
        Ok(Some(hash))
    }

    fn write_rows(&mut self) -> io::Result<()> {
        if !self.rows.is_empty() {
            let batch = exchanges(&self.rows).map_err(arrow)?;
            self.rows.clear();
            self.row_bytes = 0;
            if let Some(writer) = &mut self.exchanges {
                writer.write(&batch)?;
            }
        }
        Ok(())
    }

    fn write_messages(&mut self) -> io::Result<()> {
        if !self.message_rows.is_empty() {
            let batch = messages(&self.message_rows).map_err(arrow)?;
            self.message_rows.clear();
            self.message_bytes = 0;
            if let Some(writer) = &mut self.messages {
                writer.write(&batch)?;
            }
        }
        Ok(())
    }

    fn write_bodies(&mut self, comment: &str) -> io::Result<u64> {
        let mut writer = TableWriter::create(&self.tree, Table::Bodies).map_err(io::Error::other)?;
        let mut sorted = std::mem::replace(&mut self.bodies, Sorter::new(Path::new("."))).finish()?;
        let mut rows: Vec<([u8; 32], i64, Vec<u8>)> = Vec::new();
        let (mut bytes, mut last) = (0, None);
        while let Some((key, value)) = sorted.next()? {
            let (hash, started) = key.split_at(32);
            let hash: [u8; 32] = hash.try_into().map_err(io::Error::other)?;
            if last == Some(hash) {
                continue;
            }
            last = Some(hash);
            let started = started.try_into().map_or(0, |bytes| (u64::from_be_bytes(bytes) ^ 1 << 63) as i64);
            bytes += value.len();
            rows.push((hash, started, value));
            if bytes > BATCH_BYTES || rows.len() >= BATCH_ROWS {
                writer.write(&bodies(&rows).map_err(arrow)?)?;
                rows.clear();
                bytes = 0;
            }
        }
        if !rows.is_empty() {
            writer.write(&bodies(&rows).map_err(arrow)?)?;
        }
        writer.finish(comment)
    }

    /// The connections that exchanges of the copy came on.
    fn write_connections(&mut self, comment: &str) -> io::Result<u64> {
        let mut writer = TableWriter::create(&self.tree, Table::Connections).map_err(io::Error::other)?;
        for unit in self.connections.units() {
            let part = &self.connections.parts[unit.part];
            let copied = guarded(|| {
                for batch in read(part, unit.group, &ConnectionRow::columns(), None)? {
                    let batch = batch?;
                    let ids = batch.column_by_name("id").and_then(|column| column.as_primitive_opt::<UInt64Type>());
                    let ids = ids.ok_or_else(|| ArrowError::SchemaError("column id is not of numbers".to_owned()))?;
                    let mask: BooleanArray = ids.values().iter().map(|id| Some(self.wanted.contains(id))).collect();
                    let chosen = filter_record_batch(&batch, &mask)?;
                    // Parts of an older version may have other columns; then Arrow refuses.
                    writer
                        .writer
                        .write(&RecordBatch::try_new(schema(Table::Connections), chosen.columns().to_vec())?)?;
                }
                Ok(())
            });
            if let Err(error) = copied {
                tracing::warn!("{}", part.error(error));
            }
        }
        writer.finish(comment)
    }
}

/// Rows of `bodies`: hash, first seen, and the coding (with its length before it) and bytes.
fn bodies(rows: &[([u8; 32], i64, Vec<u8>)]) -> Result<RecordBatch, ArrowError> {
    let split = |value: &'_ Vec<u8>| {
        let length = usize::from(value.first().copied().unwrap_or_default());
        (1..1 + length, 1 + length..value.len())
    };
    let sizes = rows.iter().map(|(_, _, value)| split(value).1.len() as u64);
    let bytes = rows.iter().map(|(_, _, value)| &value[split(value).1]);
    let encodings = rows.iter().map(|(_, _, value)| {
        let text = std::str::from_utf8(&value[split(value).0]).unwrap_or_default();
        (!text.is_empty()).then_some(text)
    });
    RecordBatch::try_new(
        schema(Table::Bodies),
        vec![
            std::sync::Arc::new(FixedSizeBinaryArray::try_from_iter(rows.iter().map(|(hash, ..)| hash))?),
            std::sync::Arc::new(BinaryArray::from_iter_values(bytes)),
            std::sync::Arc::new(UInt64Array::from_iter_values(sizes)),
            words(encodings),
            std::sync::Arc::new(
                TimestampMicrosecondArray::from_iter_values(rows.iter().map(|(_, at, _)| *at)).with_timezone("UTC"),
            ),
        ],
    )
}

impl Format for ParquetFolder {
    fn exchange(&mut self, item: Item, _out: &mut dyn Write, report: &mut Report) -> io::Result<()> {
        let Item { mut row, request, response, messages } = item;
        let started = row.started.as_micros();
        row.request_body = self.keep(row.request_body, &request, started)?;
        row.response_body = self.keep(row.response_body, &response, started)?;
        self.wanted.insert(row.connection);
        self.message_bytes +=
            messages.iter().filter_map(|message| message.payload.as_ref().map(bytes::Bytes::len)).sum::<usize>();
        self.message_rows.extend(messages);
        let lines = row.request_headers.iter().chain(&row.response_headers);
        self.row_bytes += row.url.len() * 3 + lines.map(|line| line.name.len() + line.value.len()).sum::<usize>();
        self.rows.push(row);
        report.exported += 1;
        if self.rows.len() >= BATCH_ROWS || self.row_bytes > BATCH_BYTES {
            self.write_rows()?;
        }
        if self.message_rows.len() >= BATCH_ROWS || self.message_bytes > BATCH_BYTES {
            self.write_messages()?;
        }
        Ok(())
    }

    fn finish(&mut self, _out: &mut dyn Write, report: &mut Report) -> io::Result<()> {
        self.write_rows()?;
        self.write_messages()?;
        let comment = report.comment();
        let mut bytes = 0;
        // Before the bodies: what these tables hold in memory is not needed beside them.
        for writer in [self.exchanges.take(), self.messages.take()].into_iter().flatten() {
            bytes += writer.finish(&comment)?;
        }
        self.recent = HashSet::new();
        bytes += self.write_bodies(&comment)? + self.write_connections(&comment)?;
        self.tree.add_written(bytes);
        Ok(())
    }

    fn publish(self: Box<Self>) -> Result<Option<u64>, StorageError> {
        self.tree.publish().map(Some)
    }
}

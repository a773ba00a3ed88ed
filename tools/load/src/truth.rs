//! What was sent and what came back, as Parquet: written in batches while a run goes on, read by whoever verifies.
//!
//! Columns: `id`, `method`, `url`, `connection`, `request_size`, `request_body` (BLAKE3), `intended`, `sent`, `first_byte`,
//! `received` (microseconds since the epoch), `status`, `response_size`, `response_body` (BLAKE3), `failure`. The number of
//! the run stands in the file's metadata as `weir.load.run`.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    thread::{self, JoinHandle},
    time::{SystemTime, UNIX_EPOCH},
};

use arrow::{
    array::{
        Array, ArrayRef, FixedSizeBinaryArray, FixedSizeBinaryBuilder, RecordBatch, StringArray,
        StringDictionaryBuilder, TimestampMicrosecondArray, TimestampMicrosecondBuilder, UInt16Array, UInt16Builder,
        UInt32Builder, UInt64Array, UInt64Builder,
    },
    compute::cast,
    datatypes::{DataType, Field, Int32Type, Schema, SchemaRef, TimeUnit},
};
use crossbeam_channel::{Receiver, bounded};
use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    basic::Compression,
    file::{metadata::KeyValue, properties::WriterProperties},
};

use crate::{LoadError, plan::Plan, run::Done};

/// Rows a thread gathers.
pub(crate) const BATCH: usize = 4096;
/// Batches that wait to be written; a full queue slows the sender, so that memory is bounded and nothing is left out.
const QUEUE: usize = 32;
const ROW_GROUP: usize = 256 << 10;
const RUN: &str = "weir.load.run";

type Rows = Vec<(Done, u32)>;

/// Takes rows from the threads of a run.
#[derive(Clone)]
pub struct Sender {
    rows: crossbeam_channel::Sender<Rows>,
    begin: Arc<OnceLock<u64>>,
}

impl Sender {
    /// The run begins now: its times count from here.
    pub(crate) fn begin(&self) {
        self.begin.get_or_init(wall_ns);
    }

    pub(crate) fn flush(&self, rows: &mut Rows) {
        // A writer that failed has left; its error is told at the end.
        let _ = self.rows.send(std::mem::replace(rows, Vec::with_capacity(BATCH)));
    }
}

/// Writes a truth file on a thread of its own.
pub struct Writer {
    path: PathBuf,
    thread: JoinHandle<Result<u64, LoadError>>,
}

impl Writer {
    /// Begins a file for a run.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin(path: &Path, plan: &Arc<Plan>, run: u32) -> Result<(Self, Sender), LoadError> {
        let file = File::create(path).map_err(LoadError::file(path))?;
        let (sender, receiver) = bounded(QUEUE);
        let (plan, owned) = (Arc::clone(plan), path.to_owned());
        let begin = Arc::new(OnceLock::new());
        let begun = Arc::clone(&begin);
        let work = move || write(file, &owned, &receiver, &plan, run, &begun);
        let thread = thread::Builder::new().name("truth".to_owned()).spawn(work);
        let thread = thread.map_err(LoadError::io("a thread cannot be started"))?;
        Ok((Self { path: path.to_owned(), thread }, Sender { rows: sender, begin }))
    }

    /// Waits until all is written; all senders must be gone. Says how many rows there are.
    ///
    /// # Errors
    /// When writing failed.
    pub fn finish(self) -> Result<u64, LoadError> {
        let gone = || LoadError::Truth { path: self.path.clone(), why: "its writer panicked".to_owned() };
        self.thread.join().map_err(|_| gone())?
    }
}

fn wall_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

fn schema() -> SchemaRef {
    let time = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let text = || DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let hash = DataType::FixedSizeBinary(32);
    let field = |name: &str, of: DataType, may_be_null| Field::new(name, of, may_be_null);
    Arc::new(Schema::new(vec![
        field("id", DataType::UInt64, false),
        field("method", text(), false),
        field("url", text(), false),
        field("connection", DataType::UInt32, false),
        field("request_size", DataType::UInt64, false),
        field("request_body", hash.clone(), true),
        field("intended", time(), false),
        field("sent", time(), false),
        field("first_byte", time(), true),
        field("received", time(), true),
        field("status", DataType::UInt16, true),
        field("response_size", DataType::UInt64, false),
        field("response_body", hash, true),
        field("failure", text(), true),
    ]))
}

fn write(
    file: File,
    path: &Path,
    rows: &Receiver<Rows>,
    plan: &Plan,
    run: u32,
    begin: &OnceLock<u64>,
) -> Result<u64, LoadError> {
    let failed = |why: &dyn std::fmt::Display| LoadError::Truth { path: path.to_owned(), why: why.to_string() };
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .set_key_value_metadata(Some(vec![KeyValue::new(RUN.to_owned(), format!("{run:08x}"))]))
        .build();
    let schema = schema();
    let mut writer =
        ArrowWriter::try_new(file, SchemaRef::clone(&schema), Some(properties)).map_err(|error| failed(&error))?;
    let mut count = 0;
    for rows in rows {
        count += rows.len() as u64;
        let batch = batch(&schema, &rows, plan, *begin.get_or_init(wall_ns)).map_err(|error| failed(&error))?;
        writer.write(&batch).map_err(|error| failed(&error))?;
    }
    writer.close().map_err(|error| failed(&error))?;
    Ok(count)
}

fn batch(schema: &SchemaRef, rows: &Rows, plan: &Plan, begin: u64) -> Result<RecordBatch, arrow::error::ArrowError> {
    let time = |ns: u64| ((begin + ns) / 1_000) as i64;
    let zone = || TimestampMicrosecondBuilder::with_capacity(rows.len()).with_timezone("UTC");
    let text = StringDictionaryBuilder::<Int32Type>::new;
    let (mut id, mut method, mut url) = (UInt64Builder::new(), text(), text());
    let (mut connection, mut request_size) = (UInt32Builder::new(), UInt64Builder::new());
    let mut request_body = FixedSizeBinaryBuilder::new(32);
    let (mut intended, mut sent, mut first, mut received) = (zone(), zone(), zone(), zone());
    let (mut status, mut response_size) = (UInt16Builder::new(), UInt64Builder::new());
    let mut response_body = FixedSizeBinaryBuilder::new(32);
    let mut failure = text();
    for (done, number) in rows {
        let request = &plan.requests[done.sent.request as usize];
        id.append_value(done.sent.id);
        method.append(&request.method)?;
        url.append(&request.url)?;
        connection.append_value(*number);
        request_size.append_value(request.body.len() as u64);
        push_hash(&mut request_body, request.body_hash)?;
        intended.append_value(time(done.sent.intended));
        sent.append_value(time(done.sent.sent));
        first.append_option(done.first.map(time));
        received.append_option(done.failure.is_none().then(|| time(done.ended)));
        status.append_option(done.status);
        response_size.append_value(done.size);
        push_hash(&mut response_body, done.hash)?;
        failure.append_option(done.failure.map(crate::run::Failure::as_str));
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(id.finish()),
        Arc::new(method.finish()),
        Arc::new(url.finish()),
        Arc::new(connection.finish()),
        Arc::new(request_size.finish()),
        Arc::new(request_body.finish()),
        Arc::new(intended.finish()),
        Arc::new(sent.finish()),
        Arc::new(first.finish()),
        Arc::new(received.finish()),
        Arc::new(status.finish()),
        Arc::new(response_size.finish()),
        Arc::new(response_body.finish()),
        Arc::new(failure.finish()),
    ];
    RecordBatch::try_new(SchemaRef::clone(schema), columns)
}

fn push_hash(builder: &mut FixedSizeBinaryBuilder, hash: Option<[u8; 32]>) -> Result<(), arrow::error::ArrowError> {
    match hash {
        Some(hash) => builder.append_value(hash),
        None => {
            builder.append_null();
            Ok(())
        }
    }
}

/// What verifying needs of a row.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) id: u64,
    /// Of method and URL.
    pub(crate) request: u64,
    pub(crate) request_body: Option<[u8; 32]>,
    pub(crate) response_body: Option<[u8; 32]>,
    pub(crate) response_size: u64,
    pub(crate) sent_us: i64,
    pub(crate) received_us: Option<i64>,
    pub(crate) status: Option<u16>,
}

/// A fingerprint of method and URL, so that a row stays small.
pub(crate) fn fingerprint(method: &str, url: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(method.as_bytes()).update(b" ").update(url.as_bytes());
    u64::from_le_bytes(*hasher.finalize().as_bytes().first_chunk().unwrap_or(&[0; 8]))
}

/// All rows of a truth file, by id, and the number of its run.
pub(crate) fn read(path: &Path) -> Result<(String, Vec<Row>), LoadError> {
    let wrong = |why: &dyn std::fmt::Display| LoadError::Truth { path: path.to_owned(), why: why.to_string() };
    let file = File::open(path).map_err(LoadError::file(path))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| wrong(&error))?;
    let metadata = builder.metadata().file_metadata().key_value_metadata();
    let run = metadata.and_then(|pairs| pairs.iter().find(|pair| pair.key == RUN)).and_then(|pair| pair.value.clone());
    let run = run.ok_or_else(|| wrong(&"it tells no run"))?;
    let mut rows = Vec::new();
    for batch in builder.with_batch_size(8192).build().map_err(|error| wrong(&error))? {
        let batch = batch.map_err(|error| wrong(&error))?;
        read_batch(&batch, &mut rows).ok_or_else(|| wrong(&"a column is missing or of another type"))?;
    }
    rows.sort_unstable_by_key(|row| row.id);
    Ok((run, rows))
}

fn read_batch(batch: &RecordBatch, rows: &mut Vec<Row>) -> Option<()> {
    fn column<'a, T: 'static>(batch: &'a RecordBatch, name: &str) -> Option<&'a T> {
        batch.column_by_name(name)?.as_any().downcast_ref()
    }
    let text = |name: &str| cast(batch.column_by_name(name)?, &DataType::Utf8).ok();
    let (method, url) = (text("method")?, text("url")?);
    let method: &StringArray = method.as_any().downcast_ref()?;
    let url: &StringArray = url.as_any().downcast_ref()?;
    let id: &UInt64Array = column(batch, "id")?;
    let response_size: &UInt64Array = column(batch, "response_size")?;
    let request_body: &FixedSizeBinaryArray = column(batch, "request_body")?;
    let response_body: &FixedSizeBinaryArray = column(batch, "response_body")?;
    let sent: &TimestampMicrosecondArray = column(batch, "sent")?;
    let received: &TimestampMicrosecondArray = column(batch, "received")?;
    let status: &UInt16Array = column(batch, "status")?;
    let hash = |array: &FixedSizeBinaryArray, row| {
        array.is_valid(row).then(|| array.value(row)).and_then(|hash| hash.first_chunk().copied())
    };
    for row in 0..batch.num_rows() {
        rows.push(Row {
            id: id.value(row),
            request: fingerprint(method.value(row), url.value(row)),
            request_body: hash(request_body, row),
            response_body: hash(response_body, row),
            response_size: response_size.value(row),
            sent_us: sent.value(row),
            received_us: received.is_valid(row).then(|| received.value(row)),
            status: status.is_valid(row).then(|| status.value(row)),
        });
    }
    Some(())
}

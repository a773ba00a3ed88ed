//! Rows back into Arrow columns: the schema of the lake, column by column.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BinaryArray, BooleanArray, DictionaryArray, FixedSizeBinaryArray, ListArray, RecordBatch,
        StringArray, StructArray, TimestampMicrosecondArray, UInt16Array, UInt32Array, UInt64Array,
    },
    buffer::OffsetBuffer,
    datatypes::Int32Type,
    error::ArrowError,
};

use crate::{
    query::{ExchangeRow, HashHex, HeaderLine, MessageRow},
    schema::{Table, header_fields, header_item, schema},
    time::Timestamp,
};

/// Dictionary-encoded text.
pub(super) fn words<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<DictionaryArray<Int32Type>>())
}

fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn times(values: impl Iterator<Item = Timestamp>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(values.map(Timestamp::as_micros)).with_timezone("UTC"))
}

fn hashes(values: impl Iterator<Item = Option<HashHex>>) -> Result<ArrayRef, ArrowError> {
    let values = values.map(|hash| hash.map(|hash| hash.0));
    Ok(Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, 32)?))
}

fn headers<'a>(values: impl Iterator<Item = &'a Vec<HeaderLine>> + Clone) -> Result<ArrayRef, ArrowError> {
    let names: StringArray = values.clone().flatten().map(|line| Some(&*line.name)).collect();
    let texts: StringArray = values.clone().flatten().map(|line| Some(&*line.value)).collect();
    let lines = StructArray::try_new(header_fields(), vec![Arc::new(names), Arc::new(texts)], None)?;
    let offsets = OffsetBuffer::from_lengths(values.map(Vec::len));
    Ok(Arc::new(ListArray::try_new(Arc::new(header_item()), offsets, Arc::new(lines), None)?))
}

/// Rows of `exchanges`.
pub(super) fn exchanges(rows: &[ExchangeRow]) -> Result<RecordBatch, ArrowError> {
    let iter = || rows.iter();
    macro_rules! numbers {
        ($array:ident, $row:ident => $value:expr) => {
            Arc::new($array::from_iter(iter().map(|$row| $value))) as ArrayRef
        };
    }
    let columns = vec![
        numbers!(UInt64Array, row => Some(row.id)),
        words(iter().map(|row| Some(&*row.source))),
        words(iter().map(|row| row.device.as_deref())),
        texts(iter().map(|row| row.client.as_deref())),
        texts(iter().map(|row| row.server.as_deref())),
        numbers!(UInt64Array, row => Some(row.connection)),
        times(iter().map(|row| row.started)),
        words(iter().map(|row| Some(&*row.protocol))),
        words(iter().map(|row| Some(&*row.method))),
        words(iter().map(|row| Some(&*row.scheme))),
        words(iter().map(|row| Some(&*row.domain))),
        words(iter().map(|row| row.media_type.as_deref())),
        words(iter().map(|row| Some(&*row.category))),
        numbers!(UInt16Array, row => Some(row.port)),
        texts(iter().map(|row| Some(&*row.path))),
        texts(iter().map(|row| Some(&*row.query))),
        texts(iter().map(|row| Some(&*row.url))),
        words(iter().map(|row| Some(&*row.endpoint))),
        numbers!(UInt16Array, row => row.status),
        texts(iter().map(|row| row.reason.as_deref())),
        texts(iter().map(|row| row.error.as_deref())),
        headers(iter().map(|row| &row.request_headers))?,
        headers(iter().map(|row| &row.response_headers))?,
        hashes(iter().map(|row| row.request_body))?,
        hashes(iter().map(|row| row.response_body))?,
        numbers!(UInt64Array, row => Some(row.request_size)),
        numbers!(UInt64Array, row => Some(row.response_size)),
        words(iter().map(|row| Some(&*row.request_body_state))),
        words(iter().map(|row| Some(&*row.response_body_state))),
        numbers!(UInt64Array, row => row.duration_us),
        numbers!(UInt64Array, row => row.dns_us),
        numbers!(UInt64Array, row => row.connect_us),
        numbers!(UInt64Array, row => row.tls_us),
        numbers!(UInt64Array, row => row.wait_us),
        numbers!(UInt64Array, row => row.receive_us),
        words(iter().map(|row| row.process.as_deref())),
        numbers!(UInt32Array, row => row.pid),
        numbers!(UInt32Array, row => Some(row.flags)),
    ];
    RecordBatch::try_new(schema(Table::Exchanges), columns)
}

/// Rows of `messages`.
pub(super) fn messages(rows: &[MessageRow]) -> Result<RecordBatch, ArrowError> {
    let iter = || rows.iter();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from_iter_values(iter().map(|row| row.exchange))),
        Arc::new(UInt64Array::from_iter_values(iter().map(|row| row.connection))),
        times(iter().map(|row| row.at)),
        words(iter().map(|row| Some(&*row.direction))),
        words(iter().map(|row| Some(&*row.kind))),
        Arc::new(UInt64Array::from_iter_values(iter().map(|row| row.size))),
        words(iter().map(|row| Some(&*row.state))),
        Arc::new(iter().map(|row| row.payload.as_deref()).collect::<BinaryArray>()),
        Arc::new(iter().map(|row| Some(row.compressed)).collect::<BooleanArray>()),
    ];
    RecordBatch::try_new(schema(Table::Messages), columns)
}

//! The columns of `messages`.

use std::sync::Arc;

use arrow::{
    array::{BooleanArray, RecordBatch},
    datatypes::UInt64Type,
    error::ArrowError,
};
use weir_engine::record::{BodyState, Message};

use super::{
    numbers::{numbers, times},
    text::{Binaries, Words},
};
use crate::schema::{Table, schema};

/// Rows of `messages` being gathered.
#[derive(Default)]
pub(crate) struct Messages {
    exchange: Vec<u64>,
    connection: Vec<u64>,
    at: Vec<i64>,
    direction: Words,
    kind: Words,
    size: Vec<u64>,
    state: Words,
    payload: Binaries,
    compressed: Vec<bool>,
}

impl Messages {
    pub(crate) fn push(&mut self, message: &Message) {
        self.exchange.push(message.exchange);
        self.connection.push(message.connection);
        self.at.push(message.at_us);
        self.direction.push(message.direction.as_str());
        self.kind.push(message.kind.as_str());
        self.size.push(message.size);
        self.state.push(message.state.as_str());
        match message.state {
            BodyState::None | BodyState::Stored | BodyState::Truncated | BodyState::Gap => {
                self.payload.push([&*message.payload]);
            }
            BodyState::SkippedMedia | BodyState::SkippedPolicy => self.payload.push_null(),
        }
        self.compressed.push(message.compressed);
    }

    pub(crate) fn rows(&self) -> usize {
        self.exchange.len()
    }

    pub(crate) fn byte_len(&self) -> usize {
        self.rows() * 60 + self.payload.byte_len()
    }

    pub(crate) fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let columns = vec![
            numbers::<UInt64Type>(&mut self.exchange),
            numbers::<UInt64Type>(&mut self.connection),
            times(&mut self.at),
            self.direction.finish()?,
            self.kind.finish()?,
            numbers::<UInt64Type>(&mut self.size),
            self.state.finish()?,
            self.payload.finish()?,
            Arc::new(BooleanArray::from(std::mem::take(&mut self.compressed))),
        ];
        RecordBatch::try_new(schema(Table::Messages), columns)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Array;
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_payload_that_was_not_stored_is_null() {
        let mut columns = Messages::default();
        columns.push(&Message { state: BodyState::Stored, payload: Bytes::from_static(b"x"), ..Message::default() });
        columns.push(&Message { state: BodyState::SkippedPolicy, size: 9, ..Message::default() });
        columns.push(&Message { state: BodyState::None, ..Message::default() });
        let batch = columns.finish().expect("fits the schema");
        assert_eq!(batch.column_by_name("payload").expect("is there").null_count(), 1);
    }
}

//! Columns of numbers and times.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, ArrowPrimitiveType, NullBufferBuilder, PrimitiveArray, TimestampMicrosecondArray},
    buffer::ScalarBuffer,
};

/// A column of numbers that are always there.
pub(crate) fn numbers<T: ArrowPrimitiveType>(values: &mut Vec<T::Native>) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::new(ScalarBuffer::from(std::mem::take(values)), None))
}

/// A column of times, microseconds since the Unix epoch.
pub(crate) fn times(values: &mut Vec<i64>) -> ArrayRef {
    let values = ScalarBuffer::from(std::mem::take(values));
    Arc::new(TimestampMicrosecondArray::new(values, None).with_timezone("UTC"))
}

/// A column of numbers that may be null.
pub(crate) struct Optionals<T: ArrowPrimitiveType> {
    values: Vec<T::Native>,
    present: NullBufferBuilder,
}

impl<T: ArrowPrimitiveType> Default for Optionals<T> {
    fn default() -> Self {
        Self { values: Vec::new(), present: NullBufferBuilder::new(0) }
    }
}

impl<T: ArrowPrimitiveType> Optionals<T> {
    pub(crate) fn push(&mut self, value: Option<T::Native>) {
        self.present.append(value.is_some());
        self.values.push(value.unwrap_or_default());
    }

    fn take(&mut self) -> PrimitiveArray<T> {
        PrimitiveArray::new(ScalarBuffer::from(std::mem::take(&mut self.values)), self.present.finish())
    }

    pub(crate) fn finish(&mut self) -> ArrayRef {
        Arc::new(self.take())
    }
}

impl Optionals<arrow::datatypes::TimestampMicrosecondType> {
    pub(crate) fn finish_times(&mut self) -> ArrayRef {
        Arc::new(self.take().with_timezone("UTC"))
    }
}

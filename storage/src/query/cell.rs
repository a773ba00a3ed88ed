//! Values out of columns: one trait, so that each row type is a list of its fields.

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::{Int32Type, Int64Type, TimestampMicrosecondType, UInt16Type, UInt32Type, UInt64Type},
    error::ArrowError,
};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use weir_engine::filter::check;

use super::evaluate::header_columns;
use crate::time::Timestamp;

/// A BLAKE3 hash; in JSON 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct HashHex(pub [u8; 32]);

impl HashHex {
    fn digits(&self) -> [u8; 64] {
        let mut digits = [0; 64];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
            pair[1] = b"0123456789abcdef"[usize::from(byte & 15)];
        }
        digits
    }
}

impl std::fmt::Display for HashHex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

impl std::str::FromStr for HashHex {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check::hash(text).map(Self).ok_or_else(|| "a hash is 64 hexadecimal digits".to_owned())
    }
}

impl Serialize for HashHex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for HashHex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// One header line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderLine {
    /// The name, case as seen.
    pub name: String,
    /// The value; bytes that are not UTF-8 read as ISO 8859-1.
    pub value: String,
}

/// A value that stands in a column.
pub(crate) trait Cell: Default {
    /// The value of a row.
    fn read(column: &ArrayRef, row: usize) -> Result<Self, ArrowError>;
}

/// The value of a row in a column; the type's default when a part of an older version lacks it.
pub(crate) fn cell<T: Cell>(batch: &RecordBatch, name: &str, row: usize) -> Result<T, ArrowError> {
    cell_of(batch.column_by_name(name), name, row)
}

/// The same of a column that was looked up before.
pub(crate) fn cell_of<T: Cell>(column: Option<&ArrayRef>, name: &str, row: usize) -> Result<T, ArrowError> {
    match column {
        Some(column) if row < column.len() => T::read(column, row),
        Some(_) => Err(ArrowError::InvalidArgumentError(format!("column {name} is too short"))),
        None => Ok(T::default()),
    }
}

fn mismatch(column: &ArrayRef) -> ArrowError {
    ArrowError::SchemaError(format!("a column has the unexpected type {}", column.data_type()))
}

macro_rules! primitive_cells {
    ($($native:ty as $arrow:ty,)*) => {$(
        impl Cell for $native {
            fn read(column: &ArrayRef, row: usize) -> Result<Self, ArrowError> {
                column.as_primitive_opt::<$arrow>().map(|numbers| numbers.value(row)).ok_or_else(|| mismatch(column))
            }
        }
    )*};
}
primitive_cells!(u16 as UInt16Type, u32 as UInt32Type, u64 as UInt64Type, i64 as Int64Type,);

impl Cell for Timestamp {
    fn read(column: &ArrayRef, row: usize) -> Result<Self, ArrowError> {
        let times = column.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(|| mismatch(column))?;
        Ok(Self(times.value(row)))
    }
}

impl Cell for bool {
    fn read(column: &ArrayRef, row: usize) -> Result<Self, ArrowError> {
        column.as_boolean_opt().map(|bits| bits.value(row)).ok_or_else(|| mismatch(column))
    }
}

impl Cell for String {
    fn read(column: &ArrayRef, row: usize) -> Result<Self, ArrowError> {
        if let Some(texts) = column.as_string_opt::<i32>() {
            return Ok(texts.value(row).to_owned());
        }
        let words = column.as_dictionary_opt::<Int32Type>().ok_or_else(|| mismatch(column))?;
        let values = words.values().as_string_opt::<i32>().ok_or_else(|| mismatch(column))?;
        Ok(words.key(row).map(|key| values.value(key).to_owned()).unwrap_or_default())
    }
}

impl Cell for HashHex {
    fn read(column: &ArrayRef, row: usize) -> Result<Self, ArrowError> {
        let hashes = column.as_fixed_size_binary_opt().ok_or_else(|| mismatch(column))?;
        hashes.value(row).try_into().map(Self).map_err(|_| mismatch(column))
    }
}

impl Cell for Bytes {
    fn read(column: &ArrayRef, row: usize) -> Result<Self, ArrowError> {
        column
            .as_binary_opt::<i32>()
            .map(|values| Self::copy_from_slice(values.value(row)))
            .ok_or_else(|| mismatch(column))
    }
}

impl Cell for Vec<HeaderLine> {
    fn read(column: &ArrayRef, row: usize) -> Result<Self, ArrowError> {
        let (offsets, names, values) = header_columns(column)?;
        let line =
            |line: usize| HeaderLine { name: names.value(line).to_owned(), value: values.value(line).to_owned() };
        Ok((offsets[row] as usize..offsets[row + 1] as usize).map(line).collect())
    }
}

impl<T: Cell> Cell for Option<T> {
    fn read(column: &ArrayRef, row: usize) -> Result<Self, ArrowError> {
        if column.is_null(row) { Ok(None) } else { T::read(column, row).map(Some) }
    }
}

//! Text inside bodies: which stored bodies hold it, decoded.
//!
//! In: the parts of `bodies` and a pattern. Out: hashes. Bodies are read a few megabytes at a time on all cores, so
//! that memory is bounded whatever is stored.

use std::collections::{BTreeSet, HashSet};

use arrow::{array::AsArray, datatypes::Int32Type, error::ArrowError};
use parquet::errors::ParquetError;
use weir_engine::{
    content::{self, Limits, display_text},
    filter::LikePattern,
};

use super::{
    file::{OpenPart, guarded},
    scan::read_some,
    source::{Source, on_all_cores},
};
use crate::error::StorageError;

/// Bytes of bodies read together, about.
const BATCH_BYTES: u64 = 8 << 20;
/// Decoded bytes of one body that are looked at.
const LIMITS: Limits = Limits { output: 64 << 20, ratio: 1100 };

/// Hashes of bodies.
pub(crate) type Hashes = HashSet<[u8; 32], rustc_hash::FxBuildHasher>;

/// The stored bodies that hold the text.
pub(crate) fn holding(source: &mut Source, pattern: &LikePattern) -> Result<Hashes, StorageError> {
    let found = source.run(|source| {
        on_all_cores(&source.units(), Hashes::default, |found: &mut Hashes, unit| {
            let part = &source.parts[unit.part];
            guarded(|| holding_in(part, unit.group, pattern, found)).map_err(|error| part.error(error))
        })
    })?;
    Ok(found.into_iter().flatten().collect())
}

fn holding_in(part: &OpenPart, group: usize, pattern: &LikePattern, found: &mut Hashes) -> Result<(), ParquetError> {
    let row_group = part.metadata.metadata().row_group(group);
    let rows = u64::try_from(row_group.num_rows()).unwrap_or(0).max(1);
    let bytes = u64::try_from(row_group.total_byte_size()).unwrap_or(0).max(1);
    let batch_rows = usize::try_from((BATCH_BYTES * rows / bytes).clamp(1, 8192)).unwrap_or(1);
    let columns = BTreeSet::from(["hash", "bytes", "encoding"]);
    for batch in read_some(part, group, &columns, None, batch_rows)? {
        let batch = batch?;
        let mismatch = || ArrowError::SchemaError("the columns of bodies are of other types".to_owned());
        let column = |name: &str| batch.column_by_name(name).ok_or_else(mismatch);
        let hashes = column("hash")?.as_fixed_size_binary_opt().ok_or_else(mismatch)?;
        let bodies = column("bytes")?.as_binary_opt::<i32>().ok_or_else(mismatch)?;
        let encodings = column("encoding")?.as_dictionary_opt::<Int32Type>().ok_or_else(mismatch)?;
        let words = encodings.values().as_string_opt::<i32>().ok_or_else(mismatch)?;
        for row in 0..batch.num_rows() {
            let encoding = encodings.key(row).map_or("", |word| words.value(word));
            // What cannot be decoded is looked at as it is.
            let decoded = content::decode(bodies.value(row), encoding, LIMITS);
            let bytes = decoded.as_ref().map_or_else(|_| bodies.value(row), |decoded| &decoded.bytes);
            if pattern.is_match(&display_text(bytes))
                && let Ok(hash) = hashes.value(row).try_into()
            {
                found.insert(hash);
            }
        }
    }
    Ok(())
}

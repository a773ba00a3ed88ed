//! The columns of `bodies`, and which of them the session has already.

use std::{borrow::Cow, sync::Arc};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Schema, SchemaRef, UInt64Type},
    error::ArrowError,
};
use weir_engine::record::{BodyHash, Content};

use super::{
    numbers::{numbers, times},
    text::{Binaries, Hashes, Views, Words},
};
use crate::schema::{Table, schema};

/// Rows of `bodies` being gathered.
#[derive(Default)]
pub(crate) struct Bodies {
    hash: Hashes,
    bytes: Bytes,
    size: Vec<u64>,
    encoding: Words,
    first_seen: Vec<i64>,
}

/// The bytes of the bodies.
enum Bytes {
    /// Copied, so that the buffers they came in can go.
    Copied(Binaries),
    /// Shared with the buffers they came in.
    Shared(Views),
}

impl Default for Bytes {
    fn default() -> Self {
        Self::Copied(Binaries::default())
    }
}

impl Bodies {
    /// Columns that hold on to the buffers the bodies came in, to be written to a part soon.
    pub(crate) fn shared() -> Self {
        Self { bytes: Bytes::Shared(Views::default()), ..Self::default() }
    }

    pub(crate) fn push(&mut self, hash: &BodyHash, content: &Content, encoding: Option<&[u8]>, seen_us: i64) {
        self.hash.push(Some(hash));
        match &mut self.bytes {
            Bytes::Copied(bytes) => bytes.push(content.chunks().iter().map(AsRef::as_ref)),
            Bytes::Shared(bytes) => bytes.push(content.to_bytes()),
        }
        self.size.push(content.len() as u64);
        self.encoding.push_option(encoding.map(encoding_text).as_deref());
        self.first_seen.push(seen_us);
    }

    pub(crate) fn rows(&self) -> usize {
        self.size.len()
    }

    pub(crate) fn byte_len(&self) -> usize {
        let bytes = match &self.bytes {
            Bytes::Copied(bytes) => bytes.byte_len(),
            Bytes::Shared(bytes) => bytes.byte_len(),
        };
        self.rows() * 60 + bytes
    }

    /// The rows as a batch; the columns are empty afterwards. Shared bytes are a column of views: the writer of
    /// parts takes both.
    pub(crate) fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let (schema, bytes) = match &mut self.bytes {
            Bytes::Copied(bytes) => (schema(Table::Bodies), bytes.finish()?),
            Bytes::Shared(bytes) => (view_schema(), bytes.finish()?),
        };
        let columns = vec![
            self.hash.finish()?,
            bytes,
            numbers::<UInt64Type>(&mut self.size),
            self.encoding.finish()?,
            times(&mut self.first_seen),
        ];
        RecordBatch::try_new(schema, columns)
    }
}

/// The schema of `bodies` with views in place of bytes.
fn view_schema() -> SchemaRef {
    let schema = schema(Table::Bodies);
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Binary => Arc::new(field.as_ref().clone().with_data_type(DataType::BinaryView)),
        _ => Arc::clone(field),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Content codings are tokens without case (RFC 9110 §8.4.1).
fn encoding_text(value: &[u8]) -> Cow<'_, str> {
    let mut text = String::from_utf8_lossy(value.trim_ascii());
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        text.to_mut().make_ascii_lowercase();
    }
    text
}

/// Ways of a set: fingerprints that share a place.
const WAYS: usize = 4;
/// Places; with four ways of 16 bytes each this is 4 MiB.
const PLACES: usize = 1 << 16;

/// The bodies a session was last seen to store: 16 bytes of each hash in a table of fixed size, four
/// places for each, the least recently seen makes room. It remembers the last 250 000 or so; a body
/// that comes again after that many others is stored again, and dropped again when its parts are merged.
pub(crate) struct KnownBodies {
    places: Vec<[u128; WAYS]>,
}

impl Default for KnownBodies {
    fn default() -> Self {
        Self { places: vec![[0; WAYS]; PLACES] }
    }
}

impl KnownBodies {
    /// Whether the body is new; from now on it is not.
    pub(crate) fn insert(&mut self, hash: &BodyHash) -> bool {
        let mut half = [0; 16];
        half.copy_from_slice(&hash[..16]);
        // Zero marks an empty place; no hash met in this universe begins with 127 zero bits.
        let fingerprint = u128::from_le_bytes(half) | 1;
        let place = usize::from(u16::from_le_bytes([hash[16], hash[17]])) % PLACES;
        let ways = &mut self.places[place];
        let found = ways.iter().position(|way| *way == fingerprint);
        ways[..=found.unwrap_or(WAYS - 1)].rotate_right(1);
        ways[0] = fingerprint;
        found.is_none()
    }

    /// Forgets all: bodies that were to be stored have been lost.
    pub(crate) fn forget(&mut self) {
        self.places.fill([0; WAYS]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_until_four_others_took_the_place() {
        let mut known = KnownBodies::default();
        let hash = |number: u8| {
            let mut hash = [7; 32];
            hash[3] = number;
            hash
        };
        assert!(known.insert(&hash(0)));
        for number in 1..4 {
            assert!(known.insert(&hash(number)));
            assert!(!known.insert(&hash(0)));
        }
        for number in 4..8 {
            assert!(known.insert(&hash(number)));
        }
        assert!(known.insert(&hash(0)));
        known.forget();
        assert!(known.insert(&hash(7)));
    }
}

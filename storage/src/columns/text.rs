//! Columns of text, of words (dictionary-encoded text), of bytes, of hashes and of header lists.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    sync::Arc,
};

use arrow::{
    array::{
        Array, ArrayRef, BinaryArray, BinaryViewBuilder, DictionaryArray, FixedSizeBinaryArray, Int32Array, ListArray,
        NullBufferBuilder, StringArray, StructArray,
    },
    buffer::{Buffer, OffsetBuffer, ScalarBuffer},
    datatypes::Int32Type,
    error::ArrowError,
};
use bytes::Bytes;
use hashbrown::HashTable;
use rustc_hash::FxSeededState;
use weir_engine::record::{BodyHash, Headers};

use crate::schema::{header_fields, header_item};

/// Bytes that stand in a view itself.
const INLINE: u32 = 12;

/// A seed that nobody outside knows.
pub(crate) fn seed() -> FxSeededState {
    FxSeededState::with_seed(RandomState::new().build_hasher().finish() as usize)
}

/// Bytes of many rows in one buffer. The recorder starts a new part long before the offsets (2 GiB) end.
struct Slices {
    bytes: Vec<u8>,
    offsets: Vec<i32>,
}

impl Default for Slices {
    fn default() -> Self {
        Self { bytes: Vec::new(), offsets: vec![0] }
    }
}

impl Slices {
    fn end_row(&mut self) {
        self.offsets.push(self.bytes.len() as i32);
    }

    /// Bytes as text: UTF-8 as it is, anything else as ISO-8859-1.
    fn push_text(&mut self, bytes: &[u8]) {
        if bytes.is_ascii() || std::str::from_utf8(bytes).is_ok() {
            self.bytes.extend_from_slice(bytes);
        } else {
            let mut utf8 = [0; 4];
            for &byte in bytes {
                self.bytes.extend_from_slice(char::from(byte).encode_utf8(&mut utf8).as_bytes());
            }
        }
        self.end_row();
    }

    fn byte_len(&self) -> usize {
        self.bytes.len() + self.offsets.len() * 4
    }

    fn take(&mut self) -> (OffsetBuffer<i32>, Buffer) {
        let slices = std::mem::take(self);
        (OffsetBuffer::new(ScalarBuffer::from(slices.offsets)), Buffer::from_vec(slices.bytes))
    }
}

/// A column of text.
pub(crate) struct Texts {
    slices: Slices,
    present: NullBufferBuilder,
}

impl Default for Texts {
    fn default() -> Self {
        Self { slices: Slices::default(), present: NullBufferBuilder::new(0) }
    }
}

impl Texts {
    pub(crate) fn push(&mut self, text: &str) {
        self.slices.bytes.extend_from_slice(text.as_bytes());
        self.slices.end_row();
        self.present.append_non_null();
    }

    pub(crate) fn push_option(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.push(text),
            None => {
                self.slices.end_row();
                self.present.append_null();
            }
        }
    }

    pub(crate) fn byte_len(&self) -> usize {
        self.slices.byte_len()
    }

    fn finish_array(&mut self) -> Result<StringArray, ArrowError> {
        let (offsets, bytes) = self.slices.take();
        StringArray::try_new(offsets, bytes, self.present.finish())
    }

    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(self.finish_array()?))
    }
}

/// A column of words that come again: keys into a dictionary of this part.
pub(crate) struct Words {
    keys: Vec<i32>,
    present: NullBufferBuilder,
    words: Texts,
    index: HashTable<i32>,
    seed: FxSeededState,
    last: i32,
}

impl Default for Words {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            present: NullBufferBuilder::new(0),
            words: Texts::default(),
            index: HashTable::new(),
            seed: seed(),
            last: -1,
        }
    }
}

impl Words {
    fn hash(seed: &FxSeededState, word: &[u8]) -> u64 {
        let mut hasher = seed.build_hasher();
        hasher.write(word);
        hasher.finish()
    }

    fn word(words: &Texts, key: i32) -> &[u8] {
        let at = key as usize;
        &words.slices.bytes[words.slices.offsets[at] as usize..words.slices.offsets[at + 1] as usize]
    }

    /// The key of a word, new or known.
    pub(crate) fn intern(&mut self, word: &str) -> i32 {
        // The word of the row before is by far the likeliest.
        if self.last >= 0 && Self::word(&self.words, self.last) == word.as_bytes() {
            return self.last;
        }
        let hash = Self::hash(&self.seed, word.as_bytes());
        let words = &self.words;
        let found = self.index.find(hash, |&key| Self::word(words, key) == word.as_bytes());
        self.last = if let Some(&key) = found {
            key
        } else {
            let key = (self.words.slices.offsets.len() - 1) as i32;
            self.words.push(word);
            let (words, seed) = (&self.words, &self.seed);
            self.index.insert_unique(hash, key, |&key| Self::hash(seed, Self::word(words, key)));
            key
        };
        self.last
    }

    pub(crate) fn push_key(&mut self, key: i32) {
        self.keys.push(key);
        self.present.append_non_null();
    }

    pub(crate) fn push(&mut self, word: &str) {
        let key = self.intern(word);
        self.push_key(key);
    }

    pub(crate) fn push_option(&mut self, word: Option<&str>) {
        match word {
            Some(word) => self.push(word),
            None => {
                self.keys.push(0);
                self.present.append_null();
            }
        }
    }

    pub(crate) fn byte_len(&self) -> usize {
        self.words.byte_len() + self.keys.len() * 4
    }

    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        if self.words.slices.offsets.len() == 1 && !self.keys.is_empty() {
            // Every row is null, yet its key must stand for a word.
            self.words.push("");
        }
        self.index.clear();
        self.last = -1;
        let keys = Int32Array::new(ScalarBuffer::from(std::mem::take(&mut self.keys)), self.present.finish());
        let words = self.words.finish_array()?;
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(words))?))
    }
}

/// A column of bytes.
pub(crate) struct Binaries {
    slices: Slices,
    present: NullBufferBuilder,
}

impl Default for Binaries {
    fn default() -> Self {
        Self { slices: Slices::default(), present: NullBufferBuilder::new(0) }
    }
}

impl Binaries {
    pub(crate) fn push<'a>(&mut self, chunks: impl IntoIterator<Item = &'a [u8]>) {
        for chunk in chunks {
            self.slices.bytes.extend_from_slice(chunk);
        }
        self.slices.end_row();
        self.present.append_non_null();
    }

    pub(crate) fn push_null(&mut self) {
        self.slices.end_row();
        self.present.append_null();
    }

    pub(crate) fn byte_len(&self) -> usize {
        self.slices.bytes.len()
    }

    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let (offsets, bytes) = self.slices.take();
        Ok(Arc::new(BinaryArray::try_new(offsets, bytes, self.present.finish())?))
    }
}

/// A column of bytes that stay in the buffers they came in.
pub(crate) struct Views {
    builder: BinaryViewBuilder,
    bytes: usize,
}

impl Default for Views {
    fn default() -> Self {
        Self { builder: BinaryViewBuilder::new(), bytes: 0 }
    }
}

impl Views {
    pub(crate) fn push(&mut self, bytes: Bytes) {
        self.bytes += bytes.len();
        match u32::try_from(bytes.len()) {
            Ok(len) if len > INLINE => {
                let block = self.builder.append_block(Buffer::from(bytes));
                if self.builder.try_append_view(block, 0, len).is_ok() {
                    return;
                }
                // The view is all of its block: it cannot lie outside.
                self.builder.append_value([]);
            }
            _ => self.builder.append_value(bytes),
        }
    }

    pub(crate) fn byte_len(&self) -> usize {
        self.bytes
    }

    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        self.bytes = 0;
        Ok(Arc::new(self.builder.finish()))
    }
}

/// A column of body hashes.
pub(crate) struct Hashes {
    bytes: Vec<u8>,
    present: NullBufferBuilder,
}

impl Default for Hashes {
    fn default() -> Self {
        Self { bytes: Vec::new(), present: NullBufferBuilder::new(0) }
    }
}

impl Hashes {
    pub(crate) fn push(&mut self, hash: Option<&BodyHash>) {
        self.bytes.extend_from_slice(hash.unwrap_or(&[0; 32]));
        self.present.append(hash.is_some());
    }

    pub(crate) fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let bytes = Buffer::from_vec(std::mem::take(&mut self.bytes));
        Ok(Arc::new(FixedSizeBinaryArray::try_new(32, bytes, self.present.finish())?))
    }
}

/// A column of header lists.
pub(crate) struct HeaderLists {
    names: Slices,
    values: Slices,
    offsets: Vec<i32>,
}

impl Default for HeaderLists {
    fn default() -> Self {
        Self { names: Slices::default(), values: Slices::default(), offsets: vec![0] }
    }
}

impl HeaderLists {
    pub(crate) fn push(&mut self, headers: &Headers) {
        for (name, value) in headers.iter() {
            self.names.push_text(name);
            self.values.push_text(value);
        }
        self.offsets.push((self.names.offsets.len() - 1) as i32);
    }

    pub(crate) fn byte_len(&self) -> usize {
        self.names.byte_len() + self.values.byte_len()
    }

    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let [names, values] = [&mut self.names, &mut self.values].map(Slices::take);
        let names = StringArray::try_new(names.0, names.1, None)?;
        let values = StringArray::try_new(values.0, values.1, None)?;
        let lines = StructArray::try_new(header_fields(), vec![Arc::new(names), Arc::new(values)], None)?;
        let offsets = OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(&mut self.offsets, vec![0])));
        let item = Arc::new(header_item());
        Ok(Arc::new(ListArray::try_new(item, offsets, Arc::new(lines) as Arc<dyn Array>, None)?))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;

    use super::*;

    #[test]
    fn words_are_interned_and_reset() {
        let mut words = Words::default();
        for word in ["a", "b", "a", "", "a"] {
            words.push(word);
        }
        words.push_option(None);
        let array = words.finish().expect("builds");
        let dictionary = array.as_dictionary::<Int32Type>();
        assert_eq!(dictionary.keys().values(), &[0, 1, 0, 2, 0, 0]);
        assert!(dictionary.is_null(5));
        assert_eq!(dictionary.values().len(), 3);
        words.push_option(None);
        assert_eq!(words.finish().expect("builds").null_count(), 1);
        assert!(words.finish().expect("builds").is_empty());
    }

    #[test]
    fn header_bytes_that_are_not_utf8_are_read_as_latin_1() {
        let mut lists = HeaderLists::default();
        lists.push(&Headers::from_pairs([(&b"A"[..], &b"caf\xe9"[..]), (b"B", "café".as_bytes())]));
        lists.push(&Headers::default());
        let array = lists.finish().expect("builds");
        let list = array.as_list::<i32>();
        let values = list.values().as_struct().column(1).as_string::<i32>().clone();
        assert_eq!(values.iter().flatten().collect::<Vec<_>>(), ["café", "café"]);
        assert_eq!(list.value_length(1), 0);
    }
}

//! Counting rows by the values of a column, fast: by small numbers, not by text.
//!
//! Each distinct value of a dictionary is looked up once a row group; then a row costs an array
//! access and one increment of a histogram.

use std::{borrow::Cow, fmt, str::FromStr, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    buffer::BooleanBuffer,
    datatypes::{Int32Type, TimestampMicrosecondType, UInt16Type, UInt64Type},
    error::ArrowError,
};
use rustc_hash::FxHashMap;
use serde::{Serialize, Serializer};

use crate::{
    summary::{Dimension, Groups, Histogram, Totals, histogram, is_error},
    time::Timestamp,
};

/// The key of rows that have no value.
pub const NONE: &str = "none";

macro_rules! group_by {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal $column:literal $dimension:expr,)*) => {
        /// What an overview counts by.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum GroupBy { $($(#[doc = $doc])* $name,)* }

        impl GroupBy {
            /// Every way to group.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word on the command line and the key in JSON.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The column it reads.
            pub(crate) const fn column(self) -> &'static str {
                match self { $(Self::$name => $column,)* }
            }

            /// Where the summary of a part has it.
            pub(crate) const fn dimension(self) -> Option<Dimension> {
                match self { $(Self::$name => $dimension,)* }
            }
        }
    };
}

group_by! {
    /// Request method.
    Method = "method" "method" Some(Dimension::Method),
    /// Host.
    Domain = "domain" "domain" Some(Dimension::Domain),
    /// Media type of the response.
    Type = "type" "type" Some(Dimension::Type),
    /// Status code.
    Status = "status" "status" Some(Dimension::Status),
    /// Class of status codes: `2xx`.
    StatusClass = "status_class" "status" Some(Dimension::Status),
    /// Group of media types.
    Category = "category" "category" Some(Dimension::Category),
    /// Path with ids replaced.
    Endpoint = "endpoint" "endpoint" Some(Dimension::Endpoint),
    /// Label of the client.
    Device = "device" "device" Some(Dimension::Device),
    /// Way into weir.
    Source = "source" "source" Some(Dimension::Source),
    /// Protocol version.
    Protocol = "protocol" "protocol" None,
    /// Scheme of the URL.
    Scheme = "scheme" "scheme" None,
    /// Port of the server.
    Port = "port" "port" None,
    /// Process of the client.
    Process = "process" "process" None,
    /// Code of what went wrong.
    Error = "error" "error" None,
    /// Hour of the start, UTC.
    Hour = "hour" "started" None,
    /// Minute of the start, UTC.
    Minute = "minute" "started" None,
}

impl GroupBy {
    /// What an overview counts by when nothing is asked for.
    pub const DEFAULT: [Self; 4] = [Self::Method, Self::Domain, Self::Type, Self::Status];

    /// A value of the column as a key: one without text is `none`.
    pub(crate) fn key(text: &str) -> &str {
        if text.is_empty() { NONE } else { text }
    }

    /// A key of a summary's dimension as a key of this group.
    pub(crate) fn summary_key(self, text: &str) -> Cow<'_, str> {
        match self {
            Self::StatusClass => text.parse().map_or(Cow::Borrowed(NONE), |status| Cow::Owned(status_class(status))),
            _ => Cow::Borrowed(Self::key(text)),
        }
    }
}

impl fmt::Display for GroupBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for GroupBy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().copied().find(|by| by.as_str().eq_ignore_ascii_case(text)).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|by| by.as_str()).collect();
            format!("cannot count by '{text}'; use one of {}", names.join(", "))
        })
    }
}

impl Serialize for GroupBy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

fn status_class(status: u64) -> String {
    format!("{}xx", status / 100)
}

/// Columns every count needs.
pub(crate) const MEASURES: [&str; 5] = ["status", "error", "duration_us", "request_size", "response_size"];

/// What one row adds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measure {
    row: u32,
    bucket: u16,
    error: bool,
    request_bytes: u64,
    response_bytes: u64,
}

/// Stands for "no duration" where a bucket stands.
const NO_BUCKET: u16 = u16::MAX;

/// What the rows of a batch that are let through add.
pub(crate) fn measures(batch: &RecordBatch, mask: Option<&BooleanBuffer>) -> Result<Vec<Measure>, ArrowError> {
    let statuses = typed(batch, "status", |column| column.as_primitive_opt::<UInt16Type>())?;
    let errors = typed(batch, "error", Some)?;
    let durations = typed(batch, "duration_us", |column| column.as_primitive_opt::<UInt64Type>())?;
    let request_sizes = typed(batch, "request_size", |column| column.as_primitive_opt::<UInt64Type>())?;
    let response_sizes = typed(batch, "response_size", |column| column.as_primitive_opt::<UInt64Type>())?;
    let measure = |row: usize| Measure {
        row: row as u32,
        bucket: if durations.is_valid(row) { histogram::bucket(durations.value(row)) } else { NO_BUCKET },
        error: is_error(statuses.is_valid(row).then(|| statuses.value(row)), errors.is_valid(row)),
        request_bytes: request_sizes.value(row),
        response_bytes: response_sizes.value(row),
    };
    Ok(match mask {
        Some(mask) => mask.set_indices().map(measure).collect(),
        None => (0..batch.num_rows()).map(measure).collect(),
    })
}

fn typed<'a, T: ?Sized>(
    batch: &'a RecordBatch,
    name: &str,
    cast: impl FnOnce(&'a ArrayRef) -> Option<&'a T>,
) -> Result<&'a T, ArrowError> {
    batch
        .column_by_name(name)
        .and_then(cast)
        .ok_or_else(|| ArrowError::SchemaError(format!("column {name} is missing or of another type")))
}

/// Keys with a histogram in one block of memory each; those after them share a hash table.
const DENSE_KEYS: usize = 512;
/// Buckets there are.
const BUCKETS: usize = 1920;

/// Counts of one key without its durations.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    count: u64,
    request_bytes: u64,
    response_bytes: u64,
    errors: u64,
}

/// Counts by key.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    keys: FxHashMap<Box<str>, u32>,
    /// Numbers (status, port, hour, …) already turned into keys.
    numbers: FxHashMap<u64, u32>,
    sums: Vec<Sums>,
    dense: Vec<Box<[u32; BUCKETS]>>,
    sparse: FxHashMap<u64, u32>,
    /// The dictionary seen last, and the key of each of its values.
    dictionary: Option<(ArrayRef, Vec<u32>)>,
}

/// Not looked up so far.
const UNKNOWN: u32 = u32::MAX;

impl Counts {
    fn key(&mut self, text: &str) -> u32 {
        if let Some(key) = self.keys.get(text) {
            return *key;
        }
        let key = self.sums.len() as u32;
        self.keys.insert(text.into(), key);
        self.sums.push(Sums::default());
        if self.dense.len() < DENSE_KEYS {
            self.dense.push(Box::new([0; BUCKETS]));
        }
        key
    }

    #[inline]
    fn add(&mut self, key: u32, measure: &Measure) {
        let sums = &mut self.sums[key as usize];
        sums.count += 1;
        sums.request_bytes += measure.request_bytes;
        sums.response_bytes += measure.response_bytes;
        sums.errors += u64::from(measure.error);
        if measure.bucket == NO_BUCKET {
            return;
        }
        match self.dense.get_mut(key as usize) {
            Some(histogram) => {
                if let Some(cell) = histogram.get_mut(usize::from(measure.bucket)) {
                    *cell += 1;
                }
            }
            None => *self.sparse.entry(u64::from(key) << 11 | u64::from(measure.bucket)).or_default() += 1,
        }
    }

    /// Counts all rows under one key.
    pub(crate) fn add_all(&mut self, measures: &[Measure]) {
        let key = self.key("");
        for measure in measures {
            self.add(key, measure);
        }
    }

    /// Counts rows by the values of a column.
    pub(crate) fn add_by(&mut self, by: GroupBy, batch: &RecordBatch, measures: &[Measure]) -> Result<(), ArrowError> {
        self.each_key(by, batch, measures, Self::add)
    }

    /// Hands the key of each row to `each`.
    #[inline]
    fn each_key(
        &mut self,
        by: GroupBy,
        batch: &RecordBatch,
        measures: &[Measure],
        mut each: impl FnMut(&mut Self, u32, &Measure),
    ) -> Result<(), ArrowError> {
        match by {
            GroupBy::Status | GroupBy::Port | GroupBy::StatusClass => {
                let numbers = typed(batch, by.column(), |column| column.as_primitive_opt::<UInt16Type>())?;
                let unit = if by == GroupBy::StatusClass { 100 } else { 1 };
                let number = |row: usize| numbers.is_valid(row).then(|| u64::from(numbers.value(row)) / unit);
                let text = |number: u64| if unit == 1 { number.to_string() } else { status_class(number * unit) };
                self.each_number(measures, number, text, each);
            }
            GroupBy::Hour | GroupBy::Minute => {
                let unit = if by == GroupBy::Hour { 3_600_000_000 } else { 60_000_000 };
                let times = typed(batch, by.column(), |column| column.as_primitive_opt::<TimestampMicrosecondType>())?;
                let number = |row: usize| Some(times.value(row).div_euclid(unit).cast_unsigned());
                let text = |number: u64| {
                    let text = Timestamp(number.cast_signed().saturating_mul(unit)).to_string();
                    // 2026-01-31T12:00:00.000000Z without seconds.
                    text.get(..16).map_or_else(|| text.clone(), |minute| format!("{minute}Z"))
                };
                self.each_number(measures, number, text, each);
            }
            GroupBy::Error => {
                let texts = typed(batch, by.column(), |column| column.as_string_opt::<i32>())?;
                for measure in measures {
                    let row = measure.row as usize;
                    let key = self.key(if texts.is_valid(row) { GroupBy::key(texts.value(row)) } else { NONE });
                    each(self, key, measure);
                }
            }
            _ => self.each_word(by, batch, measures, each)?,
        }
        Ok(())
    }

    #[inline]
    fn each_number(
        &mut self,
        measures: &[Measure],
        number: impl Fn(usize) -> Option<u64>,
        text: impl Fn(u64) -> String,
        mut each: impl FnMut(&mut Self, u32, &Measure),
    ) {
        // Neighbours are often alike.
        let mut last: Option<(Option<u64>, u32)> = None;
        for measure in measures {
            let number = number(measure.row as usize);
            let key = match last {
                Some((seen, key)) if seen == number => key,
                _ => match number {
                    None => self.key(NONE),
                    Some(number) => match self.numbers.get(&number) {
                        Some(key) => *key,
                        None => {
                            let key = self.key(&text(number));
                            self.numbers.insert(number, key);
                            key
                        }
                    },
                },
            };
            last = Some((number, key));
            each(self, key, measure);
        }
    }

    #[inline]
    fn each_word(
        &mut self,
        by: GroupBy,
        batch: &RecordBatch,
        measures: &[Measure],
        mut each: impl FnMut(&mut Self, u32, &Measure),
    ) -> Result<(), ArrowError> {
        let words = typed(batch, by.column(), |column| column.as_dictionary_opt::<Int32Type>())?;
        let values = words
            .values()
            .as_string_opt::<i32>()
            .ok_or_else(|| ArrowError::SchemaError(format!("column {by} is not text")))?;
        let mut known = match self.dictionary.take() {
            Some((last, known)) if is_same(&last, words.values()) => known,
            _ => vec![UNKNOWN; values.len()],
        };
        let keys = words.keys();
        let (numbers, nulls) = (keys.values(), keys.nulls());
        for measure in measures {
            let row = measure.row as usize;
            let key = if nulls.is_some_and(|nulls| nulls.is_null(row)) {
                self.key(NONE)
            } else {
                let word = numbers[row] as usize;
                if known[word] == UNKNOWN {
                    known[word] = self.key(GroupBy::key(values.value(word)));
                }
                known[word]
            };
            each(self, key, measure);
        }
        self.dictionary = Some((Arc::clone(words.values()), known));
        Ok(())
    }

    /// Adds what was counted to `groups`.
    pub(crate) fn merge_into(self, groups: &mut Groups) {
        let mut cells: Vec<Vec<(u16, u64)>> = self
            .dense
            .iter()
            .map(|histogram| {
                let held = histogram.iter().enumerate().filter(|(_, count)| **count > 0);
                held.map(|(bucket, count)| (bucket as u16, u64::from(*count))).collect()
            })
            .collect();
        cells.resize(self.sums.len(), Vec::new());
        for (cell, count) in self.sparse {
            cells[(cell >> 11) as usize].push(((cell & 2047) as u16, u64::from(count)));
        }
        for (text, key) in self.keys {
            let sums = self.sums[key as usize];
            let totals = Totals {
                count: sums.count,
                request_bytes: sums.request_bytes,
                response_bytes: sums.response_bytes,
                errors: sums.errors,
                durations: Histogram::from_cells(std::mem::take(&mut cells[key as usize])),
            };
            merge_key(groups, Cow::Owned(text.into()), &totals);
        }
    }
}

/// Stands between the keys of groups that are crossed; no column holds it but in hostile rows.
pub(crate) const CROSS: char = '\u{1f}';

/// Counts by the values of several columns together.
#[derive(Debug, Default)]
pub(crate) struct Crossed {
    /// Of each column: the numbers of its keys.
    columns: Vec<Counts>,
    texts: Vec<Vec<Box<str>>>,
    /// Keys of the first columns together, and of the next one, to the key of all of them.
    pairs: Vec<FxHashMap<(u32, u32), u32>>,
    counts: Counts,
}

impl Crossed {
    /// Counts rows by the values of these columns together.
    pub(crate) fn add_by(
        &mut self,
        by: &[GroupBy],
        batch: &RecordBatch,
        measures: &[Measure],
    ) -> Result<(), ArrowError> {
        self.columns.resize_with(by.len(), Counts::default);
        self.texts.resize_with(by.len(), Vec::new);
        self.pairs.resize_with(by.len(), FxHashMap::default);
        let mut keys: Vec<Vec<u32>> = Vec::with_capacity(by.len());
        for (column, by) in self.columns.iter_mut().zip(by) {
            let mut of_column = Vec::with_capacity(measures.len());
            column.each_key(*by, batch, measures, |_, key, _| of_column.push(key))?;
            keys.push(of_column);
        }
        for (column, texts) in self.columns.iter().zip(&mut self.texts) {
            if texts.len() < column.keys.len() {
                texts.resize(column.keys.len(), Box::default());
                column.keys.iter().for_each(|(text, key)| texts[*key as usize].clone_from(text));
            }
        }
        for (row, measure) in measures.iter().enumerate() {
            let mut whole = 0;
            for (column, of_column) in keys.iter().enumerate() {
                let next = self.pairs[column].len() as u32;
                let pair = (whole, of_column[row]);
                let is_last = column + 1 == keys.len();
                whole = match self.pairs[column].get(&pair) {
                    Some(known) => *known,
                    None if is_last => {
                        let text = self.text(&keys, row);
                        let key = self.counts.key(&text);
                        self.pairs[column].insert(pair, key);
                        key
                    }
                    None => {
                        self.pairs[column].insert(pair, next);
                        next
                    }
                };
            }
            self.counts.add(whole, measure);
        }
        Ok(())
    }

    fn text(&self, keys: &[Vec<u32>], row: usize) -> String {
        let mut text = String::new();
        for (column, of_column) in keys.iter().enumerate() {
            if column > 0 {
                text.push(CROSS);
            }
            text.push_str(&self.texts[column][of_column[row] as usize]);
        }
        text
    }

    /// Adds what was counted to `groups`.
    pub(crate) fn merge_into(self, groups: &mut Groups) {
        self.counts.merge_into(groups);
    }
}

/// Whether two dictionaries are one: the reader wraps the same buffers anew for each batch.
fn is_same(a: &ArrayRef, b: &ArrayRef) -> bool {
    let place = |array: &ArrayRef| {
        array
            .as_string_opt::<i32>()
            .map(|texts| (texts.value_offsets().as_ptr() as usize, texts.value_data().as_ptr() as usize, texts.len()))
    };
    place(a).is_some_and(|a| Some(a) == place(b))
}

/// Adds totals to those of a key.
pub(crate) fn merge_key(groups: &mut Groups, key: Cow<'_, str>, totals: &Totals) {
    match groups.get_mut(key.as_ref()) {
        Some(there) => there.merge(totals),
        None => {
            groups.insert(key.into_owned(), totals.clone());
        }
    }
}

//! A summary as text: variable-length integers (LEB128) in base64, short and quick to read.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};

use super::{Dimension, Groups, Histogram, Summary, Totals};

/// First byte; a summary with another one is not read.
const VERSION: u8 = 1;

impl Summary {
    /// The text for the metadata.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut out = vec![VERSION];
        put_totals(&mut out, &self.totals);
        put(&mut out, zigzag(self.first_started_us));
        put(&mut out, zigzag(self.last_started_us));
        put(&mut out, self.groups.len() as u64);
        for groups in &self.groups {
            let Some(groups) = groups else {
                put(&mut out, 0);
                continue;
            };
            put(&mut out, groups.len() as u64 + 1);
            for (key, totals) in groups {
                put(&mut out, key.len() as u64);
                out.extend_from_slice(key.as_bytes());
                put_totals(&mut out, totals);
            }
        }
        STANDARD_NO_PAD.encode(out)
    }

    /// Reads the text; `None` when it is damaged or of another version.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let bytes = STANDARD_NO_PAD.decode(text).ok()?;
        let mut input = bytes.strip_prefix(&[VERSION])?;
        let input = &mut input;
        let mut summary = Self {
            totals: take_totals(input)?,
            first_started_us: unzigzag(take(input)?),
            last_started_us: unzigzag(take(input)?),
            groups: Dimension::ALL.map(|_| None),
        };
        // Dimensions are added at the end: those an older version did not write are lacking.
        let written = usize::try_from(take(input)?).ok()?;
        for groups in summary.groups.iter_mut().take(written) {
            let Some(keys) = take(input)?.checked_sub(1) else { continue };
            // Each key takes more than five bytes: a damaged count does not make us reserve for it.
            let keys = usize::try_from(keys).ok().filter(|keys| *keys <= input.len() / 5)?;
            let mut read = Groups::with_capacity_and_hasher(keys, rustc_hash::FxBuildHasher);
            for _ in 0..keys {
                let len = usize::try_from(take(input)?).ok()?;
                let (key, rest) = input.split_at_checked(len)?;
                *input = rest;
                read.insert(String::from_utf8(key.to_vec()).ok()?, take_totals(input)?);
            }
            *groups = Some(read);
        }
        Some(summary)
    }
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = input.split_first()?;
        *input = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

fn put_totals(out: &mut Vec<u8>, totals: &Totals) {
    for value in [totals.count, totals.request_bytes, totals.response_bytes, totals.errors] {
        put(out, value);
    }
    let cells = totals.durations.cells();
    put(out, cells.len() as u64);
    let mut last = 0;
    for &(bucket, count) in cells {
        put(out, u64::from(bucket - last));
        put(out, count);
        last = bucket;
    }
}

fn take_totals(input: &mut &[u8]) -> Option<Totals> {
    let mut totals = Totals {
        count: take(input)?,
        request_bytes: take(input)?,
        response_bytes: take(input)?,
        errors: take(input)?,
        durations: Histogram::default(),
    };
    let len = usize::try_from(take(input)?).ok().filter(|len| *len <= input.len())?;
    let mut cells = Vec::with_capacity(len);
    let mut bucket = 0_u16;
    for _ in 0..len {
        bucket = bucket.checked_add(u16::try_from(take(input)?).ok()?)?;
        cells.push((bucket, take(input)?));
    }
    totals.durations = Histogram::from_cells(cells);
    Some(totals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote_and_nothing_damaged() {
        let mut summary = Summary { first_started_us: -5, last_started_us: i64::MAX, ..Summary::default() };
        let mut totals = Totals { count: 3, request_bytes: 1 << 40, response_bytes: 7, ..Totals::default() };
        totals.durations.record(12_345);
        totals.durations.record(9);
        summary.totals = totals.clone();
        summary.groups[0] = None;
        summary.groups[1] = Some(Groups::from_iter([("example.com".to_owned(), totals)]));
        let text = summary.encode();
        assert_eq!(Summary::decode(&text), Some(summary));
        for len in 0..text.len() - 2 {
            assert_eq!(Summary::decode(&text[..len]), None, "{len}");
        }
    }
}

//! Field lines in the order and case they were seen (RFC 9110 §5), as ranges into one buffer.
//!
//! In: a buffer that holds a message head and the ranges a parser found in it, or pairs.
//! Out: iteration and case-insensitive look-up without allocation.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

/// Where one field line stands in the buffer.
#[derive(Debug, Clone, Copy)]
struct FieldLine {
    name_start: u32,
    name_len: u32,
    value_start: u32,
    value_len: u32,
}

/// The field lines of one header (or trailer) section.
///
/// Names and values are bytes: HTTP/1.1 lets values carry obs-text (RFC 9110 §5.5).
#[derive(Debug, Clone, Default)]
pub struct Headers {
    buffer: Bytes,
    lines: Vec<FieldLine>,
}

impl Headers {
    /// An empty section over `buffer`, to be filled with [`push_range`](Self::push_range).
    #[must_use]
    pub fn over(buffer: Bytes, capacity: usize) -> Self {
        Self { buffer, lines: Vec::with_capacity(capacity) }
    }

    /// Adds the field line whose name and value stand at these ranges of the buffer.
    ///
    /// Ranges outside the buffer, or past 4 GiB, are ignored: the caller parsed them from it.
    pub fn push_range(&mut self, name: Range<usize>, value: Range<usize>) {
        let inside = |range: &Range<usize>| range.start <= range.end && range.end <= self.buffer.len();
        if !inside(&name) || !inside(&value) {
            return;
        }
        let (Ok(name_start), Ok(name_len), Ok(value_start), Ok(value_len)) = (
            u32::try_from(name.start),
            u32::try_from(name.len()),
            u32::try_from(value.start),
            u32::try_from(value.len()),
        ) else {
            return;
        };
        self.lines.push(FieldLine { name_start, name_len, value_start, value_len });
    }

    /// Copies pairs into a buffer of its own.
    pub fn from_pairs<N: AsRef<[u8]>, V: AsRef<[u8]>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut builder = HeadersBuilder::default();
        for (name, value) in pairs {
            builder.push(name.as_ref(), value.as_ref());
        }
        builder.finish()
    }

    /// Name and value of each field line, in the order seen.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> + Clone {
        self.lines.iter().map(|line| self.line(line))
    }

    fn line(&self, line: &FieldLine) -> (&[u8], &[u8]) {
        let slice = |start: u32, len: u32| &self.buffer[start as usize..start as usize + len as usize];
        (slice(line.name_start, line.name_len), slice(line.value_start, line.value_len))
    }

    /// The first value of a field, by its name without regard to case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.get_all(name).next()
    }

    /// The first value of a field as a slice of the shared buffer: no copy.
    #[must_use]
    pub fn get_shared(&self, name: &str) -> Option<Bytes> {
        self.get(name).map(|value| self.buffer.slice_ref(value))
    }

    /// All values of a field in the order seen.
    pub fn get_all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |(seen, _)| seen.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// How many field lines there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is no field line.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Bytes of names and values together.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.lines.iter().map(|line| line.name_len as usize + line.value_len as usize).sum()
    }

    /// The same section with `more` (a trailer section, say) after it.
    #[must_use]
    pub fn followed_by(&self, more: &Self) -> Self {
        Self::from_pairs(self.iter().chain(more.iter()))
    }
}

/// Builds a section field line by field line, in one growing buffer.
#[derive(Debug, Default)]
pub struct HeadersBuilder {
    buffer: BytesMut,
    ranges: Vec<(Range<usize>, Range<usize>)>,
}

impl HeadersBuilder {
    /// Adds a field line after those there are.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let name_start = self.buffer.len();
        self.buffer.extend_from_slice(name);
        let value_start = self.buffer.len();
        self.buffer.extend_from_slice(value);
        self.ranges.push((name_start..value_start, value_start..self.buffer.len()));
    }

    /// The finished section.
    #[must_use]
    pub fn finish(self) -> Headers {
        let mut headers = Headers::over(self.buffer.freeze(), self.ranges.len());
        for (name, value) in self.ranges {
            headers.push_range(name, value);
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_and_case_and_finds_without_case() {
        let headers = Headers::from_pairs([("Host", "a"), ("X-y", "1"), ("x-Y", "2")]);
        let seen: Vec<_> = headers.iter().collect();
        assert_eq!(seen, [(&b"Host"[..], &b"a"[..]), (b"X-y", b"1"), (b"x-Y", b"2")]);
        assert_eq!(headers.get("x-y"), Some(&b"1"[..]));
        assert_eq!(headers.get_all("X-Y").count(), 2);
        assert_eq!(headers.get("none"), None);
    }

    #[test]
    fn ignores_ranges_outside_the_buffer() {
        let mut headers = Headers::over(Bytes::from_static(b"a: b"), 1);
        headers.push_range(0..1, 3..9);
        assert!(headers.is_empty());
        headers.push_range(0..1, 3..4);
        assert_eq!(headers.get("a"), Some(&b"b"[..]));
    }
}

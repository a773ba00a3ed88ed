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

    /// The buffer that names and values lie in; other parts of the message may lie there too.
    #[must_use]
    pub fn buffer(&self) -> &[u8] {
        &self.buffer
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

/// Where field lines stand in a buffer that is still being read.
#[derive(Debug, Default)]
pub struct HeaderLines(Vec<FieldLine>);

impl HeaderLines {
    /// Room for so many.
    #[must_use]
    pub fn with_capacity(lines: usize) -> Self {
        Self(Vec::with_capacity(lines))
    }

    /// Adds the field line whose name and value stand at these ranges. Heads are bounded far below 4 GiB.
    pub fn push(&mut self, name: Range<usize>, value: Range<usize>) {
        self.0.push(FieldLine {
            name_start: name.start as u32,
            name_len: name.len() as u32,
            value_start: value.start as u32,
            value_len: value.len() as u32,
        });
    }

    /// Gives the line with this number another value.
    pub fn set_value(&mut self, index: usize, value: Range<usize>) {
        if let Some(line) = self.0.get_mut(index) {
            (line.value_start, line.value_len) = (value.start as u32, value.len() as u32);
        }
    }

    /// Where the last one's value stands.
    #[must_use]
    pub fn last_value(&self) -> Option<Range<usize>> {
        self.0.last().map(|line| line.value_start as usize..(line.value_start + line.value_len) as usize)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The section: its lines over the buffer they were found in. Lines that reach beyond it are left out.
    #[must_use]
    pub fn over(mut self, buffer: Bytes) -> Headers {
        let inside = |start: u32, len: u32| start as usize + len as usize <= buffer.len();
        self.0.retain(|line| inside(line.name_start, line.name_len) && inside(line.value_start, line.value_len));
        Headers { buffer, lines: self.0 }
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

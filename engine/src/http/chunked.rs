//! The chunked transfer coding (RFC 9112 §7.1), incremental and tolerant.
//!
//! In: bytes behind a head. Out: data where it lies, and the trailer section. Gaps inside the data of a
//! chunk are bridged by its size.

use bytes::Bytes;

use super::head;
use crate::work;

/// Bytes of a chunk size line (with extensions) at most.
const MAX_LINE: u32 = 16 << 10;
/// Bytes of a trailer section at most.
const MAX_TRAILERS: usize = 64 << 10;

#[derive(Debug)]
enum State {
    /// In a chunk size line; nothing but blanks and line ends so far.
    BeforeSize,
    /// In the digits.
    Size,
    /// Behind the digits: extensions, or junk.
    Extension,
    /// In the data; so many bytes are left.
    Data(u64),
    /// Trailer section, so far.
    Trailers,
}

/// Decodes one body.
#[derive(Debug)]
pub(crate) struct Chunked {
    state: State,
    size: u64,
    line: u32,
    /// No chunk was read yet.
    first: bool,
    trailers: Vec<u8>,
}

/// What a step came to.
#[derive(Debug)]
pub(crate) enum Decoded<'a> {
    /// All was used; more is needed.
    More,
    /// Bytes of the body.
    Data(&'a [u8]),
    /// The body ended.
    End(Bytes),
    /// This is not the chunked coding. `first`: from its first line on, so the body may be something else.
    Bad { first: bool },
}

impl Chunked {
    pub(crate) fn new() -> Self {
        Self { state: State::BeforeSize, size: 0, line: 0, first: true, trailers: Vec::new() }
    }

    /// Takes bytes from the front of `input`.
    pub(crate) fn step<'a>(&mut self, input: &mut &'a [u8]) -> Decoded<'a> {
        loop {
            match self.state {
                State::Data(left) if left > 0 => {
                    if input.is_empty() {
                        return Decoded::More;
                    }
                    let len = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
                    let (data, rest) = input.split_at(len);
                    *input = rest;
                    self.state = State::Data(left - len as u64);
                    return Decoded::Data(data);
                }
                State::Data(_) => {
                    self.state = State::BeforeSize;
                    self.line = 0;
                }
                State::Trailers => return self.trailer_section(input),
                State::BeforeSize | State::Size | State::Extension => {
                    let Some((&byte, rest)) = input.split_first() else { return Decoded::More };
                    work::done(1);
                    self.line += 1;
                    if self.line > MAX_LINE || !self.size_line(byte) {
                        return Decoded::Bad { first: self.first };
                    }
                    *input = rest;
                }
            }
        }
    }

    /// One byte of a chunk size line; `false`: it cannot be one.
    fn size_line(&mut self, byte: u8) -> bool {
        let digit = char::from(byte).to_digit(16);
        match (&self.state, digit, byte) {
            (State::BeforeSize, None, b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c) => {}
            (State::BeforeSize, Some(digit), _) => {
                self.size = u64::from(digit);
                self.state = State::Size;
            }
            (State::Size, Some(digit), _) => {
                if self.size >> 60 != 0 {
                    return false;
                }
                self.size = self.size << 4 | u64::from(digit);
            }
            (State::Size | State::Extension, _, b'\n') => {
                self.first = false;
                self.state = if self.size == 0 { State::Trailers } else { State::Data(self.size) };
            }
            // A size is followed by an extension, blanks, or what servers let pass; letters belong to words.
            (State::Size, None, byte) if self.first && byte.is_ascii_alphanumeric() => return false,
            (State::Size, None, _) => self.state = State::Extension,
            (State::Extension, _, _) => {}
            _ => return false,
        }
        true
    }

    /// Field lines until an empty one. What cannot be a field line is the next message already.
    fn trailer_section<'a>(&mut self, input: &mut &'a [u8]) -> Decoded<'a> {
        loop {
            if self.trailers.is_empty() && input.starts_with(b"HTTP/") {
                return Decoded::End(Bytes::new());
            }
            let Some(end) = memchr::memchr(b'\n', input) else {
                self.trailers.extend_from_slice(input);
                *input = &[];
                return if self.trailers.len() > MAX_TRAILERS { Decoded::Bad { first: false } } else { Decoded::More };
            };
            let (line, rest) = input.split_at(end + 1);
            *input = rest;
            work::done(end + 1);
            let begun = self.trailers.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let is_empty = self.trailers[begun..].iter().chain(line).all(|byte| matches!(byte, b'\r' | b'\n'));
            self.trailers.extend_from_slice(line);
            if is_empty {
                self.trailers.truncate(begun);
                return Decoded::End(std::mem::take(&mut self.trailers).into());
            }
            if self.trailers.len() > MAX_TRAILERS {
                return Decoded::Bad { first: false };
            }
        }
    }

    /// How many bytes of the body may be lost here without losing the way.
    pub(crate) fn bridge(&mut self, lost: u64) -> bool {
        match self.state {
            State::Data(left) if left >= lost => {
                self.state = State::Data(left - lost);
                true
            }
            _ => false,
        }
    }

    /// Whether the body is as good as whole when the stream ends here: behind the last chunk.
    pub(crate) fn is_whole_at_end(&self) -> bool {
        match self.state {
            State::Trailers => true,
            State::Size | State::Extension => self.size == 0,
            _ => false,
        }
    }

    /// The trailer section's field lines.
    pub(crate) fn fields(trailers: &Bytes) -> crate::record::Headers {
        head::trailers(trailers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(parts: &[&str]) -> (String, Option<String>, bool) {
        let (mut decoder, mut body) = (Chunked::new(), Vec::new());
        for part in parts {
            let mut input = part.as_bytes();
            loop {
                match decoder.step(&mut input) {
                    Decoded::More => break,
                    Decoded::Data(data) => body.extend_from_slice(data),
                    Decoded::End(trailers) => {
                        let trailers = String::from_utf8_lossy(&trailers).into_owned();
                        return (String::from_utf8_lossy(&body).into_owned(), Some(trailers), false);
                    }
                    Decoded::Bad { .. } => return (String::from_utf8_lossy(&body).into_owned(), None, true),
                }
            }
        }
        (String::from_utf8_lossy(&body).into_owned(), None, false)
    }

    #[test]
    fn decodes_in_any_cut() {
        let text = "5;x=\"y\"\r\nhello\r\n 6\n world\r\n0\r\nA: b\r\n\r\n";
        let expected = ("hello world".to_owned(), Some("A: b\r\n".to_owned()), false);
        assert_eq!(decode(&[text]), expected);
        let single: Vec<&str> = (0..text.len()).map(|at| &text[at..=at]).collect();
        assert_eq!(decode(&single), expected);
        assert_eq!(decode(&["0\r\n\r\n"]), (String::new(), Some(String::new()), false));
        assert!(decode(&["hello"]).2);
        assert!(decode(&["fffffffffffffffff\r\n"]).2);
        assert!(decode(&[&format!("1;{}", "x".repeat(20_000))]).2);
    }

    #[test]
    fn bridges_gaps_inside_a_chunk() {
        let mut decoder = Chunked::new();
        let mut input = &b"a\r\nabc"[..];
        assert!(matches!(decoder.step(&mut input), Decoded::Data(b"abc")));
        assert!(!decoder.bridge(8));
        assert!(decoder.bridge(7));
        let mut input = &b"\r\n0\r\n\r\n"[..];
        assert!(matches!(decoder.step(&mut input), Decoded::End(_)));
    }
}

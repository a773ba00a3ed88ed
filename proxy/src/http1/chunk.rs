//! The chunked transfer coding (RFC 9112 §7.1), without I/O.
//!
//! In: bytes as they come, split anywhere. Out: the data in slices of the same buffers, then the
//! trailer section. Sizes, extensions and trailers are bounded; anything but CRLF is refused.

use bytes::{Buf, Bytes};
use weir_engine::record::Headers;

use super::head::find_end;

/// What decoding came to.
#[derive(Debug)]
pub enum Decoded {
    /// Data; call again.
    Data(Bytes),
    /// More bytes are needed.
    More,
    /// The body is complete, with its trailer section where there was one.
    End(Option<Headers>),
}

/// The coding was violated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadChunk;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    Done,
}

/// Decodes one body.
#[derive(Debug)]
pub struct ChunkDecoder {
    state: State,
    line_limit: usize,
    trailer_limit: usize,
}

impl ChunkDecoder {
    /// Chunk lines of at most `line_limit` bytes, a trailer section of at most `trailer_limit`.
    #[must_use]
    pub fn new(line_limit: usize, trailer_limit: usize) -> Self {
        Self { state: State::Size, line_limit, trailer_limit }
    }

    /// Bytes of the chunk under way that are still to come.
    #[must_use]
    pub fn chunk_left(&self) -> u64 {
        if let State::Data(left) = self.state { left } else { 0 }
    }

    /// Takes what it can from the front of `input`.
    ///
    /// # Errors
    /// When the coding is violated, or a limit is passed.
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Decoded, BadChunk> {
        loop {
            match self.state {
                State::Size => {
                    let Some(line) = self.line(input)? else { return Ok(Decoded::More) };
                    let size = chunk_size(&line)?;
                    self.state = if size == 0 { State::Trailers } else { State::Data(size) };
                }
                State::Data(left) => {
                    if input.is_empty() {
                        return Ok(Decoded::More);
                    }
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    let left = left - take as u64;
                    self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                    return Ok(Decoded::Data(input.split_to(take)));
                }
                State::DataEnd => match &input[..] {
                    [b'\r', b'\n', ..] => {
                        input.advance(2);
                        self.state = State::Size;
                    }
                    [] | [b'\r'] => return Ok(Decoded::More),
                    _ => return Err(BadChunk),
                },
                State::Trailers => return self.trailers(input),
                State::Done => return Ok(Decoded::End(None)),
            }
        }
    }

    fn line(&self, input: &mut Bytes) -> Result<Option<Bytes>, BadChunk> {
        let window = &input[..input.len().min(self.line_limit)];
        match memchr::memchr(b'\n', window) {
            None if input.len() >= self.line_limit => Err(BadChunk),
            None => Ok(None),
            Some(0) => Err(BadChunk),
            Some(at) if window[at - 1] != b'\r' => Err(BadChunk),
            Some(at) => {
                let mut line = input.split_to(at + 1);
                line.truncate(at - 1);
                Ok(Some(line))
            }
        }
    }

    fn trailers(&mut self, input: &mut Bytes) -> Result<Decoded, BadChunk> {
        match &input[..] {
            [b'\r', b'\n', ..] => {
                input.advance(2);
                self.state = State::Done;
                return Ok(Decoded::End(None));
            }
            [] | [b'\r'] => return Ok(Decoded::More),
            _ => {}
        }
        let Some(end) = find_end(input, 0) else {
            return if input.len() > self.trailer_limit { Err(BadChunk) } else { Ok(Decoded::More) };
        };
        if end > self.trailer_limit {
            return Err(BadChunk);
        }
        let section = input.split_to(end);
        if memchr::memchr_iter(b'\n', &section).any(|at| at == 0 || section[at - 1] != b'\r') {
            return Err(BadChunk);
        }
        let mut lines = [httparse::EMPTY_HEADER; 64];
        let Ok(httparse::Status::Complete((_, lines))) = httparse::parse_headers(&section, &mut lines) else {
            return Err(BadChunk);
        };
        // Fields that frame or route the message have no place in a trailer section (RFC 9110 §6.5.1).
        const FORBIDDEN: [&str; 4] = ["transfer-encoding", "content-length", "host", "connection"];
        if lines.iter().any(|line| FORBIDDEN.iter().any(|name| line.name.eq_ignore_ascii_case(name))) {
            return Err(BadChunk);
        }
        self.state = State::Done;
        Ok(Decoded::End(Some(Headers::from_pairs(lines.iter().map(|line| (line.name, line.value))))))
    }
}

fn chunk_size(line: &[u8]) -> Result<u64, BadChunk> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if digits == 0 || digits > 15 {
        return Err(BadChunk);
    }
    // Extensions follow a semicolon, with whitespace that should not be there but is (RFC 9112 §7.1.1).
    match line[digits..].trim_ascii_start() {
        [] if digits == line.len() => {}
        [b';', extension @ ..] if extension.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f)) => {}
        [] => {}
        _ => return Err(BadChunk),
    }
    let text = std::str::from_utf8(&line[..digits]).map_err(|_| BadChunk)?;
    u64::from_str_radix(text, 16).map_err(|_| BadChunk)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Whole = (Vec<u8>, Option<Vec<(Vec<u8>, Vec<u8>)>>, usize);

    fn decode(pieces: &[&[u8]]) -> Result<Option<Whole>, BadChunk> {
        let mut decoder = ChunkDecoder::new(64, 256);
        let mut input = Bytes::new();
        let mut data = Vec::new();
        for piece in pieces {
            input = [&input[..], piece].concat().into();
            loop {
                match decoder.decode(&mut input)? {
                    Decoded::Data(bytes) => data.extend_from_slice(&bytes),
                    Decoded::More => break,
                    Decoded::End(trailers) => {
                        let trailers = trailers.map(|headers| {
                            headers.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
                        });
                        return Ok(Some((data, trailers, input.len())));
                    }
                }
            }
        }
        Ok(None)
    }

    const BODY: &[u8] = b"5\r\nhello\r\n6 ;ext=\"1\"\r\n world\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\nrest";

    #[test]
    fn bad_ones_are_refused() {
        for bad in [
            &b"\r\n"[..],
            b"x\r\n",
            b"-1\r\n",
            b"0x5\r\nhello",
            b"5\nhello\r\n",
            b"5\r\nhelloX\r\n",
            b"5\r\nhello\n0\r\n",
            b"1000000000000000\r\n",
            b"5;\x00\r\n",
            b"0\r\nContent-Length: 5\r\n\r\n",
            b"0\r\nbad\r\n\r\n",
            b"0\r\nX: a\nY: b\r\n\r\n",
            b"5;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert!(decode(&[bad]).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }

    proptest! {
        #[test]
        fn splits_do_not_matter(mut cuts in proptest::collection::vec(0..BODY.len(), 0..12)) {
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&BODY[from..cut]);
                from = cut;
            }
            pieces.push(&BODY[from..]);
            let (data, trailers, _) = decode(&pieces).expect("valid").expect("complete");
            prop_assert_eq!(data, b"hello world".to_vec());
            prop_assert_eq!(trailers, Some(vec![(b"X-Sum".to_vec(), b"1".to_vec()), (b"Y".to_vec(), b"2".to_vec())]));
        }

        #[test]
        fn anything_is_taken_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&[&bytes]);
        }
    }
}

//! The chunked transfer coding (RFC 9112 §7.1), read piece by piece.

/// Bytes of a size line or trailer section that are borne.
const MOST_LINE: usize = 8 << 10;

/// Where a chunked body stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Extension,
    Data,
    DataEnd,
    Trailer,
    Done,
}

/// Reads a chunked body.
#[derive(Debug, Clone, Default)]
pub struct Chunked {
    state: State,
    left: u64,
    digits: u8,
    line: usize,
}

/// The coding is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl Chunked {
    /// Reads what it can of `bytes`, hands out data, says how many bytes were read. It reads nothing behind its end.
    ///
    /// # Errors
    /// When this is no chunked coding.
    pub fn read(&mut self, bytes: &[u8], mut data: impl FnMut(&[u8])) -> Result<usize, Malformed> {
        let mut at = 0;
        while at < bytes.len() && self.state != State::Done {
            let byte = bytes[at];
            match self.state {
                State::Data => {
                    let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    data(&bytes[at..at + count]);
                    self.left -= count as u64;
                    at += count;
                    if self.left == 0 {
                        self.state = State::DataEnd;
                    }
                    continue;
                }
                State::Size => match (byte as char).to_digit(16) {
                    Some(digit) => {
                        self.digits += 1;
                        if self.digits > 15 {
                            return Err(Malformed);
                        }
                        self.left = self.left << 4 | u64::from(digit);
                    }
                    None if self.digits == 0 => return Err(Malformed),
                    None if byte == b'\n' => self.size_ends(),
                    None if matches!(byte, b'\r' | b';' | b' ' | b'\t') => self.state = State::Extension,
                    None => return Err(Malformed),
                },
                State::Extension => {
                    self.line += 1;
                    if byte == b'\n' {
                        self.size_ends();
                    } else if self.line > MOST_LINE {
                        return Err(Malformed);
                    }
                }
                State::DataEnd => match byte {
                    b'\r' => {}
                    b'\n' => *self = Self::default(),
                    _ => return Err(Malformed),
                },
                State::Trailer => match byte {
                    b'\n' if self.digits == 0 => self.state = State::Done,
                    b'\n' => self.digits = 0,
                    b'\r' => {}
                    _ => {
                        self.digits = 1;
                        self.line += 1;
                        if self.line > MOST_LINE {
                            return Err(Malformed);
                        }
                    }
                },
                State::Done => {}
            }
            at += 1;
        }
        Ok(at)
    }

    fn size_ends(&mut self) {
        self.state = if self.left == 0 { State::Trailer } else { State::Data };
        self.digits = 0;
        self.line = 0;
    }

    /// Whether the last chunk and the trailer section have been read.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }
}

/// Appends one chunk.
pub fn push_chunk(out: &mut Vec<u8>, data: &[u8]) {
    out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// The end of a chunked body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(step: usize, bytes: &[u8]) -> Result<(Vec<u8>, usize, bool), Malformed> {
        let (mut body, mut used, mut chunked) = (Vec::new(), 0, Chunked::default());
        for piece in bytes.chunks(step) {
            let count = chunked.read(piece, |data| body.extend_from_slice(data))?;
            used += count;
            if count < piece.len() {
                break;
            }
        }
        Ok((body, used, chunked.is_done()))
    }

    #[test]
    fn reads_in_any_pieces() {
        let text = b"5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nX: y\r\n\r\nHTTP";
        for step in 1..=text.len() {
            assert_eq!(read(step, text), Ok((b"hello world".to_vec(), text.len() - 4, true)), "{step}");
        }
        assert_eq!(read(3, b"5\r\nhel"), Ok((b"hel".to_vec(), 6, false)));
    }

    #[test]
    fn says_what_it_cannot_read() {
        for bad in [&b"\r\n"[..], b"x\r\n", b"5\r\nhello!", b"ffffffffffffffffff\r\n"] {
            assert_eq!(read(64, bad), Err(Malformed));
        }
    }

    #[test]
    fn reads_what_it_writes() {
        let mut out = Vec::new();
        push_chunk(&mut out, b"0123456789abcdef");
        out.extend_from_slice(LAST_CHUNK);
        assert_eq!(read(1, &out).map(|read| read.0), Ok(b"0123456789abcdef".to_vec()));
    }
}

//! Takes gzip and zstd off an input, and looks at what stands inside.
//!
//! In: anything that can be read. Out: the bytes inside, and what their beginning says they are.

use std::io::{Chain, Cursor, ErrorKind, Read};

use super::{SourceError, pcap, pcapng};

/// Layers of compression taken off.
const MAX_LAYERS: usize = 4;
/// Bytes looked at: enough to pass over white space before JSON.
const LOOK_BYTES: u64 = 256;

/// What an input holds, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// pcap or pcapng.
    Capture,
    /// A JSON object: perhaps a HAR.
    Json,
    /// No byte at all.
    Nothing,
    /// Neither.
    Other,
}

/// An input with its compression taken off.
pub struct Unpacked<'r> {
    pub(super) input: Box<dyn Read + Send + 'r>,
    pub(super) compressed: bool,
    first: Vec<u8>,
}

impl std::fmt::Debug for Unpacked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unpacked")
            .field("compressed", &self.compressed)
            .field("first", &self.first)
            .finish_non_exhaustive()
    }
}

impl<'r> Unpacked<'r> {
    /// Looks at the first bytes and takes compression off.
    ///
    /// # Errors
    /// When the first bytes cannot be read.
    pub fn new(input: impl Read + Send + 'r) -> Result<Self, SourceError> {
        let mut input: Box<dyn Read + Send + 'r> = Box::new(input);
        let mut compressed = false;
        for layer in 0.. {
            let (first, whole) = peek(input, compressed)?;
            input = match first[..] {
                [0x1f, 0x8b, ..] if layer < MAX_LAYERS => Box::new(flate2::read::MultiGzDecoder::new(whole)),
                [0x28, 0xb5, 0x2f, 0xfd, ..] if layer < MAX_LAYERS => {
                    Box::new(zstd::stream::read::Decoder::new(whole)?)
                }
                _ => return Ok(Self { input: Box::new(whole), compressed, first }),
            };
            compressed = true;
        }
        unreachable!("the last layer is not taken off")
    }

    /// What the first bytes are of.
    #[must_use]
    pub fn contents(&self) -> Contents {
        let first = &self.first[..];
        if first.is_empty() {
            return Contents::Nothing;
        }
        if pcap::begins(first) || pcapng::begins(first) {
            return Contents::Capture;
        }
        let text = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first);
        if text.trim_ascii_start().starts_with(b"{") { Contents::Json } else { Contents::Other }
    }

    /// The first bytes, up to four, for people.
    #[must_use]
    pub fn magic(&self) -> &[u8] {
        &self.first[..self.first.len().min(4)]
    }

    /// The bytes inside.
    #[must_use]
    pub fn into_input(self) -> Box<dyn Read + Send + 'r> {
        self.input
    }
}

type Whole<R> = Chain<Cursor<Vec<u8>>, R>;

/// The first bytes, as many as there are, and the input with them put back.
fn peek<R: Read>(mut input: R, compressed: bool) -> Result<(Vec<u8>, Whole<R>), SourceError> {
    let mut first = Vec::with_capacity(LOOK_BYTES as usize);
    loop {
        let left = LOOK_BYTES - first.len() as u64;
        match input.by_ref().take(left).read_to_end(&mut first) {
            Ok(_) => break,
            // A pipe that pauses.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // Cut short: what came out is used, and the tear met again behind it.
            Err(_) if compressed && !first.is_empty() => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok((first.clone(), Cursor::new(first).chain(input)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_is_inside() {
        let contents = |bytes: &[u8]| Unpacked::new(bytes).expect("opens").contents();
        assert_eq!(contents(b""), Contents::Nothing);
        assert_eq!(contents(b"\xef\xbb\xbf \n {\"log\":1}"), Contents::Json);
        assert_eq!(contents(b"GET / HTTP/1.1"), Contents::Other);
        assert_eq!(contents(&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0]), Contents::Capture);
        assert_eq!(contents(&[0x0a, 0x0d, 0x0d, 0x0a]), Contents::Capture);
        let packed = zstd::encode_all(&b"{}"[..], 1).expect("compresses");
        assert_eq!(contents(&packed), Contents::Json);
    }
}

//! Content codings undone for viewing and export (RFC 9110 §8.4): gzip, deflate, br, zstd, chains.
//!
//! In: the stored bytes of a body and its `Content-Encoding`. Out: the decoded bytes, bounded in size
//! and in ratio. A body that was cut gives what can be decoded of it, and says so.

use std::{
    borrow::Cow,
    cell::Cell,
    io::{self, Read},
};

use crate::work;

/// Codings in one chain at most; senders use one.
const MAX_CODINGS: usize = 8;
/// Output that is allowed whatever the ratio, bytes.
const FREE: u64 = 1 << 20;
/// Largest window of a zstd frame, as a power of two (RFC 9659 §3 wants 8 MiB; some senders use more).
const ZSTD_WINDOW_LOG: u32 = 27;

/// How much a body may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of output at most.
    pub output: u64,
    /// Bytes of output to one of input at most (a first megabyte is free).
    pub ratio: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { output: 256 << 20, ratio: 1100 }
    }
}

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// A decoded body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// The bytes.
    pub bytes: Cow<'a, [u8]>,
    /// The input ended too early: this is the beginning.
    pub is_partial: bool,
}

/// Why a body cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// A coding that weir does not know.
    #[error("the content coding '{0}' is not known; look at the bytes as they were sent")]
    UnknownCoding(String),
    /// More codings than anybody means.
    #[error("a chain of more than {MAX_CODINGS} content codings is refused; look at the bytes as they were sent")]
    TooManyCodings,
    /// The bytes are not in the coding they claim to be in.
    #[error("the body is not valid {coding}: {problem}; look at the bytes as they were sent")]
    Damaged {
        /// The coding.
        coding: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The output passed the limit.
    #[error("the body decodes to more than {limit} bytes; look at the bytes as they were sent")]
    TooLarge {
        /// Bytes that were allowed.
        limit: u64,
    },
}

impl Coding {
    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }
}

/// The codings of a `Content-Encoding` value, in the order they were applied, without `identity`.
fn codings(content_encoding: &str) -> Result<Vec<Coding>, ContentError> {
    let mut codings = Vec::new();
    for name in content_encoding.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        codings.push(match name.to_ascii_lowercase().as_str() {
            "identity" => continue,
            "gzip" | "x-gzip" => Coding::Gzip,
            "deflate" => Coding::Deflate,
            "br" => Coding::Brotli,
            "zstd" => Coding::Zstd,
            _ => return Err(ContentError::UnknownCoding(name.chars().take(40).collect())),
        });
        if codings.len() > MAX_CODINGS {
            return Err(ContentError::TooManyCodings);
        }
    }
    Ok(codings)
}

/// Undoes the content codings of a body. Without any, the bytes are borrowed.
///
/// # Errors
/// An unknown coding, damaged bytes, or output past the limits. Input that ends too early is no
/// error: [`Decoded::is_partial`].
pub fn decode<'a>(bytes: &'a [u8], content_encoding: &str, limits: Limits) -> Result<Decoded<'a>, ContentError> {
    let allowed = limits.output.min((bytes.len() as u64).saturating_mul(limits.ratio).max(FREE));
    let mut decoded = Decoded { bytes: Cow::Borrowed(bytes), is_partial: false };
    // The last coding was applied last, so it comes off first (RFC 9110 §8.4).
    for coding in codings(content_encoding)?.into_iter().rev() {
        // A message may name a coding and have no content at all (an answer to HEAD).
        if decoded.bytes.is_empty() {
            break;
        }
        let (output, is_partial) = undo(coding, &decoded.bytes, allowed)?;
        decoded = Decoded { bytes: Cow::Owned(output), is_partial: is_partial || decoded.is_partial };
    }
    Ok(decoded)
}

fn undo(coding: Coding, input: &[u8], allowed: u64) -> Result<(Vec<u8>, bool), ContentError> {
    match coding {
        Coding::Gzip => read_all(coding, flate2::read::MultiGzDecoder::new(input), allowed),
        // Meant is zlib (RFC 9110 §8.4.1.2); some senders leave its frame away.
        Coding::Deflate if is_zlib(input) => read_all(coding, flate2::read::ZlibDecoder::new(input), allowed),
        Coding::Deflate => read_all(coding, flate2::read::DeflateDecoder::new(input), allowed),
        Coding::Brotli => {
            // The library calls input that ends early invalid: what tells them apart is whether it
            // had asked for more.
            let ended = Cell::new(false);
            let buffer = input.len().clamp(512, 64 * 1024);
            let decoder = brotli::Decompressor::new(Ending { rest: input, ended: &ended }, buffer);
            read_all(coding, EarlyEnd { decoder, ended: &ended }, allowed)
        }
        Coding::Zstd => {
            let damaged =
                |error: io::Error| ContentError::Damaged { coding: coding.name(), problem: error.to_string() };
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(damaged)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(damaged)?;
            read_all(coding, decoder, allowed)
        }
    }
}

/// Input that tells when it was asked for more than there is.
struct Ending<'a> {
    rest: &'a [u8],
    ended: &'a Cell<bool>,
}

impl Read for Ending<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.rest.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            self.ended.set(true);
        }
        Ok(count)
    }
}

/// A decoder whose errors after the end of its input mean that the input is cut.
struct EarlyEnd<'a, R> {
    decoder: R,
    ended: &'a Cell<bool>,
}

impl<R: Read> Read for EarlyEnd<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.decoder
            .read(buffer)
            .map_err(|error| if self.ended.get() { io::Error::from(io::ErrorKind::UnexpectedEof) } else { error })
    }
}

/// Whether the first two bytes are a zlib header (RFC 1950 §2.2).
fn is_zlib(input: &[u8]) -> bool {
    match input {
        [method, flags, ..] => {
            method & 0x0f == 8 && method >> 4 <= 7 && (u16::from(*method) << 8 | u16::from(*flags)).is_multiple_of(31)
        }
        _ => false,
    }
}

/// All output of a decoder; with what came before it when the input ends too early.
fn read_all(coding: Coding, mut decoder: impl Read, allowed: u64) -> Result<(Vec<u8>, bool), ContentError> {
    let mut output = Vec::new();
    let mut buffer = vec![0; 32 * 1024];
    loop {
        match decoder.read(&mut buffer) {
            Ok(0) => return Ok((output, false)),
            Ok(count) => {
                work::done(count);
                output.extend_from_slice(&buffer[..count]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok((output, true)),
            Err(error) => return Err(ContentError::Damaged { coding: coding.name(), problem: error.to_string() }),
        }
        if output.len() as u64 > allowed {
            return Err(ContentError::TooLarge { limit: allowed });
        }
    }
}

/// Bytes as text for display: UTF-8 as it is, other bytes read as ISO 8859-1, so that nothing is lost.
#[must_use]
pub fn display_text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.iter().map(|&byte| char::from(byte)).collect()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use proptest::prelude::*;

    use super::*;

    fn encode(coding: &str, bytes: &[u8]) -> Vec<u8> {
        match coding {
            "gzip" => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(bytes).expect("writes");
                encoder.finish().expect("ends")
            }
            "deflate" => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(bytes).expect("writes");
                encoder.finish().expect("ends")
            }
            "raw" => {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(bytes).expect("writes");
                encoder.finish().expect("ends")
            }
            "br" => {
                let mut output = Vec::new();
                brotli::CompressorWriter::new(&mut output, 4096, 5, 20).write_all(bytes).expect("writes");
                output
            }
            _ => zstd::encode_all(bytes, 3).expect("encodes"),
        }
    }

    fn text() -> Vec<u8> {
        (0..20_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_string().into_bytes()).collect()
    }

    #[test]
    fn each_coding_and_chains() {
        let body = text();
        for (name, coding) in [
            ("gzip", "gzip"),
            ("X-GZIP", "gzip"),
            ("deflate", "deflate"),
            ("deflate", "raw"),
            ("br", "br"),
            ("zstd", "zstd"),
        ] {
            let encoded = encode(coding, &body);
            let decoded = decode(&encoded, name, Limits::default()).expect(name);
            assert!(decoded.bytes == body && !decoded.is_partial, "{name}");
        }
        let chained = encode("br", &encode("gzip", &body));
        assert!(decode(&chained, "gzip, identity, br", Limits::default()).expect("decodes").bytes == body);
        let plain = decode(b"abc", "identity", Limits::default()).expect("decodes");
        assert!(matches!(plain.bytes, Cow::Borrowed(b"abc")));
        let two_members = [encode("gzip", b"a"), encode("gzip", b"b")].concat();
        assert_eq!(&*decode(&two_members, "gzip", Limits::default()).expect("decodes").bytes, b"ab");
        assert!(decode(b"", "gzip", Limits::default()).expect("decodes").bytes.is_empty());
    }

    #[test]
    fn cut_bodies_give_their_beginning() {
        let body = text();
        for coding in ["gzip", "deflate", "br", "zstd"] {
            let encoded = encode(coding, &body);
            let decoded = decode(&encoded[..encoded.len() / 10 * 9], coding, Limits::default()).expect(coding);
            assert!(decoded.is_partial, "{coding}");
            assert!(!decoded.bytes.is_empty() && body.starts_with(&decoded.bytes), "{coding}");
        }
    }

    #[test]
    fn bombs_and_nonsense_are_refused() {
        let bomb = encode("gzip", &vec![0; 8 << 20]);
        assert!(matches!(
            decode(&bomb, "gzip", Limits { output: 4 << 20, ratio: 5000 }),
            Err(ContentError::TooLarge { limit: 4_194_304 })
        ));
        assert!(matches!(
            decode(&bomb, "gzip", Limits { ratio: 100, ..Limits::default() }),
            Err(ContentError::TooLarge { .. })
        ));
        assert!(matches!(decode(b"hello there", "gzip", Limits::default()), Err(ContentError::Damaged { .. })));
        assert!(matches!(decode(b"x", "compress", Limits::default()), Err(ContentError::UnknownCoding(_))));
        assert!(matches!(decode(b"x", &"gzip,".repeat(9), Limits::default()), Err(ContentError::TooManyCodings)));
    }

    /// What a bomb costs grows with what may come out of it, not with what would.
    #[test]
    fn a_bomb_costs_no_more_than_the_limit() {
        for coding in ["gzip", "deflate", "br", "zstd"] {
            let bomb = encode(coding, &vec![0; 24 << 20]);
            let cost = |output: u64| {
                let limits = Limits { output, ratio: u64::MAX };
                work::of(|| assert!(matches!(decode(&bomb, coding, limits), Err(ContentError::TooLarge { .. }))))
            };
            let (once, four_times) = (cost(4 << 20), cost(16 << 20));
            assert!((4 << 20..5 << 20).contains(&once), "{coding}: {once}");
            assert!(four_times < once * 5, "{coding}: {once}, {four_times}");
        }
    }

    #[test]
    fn display_loses_nothing() {
        assert_eq!(display_text("é".as_bytes()), "é");
        assert_eq!(display_text(b"caf\xe9"), "café");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for coding in ["gzip", "deflate", "br", "zstd"] {
                let _ = decode(&bytes, coding, Limits::default());
            }
        }
    }
}

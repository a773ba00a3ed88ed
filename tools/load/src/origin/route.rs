//! Paths and what they ask for. The query says nothing: it makes URLs differ.
//!
//! | path | answer |
//! |---|---|
//! | `/bytes/N` | N bytes of JSON, the same everywhere; `/` is `/bytes/600` |
//! | `/unique/N` | N bytes that begin with the request's id or target |
//! | `/random/MIN-MAX` | a size between both |
//! | `/echo` | the body of the request, with its type |
//! | `/delay/MS[/N]` | N bytes (default 600) after MS milliseconds |
//! | `/chunked/N[/SIZE]` | N bytes in chunks of SIZE (default 1024) |
//! | `/gzip/N`, `/br/N`, `/zstd/N` | N bytes, compressed |
//! | `/status/CODE` | that status, a small body |
//! | `/sse/COUNT[/MS]` | an event stream, an event every MS milliseconds (default 100) |
//! | `/ws` | a WebSocket that sends back each message |
//! | `/slow/N[/MS]` | N bytes in ten pieces, MS milliseconds apart (default 100) |
//! | `/reset` | the connection is reset |
//! | `/truncate/N` | N bytes are announced, half of them come |
//! | `/malformed` | something that is no HTTP |

use std::{
    cell::RefCell,
    collections::HashMap,
    io::Write as _,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;

use crate::wire::{content, parse_decimal};

/// Compressed bodies are made in memory: none larger than this.
const MOST_CODED: u64 = 16 << 20;
/// Compressed bodies kept ready.
const MOST_KEPT: usize = 64;
/// Longest pause.
const MOST_PAUSE_MS: u64 = 600_000;

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    /// gzip
    Gzip,
    /// Brotli
    Brotli,
    /// Zstandard
    Zstd,
}

impl Coding {
    /// Its token.
    #[must_use]
    pub const fn token(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }
}

/// What a path asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// So many bytes.
    Bytes(u64),
    /// So many bytes that tell the request.
    Unique(u64),
    /// The request's body.
    Echo,
    /// A pause, then so many bytes.
    Delay(Duration, u64),
    /// So many bytes in chunks of this size.
    Chunked(u64, usize),
    /// So many bytes, compressed.
    Coded(Coding, u64),
    /// A status.
    Status(u16),
    /// So many events with a pause between them.
    Events(u64, Duration),
    /// A WebSocket.
    WebSocket,
    /// So many bytes in pieces with a pause between them.
    Slow(u64, Duration),
    /// A reset.
    Reset,
    /// Half of so many bytes.
    Truncate(u64),
    /// No HTTP.
    Malformed,
    /// Nothing here.
    Unknown,
}

impl Route {
    /// What a request target asks for; in absolute form too.
    #[must_use]
    pub fn parse(target: &[u8]) -> Self {
        let target = match memchr::memmem::find(target, b"://") {
            Some(at) if target[0] != b'/' => {
                let rest = &target[at + 3..];
                &rest[memchr::memchr(b'/', rest).unwrap_or(rest.len())..]
            }
            _ => target,
        };
        let path = &target[..memchr::memchr2(b'?', b'#', target).unwrap_or(target.len())];
        if let Some(size) = path.strip_prefix(b"/bytes/") {
            return size_of(size).map_or(Self::Unknown, Self::Bytes);
        }
        let mut parts = path.split(|byte| *byte == b'/').skip(1);
        let (name, first, second) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        if parts.next().is_some() {
            return Self::Unknown;
        }
        Self::named(name, first, second).unwrap_or(Self::Unknown)
    }

    fn named(name: &[u8], first: Option<&[u8]>, second: Option<&[u8]>) -> Option<Self> {
        let pause = |text: &[u8]| parse_decimal(text).filter(|ms| *ms <= MOST_PAUSE_MS).map(Duration::from_millis);
        let pause_or = |default: u64| second.map_or(Some(Duration::from_millis(default)), pause);
        let size = || first.and_then(size_of);
        let coded = |coding| size().filter(|size| *size <= MOST_CODED).map(|size| Self::Coded(coding, size));
        match name {
            b"" if first.is_none() => Some(Self::Bytes(600)),
            b"unique" => size().map(Self::Unique),
            b"random" => random(first?).map(Self::Bytes),
            b"echo" => Some(Self::Echo),
            b"delay" => Some(Self::Delay(pause(first?)?, second.map_or(Some(600), size_of)?)),
            b"chunked" => {
                let chunk = second.map_or(Some(1024), size_of)?;
                Some(Self::Chunked(size()?, usize::try_from(chunk).ok()?.clamp(1, 1 << 20)))
            }
            b"gzip" => coded(Coding::Gzip),
            b"br" => coded(Coding::Brotli),
            b"zstd" => coded(Coding::Zstd),
            b"status" => Some(Self::Status(parse_decimal(first?).filter(|code| (200..1000).contains(code))? as u16)),
            b"sse" => Some(Self::Events(parse_decimal(first?)?, pause_or(100)?)),
            b"ws" => Some(Self::WebSocket),
            b"slow" => Some(Self::Slow(size()?, pause_or(100)?)),
            b"reset" => Some(Self::Reset),
            b"truncate" => size().map(Self::Truncate),
            b"malformed" => Some(Self::Malformed),
            _ => None,
        }
    }

    /// The media type of the answer.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Events(..) => "text/event-stream",
            Self::Status(_) | Self::Unknown | Self::Unique(_) => "text/plain",
            _ => "application/json",
        }
    }
}

fn size_of(text: &[u8]) -> Option<u64> {
    parse_decimal(text).filter(|size| *size <= content::MOST)
}

/// A size within a range; which one depends on how many came before.
fn random(range: &[u8]) -> Option<u64> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let at = memchr::memchr(b'-', range)?;
    let (least, most) = (size_of(&range[..at])?, size_of(&range[at + 1..])?);
    let span = most.checked_sub(least)? + 1;
    let mut number = COUNT.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    Some(least + (number ^ (number >> 27)) % span)
}

/// Fills `out` with `size` bytes that begin with what tells the request, and a blank.
pub(super) fn unique(out: &mut Vec<u8>, size: u64, id: Option<&[u8]>, target: &[u8]) {
    let start = out.len();
    let size = size as usize;
    let told = id.unwrap_or(target);
    out.extend_from_slice(&told[..told.len().min(size)]);
    out.resize(start + size, b' ');
}

/// Compressed bodies, made once a thread.
#[derive(Default)]
pub(super) struct Coded(RefCell<HashMap<(Coding, u64), Bytes>>);

impl Coded {
    pub(super) fn get(&self, coding: Coding, size: u64) -> Bytes {
        let mut kept = self.0.borrow_mut();
        if let Some(body) = kept.get(&(coding, size)) {
            return body.clone();
        }
        let body = Bytes::from(encode(coding, &content::body(size)));
        if kept.len() >= MOST_KEPT {
            kept.clear();
        }
        kept.insert((coding, size), body.clone());
        body
    }
}

fn encode(coding: Coding, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    // Writing into memory does not fail.
    let _ = match coding {
        Coding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(&mut out, flate2::Compression::fast());
            encoder.write_all(body).and_then(|()| encoder.finish().map(drop))
        }
        Coding::Brotli => {
            let mut encoder = brotli::CompressorWriter::new(&mut out, 64 << 10, 4, 20);
            encoder.write_all(body).and_then(|()| encoder.flush())
        }
        Coding::Zstd => zstd::stream::copy_encode(body, &mut out, 1),
    };
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let ms = Duration::from_millis;
        let cases: [(&str, Route); 18] = [
            ("/", Route::Bytes(600)),
            ("/?q", Route::Bytes(600)),
            ("/bytes/17?a=/b/c", Route::Bytes(17)),
            ("http://h:1/bytes/17", Route::Bytes(17)),
            ("/unique/64", Route::Unique(64)),
            ("/echo", Route::Echo),
            ("/delay/20", Route::Delay(ms(20), 600)),
            ("/delay/20/3", Route::Delay(ms(20), 3)),
            ("/chunked/100/7", Route::Chunked(100, 7)),
            ("/br/9", Route::Coded(Coding::Brotli, 9)),
            ("/status/503", Route::Status(503)),
            ("/sse/3", Route::Events(3, ms(100))),
            ("/slow/10/5", Route::Slow(10, ms(5))),
            ("/truncate/10", Route::Truncate(10)),
            ("/status/42", Route::Unknown),
            ("/bytes/99999999999", Route::Unknown),
            ("/nothing", Route::Unknown),
            ("/delay/1/2/3", Route::Unknown),
        ];
        for (path, expected) in cases {
            assert_eq!(Route::parse(path.as_bytes()), expected, "{path}");
        }
        for _ in 0..100 {
            assert!(matches!(Route::parse(b"/random/5-9"), Route::Bytes(5..=9)));
        }
    }

    #[test]
    fn codings_are_what_they_say() {
        let coded = Coded::default();
        for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
            let body = coded.get(coding, 5_000);
            let mut plain = Vec::new();
            match coding {
                Coding::Gzip => std::io::copy(&mut flate2::read::GzDecoder::new(&body[..]), &mut plain).map(drop),
                Coding::Brotli => std::io::copy(&mut brotli::Decompressor::new(&body[..], 4096), &mut plain).map(drop),
                Coding::Zstd => zstd::stream::copy_decode(&body[..], &mut plain),
            }
            .expect("decodes");
            assert_eq!(plain, content::body(5_000));
        }
    }
}

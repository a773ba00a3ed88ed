//! The bodies the origin sends: JSON text that depends on nothing but its size.

use std::sync::LazyLock;

/// Largest body that is asked of the origin.
pub const MOST: u64 = 1 << 30;
/// What lies ready to be copied.
const READY: usize = 64 << 10;
const BEGIN: &[u8] = b"{\"data\":\"";
const END: &[u8] = b"\"}";

static FILLING: LazyLock<Vec<u8>> =
    LazyLock::new(|| b"abcdefghijklmnopqrstuvwxyz0123456789".iter().copied().cycle().take(READY).collect());

/// Appends the piece of a body of `size` bytes that begins at `from`, at most `most` bytes; how many it was.
pub fn piece(out: &mut Vec<u8>, size: u64, from: u64, most: usize) -> usize {
    let wanted = usize::try_from(size.saturating_sub(from)).unwrap_or(usize::MAX).min(most);
    let framed = size >= (BEGIN.len() + END.len()) as u64;
    let start = out.len();
    let mut at = from;
    while out.len() - start < wanted {
        let left = wanted - (out.len() - start);
        if framed && at < BEGIN.len() as u64 {
            let part = &BEGIN[at as usize..];
            out.extend_from_slice(&part[..part.len().min(left)]);
        } else if framed && at >= size - END.len() as u64 {
            let part = &END[(at - (size - END.len() as u64)) as usize..];
            out.extend_from_slice(&part[..part.len().min(left)]);
        } else {
            let filled = if framed { size - END.len() as u64 } else { size };
            let offset = (at % 36) as usize;
            let room = usize::try_from(filled - at).unwrap_or(usize::MAX).min(READY - offset);
            out.extend_from_slice(&FILLING[offset..offset + room.min(left)]);
        }
        at = from + (out.len() - start) as u64;
    }
    wanted
}

/// A whole body.
#[must_use]
pub fn body(size: u64) -> Vec<u8> {
    let size = size.min(MOST);
    let mut out = Vec::with_capacity(size as usize);
    piece(&mut out, size, 0, usize::MAX);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_its_size_and_is_json() {
        for size in [0_u64, 1, 10, 11, 12, 600, 70_000, 200_001] {
            let body = body(size);
            assert_eq!(body.len() as u64, size);
            if size >= 11 {
                let value: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
                assert_eq!(value["data"].as_str().map(str::len), Some(size as usize - 11));
            }
        }
    }

    #[test]
    fn pieces_make_the_whole() {
        let whole = body(1_000);
        for step in [1, 7, 9, 333] {
            let mut out = Vec::new();
            while piece(&mut out, 1_000, 0, 0) == 0 && out.len() < 1_000 {
                let from = out.len() as u64;
                piece(&mut out, 1_000, from, step);
            }
            assert_eq!(out, whole, "step {step}");
        }
    }
}

//! Which bodies compression would not make smaller: they are stored as they are.
//!
//! In: a body and its content coding. Out: whether it is dense.

use weir_engine::record::Content;

/// Bytes looked at.
const SAMPLE: usize = 1_024;
/// Shorter bodies are compressed together with their neighbours, whatever they hold.
const SHORTEST: usize = 2_048;

/// Whether a body has been compressed already, by its coding or by the look of it.
pub(super) fn is_dense(content: &Content, encoding: Option<&[u8]>) -> bool {
    if content.len() < SHORTEST {
        return false;
    }
    let coded = |coding: &[u8]| !coding.trim_ascii().eq_ignore_ascii_case(b"identity");
    if encoding.is_some_and(coded) {
        return true;
    }
    // Most formats begin with tables and names: their middle tells.
    let Some(longest) = content.chunks().iter().max_by_key(|chunk| chunk.len()) else { return false };
    let middle = longest.len() / 2;
    let sample = &longest[middle.saturating_sub(SAMPLE / 2)..longest.len().min(middle + SAMPLE / 2)];
    sample.len() >= SAMPLE / 2 && looks_random(sample)
}

/// Whether all byte values come about equally often: by the pairs of equal bytes, of which random bytes have one in 256.
fn looks_random(sample: &[u8]) -> bool {
    let mut counts = [0_u32; 256];
    for byte in sample {
        counts[usize::from(*byte)] += 1;
    }
    let pairs: u64 = counts.iter().map(|count| u64::from(*count) * u64::from(count.saturating_sub(1))).sum();
    let all = sample.len() as u64 * (sample.len() as u64 - 1);
    pairs * 256 < all + all / 2
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 88_172_645_463_325_252_u64;
        std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .take(len)
        .collect()
    }

    #[test]
    fn noise_is_dense_and_text_is_not() {
        let content = |bytes: Vec<u8>| Content::from(Bytes::from(bytes));
        assert!(is_dense(&content(noise(100_000)), None));
        assert!(!is_dense(&content(noise(1_000)), None));
        let json = br#"{"id":17,"name":"somebody","tags":["a","b"],"at":"2026-01-02T03:04:05Z"}"#.repeat(100);
        assert!(!is_dense(&content(json.clone()), None));
        assert!(!is_dense(&content(json.clone()), Some(b"identity")));
        assert!(is_dense(&content(json), Some(b"gzip")));
        assert!(!is_dense(&content(b"0123456789abcdef".repeat(1_000)), None));
    }
}

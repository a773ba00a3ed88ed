//! What an image's first bytes say of it: its format and how large it is.

use crate::output::units;

/// Format, width and height; `None` where it is no image that is known.
pub(super) fn describe(bytes: &[u8]) -> Option<String> {
    let (format, size) = recognise(bytes)?;
    let size = size.map_or_else(String::new, |(width, height)| format!(", {width} × {height}"));
    Some(format!("{format} image{size}, {}", units::bytes(bytes.len() as u64)))
}

type Size = Option<(u32, u32)>;

fn recognise(bytes: &[u8]) -> Option<(&'static str, Size)> {
    let le16 = |at: usize| Some(u32::from(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?)));
    let le32 = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let be32 = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let pair = |width: Option<u32>, height: Option<u32>| width.zip(height);
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Some(("PNG", pair(be32(16), be32(20))));
    }
    if bytes.starts_with(b"GIF8") {
        return Some(("GIF", pair(le16(6), le16(8))));
    }
    if bytes.starts_with(b"\xff\xd8\xff") {
        return Some(("JPEG", jpeg(bytes)));
    }
    if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        return Some(("WebP", webp(bytes)));
    }
    if bytes.starts_with(b"BM") && bytes.len() > 26 {
        return Some(("BMP", pair(le32(18), le32(22).map(|height| height.cast_signed().unsigned_abs()))));
    }
    if bytes.starts_with(&[0, 0, 1, 0]) {
        let side = |at: usize| bytes.get(at).map(|side| if *side == 0 { 256 } else { u32::from(*side) });
        return Some(("icon", pair(side(6), side(7))));
    }
    match bytes.get(4..12) {
        Some(b"ftypavif" | b"ftypavis") => Some(("AVIF", None)),
        Some(b"ftypheic" | b"ftypheix" | b"ftypmif1") => Some(("HEIF", None)),
        _ if bytes.starts_with(b"II*\0") || bytes.starts_with(b"MM\0*") => Some(("TIFF", None)),
        _ => None,
    }
}

/// The size in the first frame header (ITU T.81 B.2.2).
fn jpeg(bytes: &[u8]) -> Size {
    let mut rest = bytes.get(2..)?;
    loop {
        let [0xff, marker, after @ ..] = rest else { return None };
        let be = |at: usize| Some(u32::from(u16::from_be_bytes(after.get(at..at + 2)?.try_into().ok()?)));
        match marker {
            0xff => rest = &rest[1..],
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => return be(5).zip(be(3)),
            0xd8 | 0x01 | 0xd0..=0xd7 => rest = after,
            _ => rest = after.get(be(0)? as usize..)?,
        }
    }
}

/// The three forms of a WebP file's first chunk.
fn webp(bytes: &[u8]) -> Size {
    let byte = |at: usize| bytes.get(at).map(|byte| u32::from(*byte));
    match bytes.get(12..16)? {
        b"VP8X" => {
            let side = |at: usize| Some(1 + (byte(at)? | byte(at + 1)? << 8 | byte(at + 2)? << 16));
            side(24).zip(side(27))
        }
        b"VP8L" => {
            let bits = byte(21)? | byte(22)? << 8 | byte(23)? << 16 | byte(24)? << 24;
            Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        }
        b"VP8 " => {
            let side = |at: usize| Some((byte(at)? | byte(at + 1)? << 8) & 0x3fff);
            side(26).zip(side(28))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_and_sizes() {
        let png = [&b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR"[..], &[0, 0, 2, 0x80, 0, 0, 1, 0xe0]].concat();
        assert_eq!(describe(&png).as_deref(), Some("PNG image, 640 × 480, 24 B"));
        assert_eq!(recognise(b"GIF89a\x02\0\x03\0"), Some(("GIF", Some((2, 3)))));
        let jpeg = [&[0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 2][..], &[0xff, 0xc0, 0, 11, 8, 0, 5, 0, 7]].concat();
        assert_eq!(recognise(&jpeg), Some(("JPEG", Some((7, 5)))));
        let webp = [&b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0"[..], &[9, 0, 0, 19, 0, 0]].concat();
        assert_eq!(recognise(&webp), Some(("WebP", Some((10, 20)))));
        assert_eq!(describe(b"no image"), None);
        assert_eq!(recognise(b"\xff\xd8\xff"), Some(("JPEG", None)));
    }
}

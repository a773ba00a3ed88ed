//! WebSocket frames (RFC 6455 §5) as the origin reads and answers them.

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD};

/// Payload of a frame that is borne.
pub(crate) const MOST_PAYLOAD: u64 = 16 << 20;

/// A frame of a client, unmasked in place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// FIN, reserved bits and opcode as they came.
    pub(crate) first: u8,
    /// Bytes of the whole frame.
    pub(crate) length: usize,
    /// Where the payload begins in it.
    pub(crate) payload: usize,
}

impl Frame {
    /// The opcode.
    pub(crate) fn opcode(&self) -> u8 {
        self.first & 0x0f
    }
}

/// The value of Sec-WebSocket-Accept.
pub(crate) fn accept(key: &[u8]) -> String {
    let mut text = key.to_vec();
    text.extend_from_slice(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &text))
}

/// The frame at the start of `bytes`, its payload unmasked there. `None`: not all of it has come. An error: larger than is borne.
pub(crate) fn read(bytes: &mut [u8]) -> Result<Option<Frame>, ()> {
    let [first, second, rest @ ..] = &*bytes else { return Ok(None) };
    let (first, masked) = (*first, second & 0x80 != 0);
    let (size, mut at) = match second & 0x7f {
        126 => match rest.first_chunk() {
            Some(size) => (u64::from(u16::from_be_bytes(*size)), 4),
            None => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(size) => (u64::from_be_bytes(*size), 10),
            None => return Ok(None),
        },
        size => (u64::from(size), 2),
    };
    if size > MOST_PAYLOAD {
        return Err(());
    }
    let mask: Option<[u8; 4]> = bytes.get(at..).and_then(|rest| rest.first_chunk().copied()).filter(|_| masked);
    if masked {
        at += 4;
    }
    let length = at + size as usize;
    if bytes.len() < length {
        return Ok(None);
    }
    if let Some(mask) = mask {
        bytes[at..length].iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    }
    Ok(Some(Frame { first, length, payload: at }))
}

/// Appends a frame of a server.
pub(crate) fn push(out: &mut Vec<u8>, first: u8, payload: &[u8]) {
    out.push(first);
    match payload.len() {
        size @ 0..126 => out.push(size as u8),
        size @ 126..0x1_0000 => {
            out.push(126);
            out.extend_from_slice(&(size as u16).to_be_bytes());
        }
        size => {
            out.push(127);
            out.extend_from_slice(&(size as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let mut hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        for cut in 0..hello.len() {
            assert_eq!(read(&mut { hello }[..cut]), Ok(None));
        }
        assert_eq!(read(&mut hello), Ok(Some(Frame { first: 0x81, length: 11, payload: 6 })));
        assert_eq!(&hello[6..], b"Hello");
    }

    #[test]
    fn reads_what_it_writes() {
        for size in [0, 125, 126, 65_535, 65_536] {
            let mut out = Vec::new();
            push(&mut out, 0x82, &vec![7; size]);
            let frame = read(&mut out).expect("within bounds").expect("whole");
            assert_eq!((frame.length, frame.length - frame.payload, frame.opcode()), (out.len(), size, 2));
        }
        assert_eq!(read(&mut [0x82, 127, 1, 0, 0, 0, 0, 0, 0, 0]), Err(()));
    }
}

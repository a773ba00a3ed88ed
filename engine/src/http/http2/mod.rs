//! HTTP/2 (RFC 9113) as it passes by: one direction's frames, with HPACK (RFC 7541) by `loona-hpack`.
//!
//! In: bytes of one direction behind (or with) the preface, and gaps. Out: events by stream. A gap inside
//! the payload of DATA is bridged by its length; anywhere else the compression state is lost, and with it
//! the rest of the direction.

use loona_hpack::Decoder;

use super::sniff::HTTP2_PREFACE;

/// Bytes of a frame that must be gathered (all but DATA) at most.
const MAX_GATHERED: usize = 1 << 20;
/// Bytes of a decoded field section at most; what is beyond is left out.
const MAX_FIELDS: usize = 1 << 20;
/// Bytes a dynamic table may be told to hold.
const MAX_TABLE: usize = 1 << 20;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PUSH_PROMISE: u8 = 5;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 0x01;
const END_HEADERS: u8 = 0x04;
const PADDED: u8 = 0x08;
const PRIORITY: u8 = 0x20;

/// A field section: names and values.
pub(crate) type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// What happened on a stream.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// A field section: a head, or trailers.
    Headers { stream: u32, fields: Fields, end: bool },
    /// Bytes of a body.
    Data { stream: u32, bytes: &'a [u8] },
    /// Bytes of a body that are lost.
    DataGap { stream: u32, len: u64 },
    /// The body ended.
    End { stream: u32 },
    /// A request the server answers unasked, on the promised stream.
    Promise { promised: u32, fields: Fields },
    /// The stream was reset.
    Reset { stream: u32 },
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    /// Payload bytes left.
    left: usize,
    /// Of them padding at the end; known once the pad length was read.
    padding: usize,
    pad_length_due: bool,
}

#[derive(Debug)]
struct Block {
    stream: u32,
    promised: Option<u32>,
    end_stream: bool,
    bytes: Vec<u8>,
}

/// One direction.
pub(crate) struct Http2Half {
    preface_left: usize,
    header: Vec<u8>,
    frame: Option<Frame>,
    payload: Vec<u8>,
    block: Option<Block>,
    hpack: Decoder<'static>,
    lost: bool,
}

impl std::fmt::Debug for Http2Half {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http2Half").field("frame", &self.frame).field("lost", &self.lost).finish_non_exhaustive()
    }
}

impl Http2Half {
    /// `preface`: whether the client's preface stands before the frames.
    pub(crate) fn new(preface: bool) -> Self {
        let mut hpack = Decoder::new();
        hpack.set_max_allowed_table_size(MAX_TABLE);
        let preface_left = if preface { HTTP2_PREFACE.len() } else { 0 };
        let (header, payload) = (Vec::with_capacity(9), Vec::new());
        Self { preface_left, header, frame: None, payload, block: None, hpack, lost: false }
    }

    /// Takes bytes. `false`: this is not HTTP/2, or the way was lost.
    pub(crate) fn push(&mut self, mut bytes: &[u8], sink: &mut dyn FnMut(Event<'_>)) -> bool {
        while !bytes.is_empty() && !self.lost {
            if self.preface_left > 0 {
                let at = HTTP2_PREFACE.len() - self.preface_left;
                self.lost = bytes[0] != HTTP2_PREFACE[at];
                self.preface_left -= 1;
                bytes = &bytes[1..];
            } else if self.frame.is_some() {
                self.payload(&mut bytes, sink);
            } else {
                let len = bytes.len().min(9 - self.header.len());
                self.header.extend_from_slice(&bytes[..len]);
                bytes = &bytes[len..];
                if self.header.len() == 9 {
                    self.begin_frame(sink);
                }
            }
        }
        !self.lost
    }

    fn begin_frame(&mut self, sink: &mut dyn FnMut(Event<'_>)) {
        let Some(&[a, b, c, kind, flags, s1, s2, s3, s4]) = self.header.first_chunk() else { return };
        self.header.clear();
        let left = u32::from_be_bytes([0, a, b, c]) as usize;
        let stream = u32::from_be_bytes([s1 & 0x7f, s2, s3, s4]);
        let pad_length_due = kind == DATA && flags & PADDED != 0 && left > 0;
        // A field block is not interrupted (RFC 9113 §6.10).
        let in_block = self.block.as_ref().is_some_and(|block| kind != CONTINUATION || block.stream != stream);
        if in_block || kind != DATA && left > MAX_GATHERED {
            self.lost = true;
            return;
        }
        self.frame = Some(Frame { kind, flags, stream, left, padding: 0, pad_length_due });
        self.payload.clear();
        if left == 0 {
            self.end_frame(sink);
        }
    }

    fn payload(&mut self, bytes: &mut &[u8], sink: &mut dyn FnMut(Event<'_>)) {
        let Some(frame) = &mut self.frame else { return };
        if frame.pad_length_due {
            frame.pad_length_due = false;
            frame.padding = usize::from(bytes[0]);
            frame.left -= 1;
            *bytes = &bytes[1..];
            self.lost = frame.padding > frame.left;
        }
        let len = frame.left.min(bytes.len());
        let (part, rest) = bytes.split_at(len);
        *bytes = rest;
        if frame.kind == DATA {
            let data = frame.left.saturating_sub(frame.padding).min(len);
            if data > 0 {
                sink(Event::Data { stream: frame.stream, bytes: &part[..data] });
            }
        } else {
            self.payload.extend_from_slice(part);
        }
        frame.left -= len;
        if frame.left == 0 {
            self.end_frame(sink);
        }
    }

    fn end_frame(&mut self, sink: &mut dyn FnMut(Event<'_>)) {
        let Some(frame) = self.frame.take() else { return };
        let Frame { kind, flags, stream, .. } = frame;
        match kind {
            DATA if flags & END_STREAM != 0 => sink(Event::End { stream }),
            HEADERS | PUSH_PROMISE => {
                let Some((promised, fragment)) = unwrap_block(&self.payload, kind, flags) else {
                    self.lost = true;
                    return;
                };
                let end_stream = kind == HEADERS && flags & END_STREAM != 0;
                self.block = Some(Block { stream, promised, end_stream, bytes: fragment.to_vec() });
            }
            CONTINUATION => match &mut self.block {
                Some(block) if block.bytes.len() + self.payload.len() <= MAX_GATHERED => {
                    block.bytes.extend_from_slice(&self.payload);
                }
                _ => self.lost = true,
            },
            RST_STREAM => sink(Event::Reset { stream }),
            _ => {}
        }
        if matches!(kind, HEADERS | PUSH_PROMISE | CONTINUATION) && flags & END_HEADERS != 0 {
            self.end_block(sink);
        }
    }

    fn end_block(&mut self, sink: &mut dyn FnMut(Event<'_>)) {
        let Some(block) = self.block.take() else { return };
        let (mut fields, mut size) = (Fields::new(), 0);
        let decoded = self.hpack.decode_with_cb(&block.bytes, |name, value| {
            size += name.len() + value.len() + 32;
            if size <= MAX_FIELDS {
                fields.push((name.into_owned(), value.into_owned()));
            }
        });
        if decoded.is_err() {
            self.lost = true;
        } else if let Some(promised) = block.promised {
            sink(Event::Promise { promised, fields });
        } else {
            sink(Event::Headers { stream: block.stream, fields, end: block.end_stream });
        }
    }

    /// Bytes are lost.
    pub(crate) fn gap(&mut self, len: u64, sink: &mut dyn FnMut(Event<'_>)) -> bool {
        match &mut self.frame {
            Some(frame) if frame.kind == DATA && !frame.pad_length_due && len <= frame.left as u64 => {
                let data = (frame.left.saturating_sub(frame.padding) as u64).min(len);
                sink(Event::DataGap { stream: frame.stream, len: data });
                frame.left -= len as usize;
                if frame.left == 0 {
                    self.end_frame(sink);
                }
            }
            _ => self.lost = true,
        }
        !self.lost
    }
}

/// Padding and priority taken off; the promised stream of PUSH_PROMISE.
fn unwrap_block(payload: &[u8], kind: u8, flags: u8) -> Option<(Option<u32>, &[u8])> {
    let mut fragment = payload;
    if flags & PADDED != 0 {
        let (padding, rest) = fragment.split_first()?;
        fragment = rest.get(..rest.len().checked_sub(usize::from(*padding))?)?;
    }
    if kind == PUSH_PROMISE {
        let (promised, rest) = fragment.split_first_chunk::<4>()?;
        return Some((Some(u32::from_be_bytes(*promised) & 0x7fff_ffff), rest));
    }
    if flags & PRIORITY != 0 {
        fragment = fragment.get(5..)?;
    }
    Some((None, fragment))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        out.extend([kind, flags]);
        out.extend(stream.to_be_bytes());
        out.extend(payload);
        out
    }

    fn events(half: &mut Http2Half, bytes: &[u8], step: usize) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        for part in bytes.chunks(step) {
            half.push(part, &mut |event| match event {
                Event::Data { stream, bytes } => out.push(format!("{stream} {}", String::from_utf8_lossy(bytes))),
                Event::Headers { stream, fields, end } => {
                    let names: Vec<_> = fields.iter().map(|(name, _)| String::from_utf8_lossy(name)).collect();
                    out.push(format!("{stream} {} {end}", names.join(",")));
                }
                Event::End { stream } => out.push(format!("{stream} end")),
                other => out.push(format!("{other:?}")),
            });
        }
        out
    }

    #[test]
    fn frames_in_any_cut() {
        let bytes = [
            HTTP2_PREFACE.to_vec(),
            frame(4, 0, 0, &[]),
            frame(HEADERS, END_HEADERS | PADDED | PRIORITY, 1, &[1, 0, 0, 0, 0, 9, 0x82, 0x84, 0]),
            frame(HEADERS, 0, 3, &[0x82]),
            frame(CONTINUATION, END_HEADERS, 3, &[0x84]),
            frame(DATA, END_STREAM | PADDED, 1, &[2, b'h', b'i', 0, 0]),
        ]
        .concat();
        let expected = ["1 :method,:path false", "3 :method,:path false", "1 hi", "1 end"];
        assert_eq!(events(&mut Http2Half::new(true), &bytes, bytes.len()), expected);
        assert_eq!(events(&mut Http2Half::new(true), &bytes, 1).len(), 5);
    }

    /// A small block that names a long field again and again, and tables beyond the bound.
    #[test]
    fn field_blocks_that_blow_up_stay_bounded() {
        let mut half = Http2Half::new(false);
        // Literal with indexing, name "a", a value of 3 000 bytes; then the entry it made, 65 000 times.
        let mut block = vec![0x40, 1, b'a', 0x7f, 0xb9, 0x16];
        block.extend([b'v'; 3_000]);
        block.extend(vec![0xbe; 65_000]);
        let mut size = 0;
        let went_on = half.push(&frame(HEADERS, END_HEADERS, 1, &block), &mut |event| {
            if let Event::Headers { fields, .. } = event {
                size = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
            }
        });
        assert!(went_on && size > 3_000 && size <= MAX_FIELDS, "{size}");
        // A dynamic table of 2^27 bytes is refused; so is a block over the bound.
        let mut half = Http2Half::new(false);
        assert!(!half.push(&frame(HEADERS, END_HEADERS, 1, &[0x3f, 0xe1, 0xff, 0xff, 0x3f]), &mut |_| {}));
        let mut half = Http2Half::new(false);
        assert!(!half.push(&frame(HEADERS, 0, 1, &vec![0; MAX_GATHERED + 1]), &mut |_| {}));
    }

    #[test]
    fn bridges_gaps_in_data_only() {
        let mut half = Http2Half::new(false);
        let data = frame(DATA, END_STREAM, 1, b"0123456789");
        assert_eq!(events(&mut half, &data[..11], 99), ["1 01"]);
        let mut seen = 0;
        assert!(half.gap(3, &mut |event| seen += u32::from(matches!(event, Event::DataGap { len: 3, .. }))));
        assert_eq!(seen, 1);
        assert_eq!(events(&mut half, &data[14..], 99), ["1 56789", "1 end"]);
        assert!(!half.gap(1, &mut |_| {}));
    }
}

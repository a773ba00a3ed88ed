//! The wire form of protocol buffers, without a schema: field numbers, and what each value may be.

use std::fmt::Write;

/// How deep messages are looked for in messages.
const DEEPEST: usize = 12;
/// Fields shown at most.
const MOST_FIELDS: usize = 10_000;
/// Bytes of a field that is neither text nor message, in hexadecimal.
const MOST_HEX: usize = 64;

/// A value on the wire.
enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
    Group(Vec<(u32, Wire<'a>)>),
}

/// A line for each field; `None` where the bytes are no message.
pub(super) fn message(bytes: &[u8]) -> Option<String> {
    let fields = parse(bytes, &mut 0)?;
    let mut out = String::new();
    show(&fields, 0, &mut out);
    Some(out.trim_end().to_owned())
}

/// The messages of a gRPC body: a flag, a length, a message, again and again.
pub(super) fn grpc(bytes: &[u8]) -> Option<String> {
    let mut out = String::new();
    let mut rest = bytes;
    let mut number = 0;
    while !rest.is_empty() {
        let (head, after) = rest.split_first_chunk::<5>()?;
        let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        number += 1;
        let whole = after.get(..len);
        let bytes = whole.unwrap_or(after);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "message {number} ({len} bytes{})", if head[0] & 1 == 1 { ", compressed" } else { "" });
        match (head[0], message(bytes)) {
            // Trailers of gRPC-Web.
            (flags, _) if flags & 0x80 != 0 => out.push_str(&String::from_utf8_lossy(bytes)),
            (0, Some(text)) => out.push_str(&text),
            _ => out.push_str(&hex(bytes)),
        }
        out.push_str("\n\n");
        rest = if whole.is_some() { &after[len..] } else { &[] };
    }
    Some(out.trim_end().to_owned()).filter(|out| !out.is_empty())
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f).checked_shl(shift)?;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn parse<'a>(mut bytes: &'a [u8], count: &mut usize) -> Option<Vec<(u32, Wire<'a>)>> {
    fields(&mut bytes, None, 0, count)
}

/// Fields until the end of the bytes, or of the group.
fn fields<'a>(
    bytes: &mut &'a [u8],
    group: Option<u32>,
    depth: usize,
    count: &mut usize,
) -> Option<Vec<(u32, Wire<'a>)>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(bytes)?;
        let number = u32::try_from(key >> 3).ok().filter(|number| (1..1 << 29).contains(number))?;
        *count += 1;
        if *count > MOST_FIELDS {
            return None;
        }
        let value = match key & 7 {
            0 => Wire::Varint(varint(bytes)?),
            1 => {
                let (value, rest) = bytes.split_first_chunk()?;
                *bytes = rest;
                Wire::Fixed64(u64::from_le_bytes(*value))
            }
            2 => {
                let len = usize::try_from(varint(bytes)?).ok()?;
                let value = bytes.get(..len)?;
                *bytes = &bytes[len..];
                Wire::Bytes(value)
            }
            3 if depth < DEEPEST => Wire::Group(fields(bytes, Some(number), depth + 1, count)?),
            4 => return (group == Some(number)).then_some(found),
            5 => {
                let (value, rest) = bytes.split_first_chunk()?;
                *bytes = rest;
                Wire::Fixed32(u32::from_le_bytes(*value))
            }
            _ => return None,
        };
        found.push((number, value));
    }
    group.is_none().then_some(found)
}

fn show(fields: &[(u32, Wire<'_>)], depth: usize, out: &mut String) {
    for (number, value) in fields {
        out.extend(std::iter::repeat_n("  ", depth));
        let _ = match value {
            Wire::Varint(value) => writeln!(out, "{number}: {value}"),
            Wire::Fixed64(value) => {
                writeln!(out, "{number}: {value} (64 bits, as a double {})", f64::from_bits(*value))
            }
            Wire::Fixed32(value) => {
                writeln!(out, "{number}: {value} (32 bits, as a float {})", f32::from_bits(*value))
            }
            Wire::Group(inner) => {
                let _ = writeln!(out, "{number} {{");
                show(inner, depth + 1, out);
                out.extend(std::iter::repeat_n("  ", depth));
                writeln!(out, "}}")
            }
            Wire::Bytes(bytes) => {
                show_bytes(*number, bytes, depth, out);
                Ok(())
            }
        };
    }
}

/// Text where it is printable, else a message where it is one, else bytes.
fn show_bytes(number: u32, bytes: &[u8], depth: usize, out: &mut String) {
    let printable = |text: &&str| text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t' | '\r'));
    if let Some(text) = std::str::from_utf8(bytes).ok().filter(printable) {
        let _ = writeln!(out, "{number}: {text:?}");
        return;
    }
    let inner = if depth < DEEPEST { parse(bytes, &mut 0) } else { None };
    match inner.filter(|fields| !fields.is_empty()) {
        Some(fields) => {
            let _ = writeln!(out, "{number} {{");
            show(&fields, depth + 1, out);
            out.extend(std::iter::repeat_n("  ", depth));
            let _ = writeln!(out, "}}");
        }
        None => {
            let _ = writeln!(out, "{number}: {}", hex(bytes));
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text: String = bytes.iter().take(MOST_HEX).map(|byte| format!("{byte:02x}")).collect();
    if bytes.len() > MOST_HEX {
        text.push_str(&format!("… ({} bytes)", bytes.len()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_each_wire_type() {
        let bytes = [
            &[0x08, 0x96, 0x01][..],
            &[0x12, 4, b't', b'e', b's', b't'],
            &[0x1a, 3, 0x08, 0x96, 0x01],
            &[0x25, 0, 0, 0x80, 0x3f],
            &[0x29, 0, 0, 0, 0, 0, 0, 0, 0x40],
            &[0x33, 0x08, 0x01, 0x34],
            &[0x3a, 2, 0xff, 0xff],
        ]
        .concat();
        let expected = "1: 150\n2: \"test\"\n3 {\n  1: 150\n}\n4: 1065353216 (32 bits, as a float 1)\n\
            5: 4611686018427387904 (64 bits, as a double 2)\n6 {\n  1: 1\n}\n7: ffff";
        assert_eq!(message(&bytes).as_deref(), Some(expected));
        assert_eq!(message(b"hello world"), None);
        assert_eq!(message(&[0x0a, 200, 1]), None);
    }

    #[test]
    fn grpc_frames() {
        let shown = grpc(&[0, 0, 0, 0, 2, 0x08, 1, 0, 0, 0, 0, 2, 0x08, 2]).expect("frames");
        assert_eq!(shown, "message 1 (2 bytes)\n1: 1\n\nmessage 2 (2 bytes)\n1: 2");
        assert_eq!(grpc(&[0, 0]), None);
    }
}

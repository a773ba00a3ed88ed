//! Bytes that are no text, as offset, hexadecimal and ASCII.

use std::io::{self, Write};

/// Writes 16 bytes a line.
pub(crate) fn dump(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    for (index, line) in bytes.chunks(16).enumerate() {
        write!(out, "{:08x} ", index * 16)?;
        for position in 0..16 {
            let gap = if position == 8 { "  " } else { " " };
            match line.get(position) {
                Some(byte) => write!(out, "{gap}{byte:02x}")?,
                None => write!(out, "{gap}  ")?,
            }
        }
        let ascii: String =
            line.iter().map(|&byte| if (0x20..0x7f).contains(&byte) { char::from(byte) } else { '.' }).collect();
        writeln!(out, "  {ascii}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn as_hexdump_does() {
        let mut out = Vec::new();
        super::dump(&mut out, b"0123456789abcdef\x00\xffA").expect("writes");
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "00000000  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  0123456789abcdef\n\
             00000010  00 ff 41                                          ..A\n"
        );
    }
}

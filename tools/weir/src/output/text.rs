//! Text that fits a terminal: width in columns, ellipsis, and nothing a captured byte could do to it.
//!
//! In: any string, also hostile ones from the network. Out: printable text of a known width.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Where a text that is too long loses its characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// At the end: names, words.
    End,
    /// In the middle: URLs and paths, whose end tells as much as their beginning.
    Middle,
}

/// Columns the text takes on a terminal.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// The text with control characters (escape sequences, line breaks, bidirectional overrides) shown as
/// `\x1b`, so that what an app sent cannot steer the terminal.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_steering) { Cow::Owned(escape(text, |_| false)) } else { Cow::Borrowed(text) }
}

/// As [`one_line`], but line breaks and tabs stay: for bodies.
pub(crate) fn many_lines(text: &str) -> Cow<'_, str> {
    let keep = |c: char| matches!(c, '\n' | '\t');
    if text.chars().any(|c| is_steering(c) && !keep(c)) {
        Cow::Owned(escape(&text.replace("\r\n", "\n"), keep))
    } else {
        Cow::Borrowed(text)
    }
}

fn is_steering(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escape(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if keep(c) || !is_steering(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x100 => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
        }
    }
    out
}

/// The text cut to at most `columns`, with `…` where something was left out.
pub(crate) fn fit(text: &str, columns: usize, cut: Cut) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    if columns == 0 {
        return Cow::Borrowed("");
    }
    let room = columns - 1;
    let (head_room, tail_room) = match cut {
        Cut::End => (room, 0),
        Cut::Middle => (room.div_ceil(2), room / 2),
    };
    let head = take(text.chars(), head_room);
    let tail: String = take(text.chars().rev(), tail_room).chars().rev().collect();
    Cow::Owned(format!("{head}…{tail}"))
}

fn take(chars: impl Iterator<Item = char>, columns: usize) -> String {
    let mut used = 0;
    chars
        .take_while(|c| {
            used += c.width().unwrap_or(0);
            used <= columns
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_to_columns_not_characters() {
        assert_eq!(fit("short", 5, Cut::End), "short");
        assert_eq!(fit("longer text", 6, Cut::End), "longe…");
        assert_eq!(fit("/api/v1/users/17/orders", 11, Cut::Middle), "/api/…rders");
        assert_eq!(fit("日本語テキスト", 7, Cut::End), "日本語…");
        assert_eq!(width(&fit("日本語テキスト", 8, Cut::Middle)), 7);
        assert_eq!(fit("x", 0, Cut::End), "");
    }

    #[test]
    fn captured_bytes_cannot_steer_the_terminal() {
        assert_eq!(one_line("a\x1b[2Jb\nc"), "a\\x1b[2Jb\\nc");
        assert_eq!(one_line("plain – text"), "plain – text");
        assert_eq!(many_lines("a\r\n\tb\x07"), "a\n\tb\\x07");
        assert_eq!(one_line("\u{202e}txt"), "\\u{202e}txt");
    }
}

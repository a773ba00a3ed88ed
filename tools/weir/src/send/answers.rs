//! Two answers compared: status, header lines, body.
//!
//! In: two rows with their bodies made readable. Out: what differs, as a document and as lines.

use serde::Serialize;
use weir_storage::{ExchangeRow, query::HeaderLine};

/// Fields that differ from answer to answer and say nothing.
const VOLATILE: [&str; 5] = ["age", "connection", "date", "keep-alive", "transfer-encoding"];
/// Lines of each body that are compared line by line at most.
const MOST_LINES: usize = 2_000;

/// What differs between two answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Differences {
    /// Captured and sent, where they differ.
    pub(crate) status: Option<(Option<u16>, Option<u16>)>,
    /// Lines with `-` (captured), `+` (sent).
    pub(crate) headers: Vec<String>,
    /// Lines with `-`, `+` and a blank for those around; one that says so where bodies are no text.
    pub(crate) body: Vec<String>,
}

impl Differences {
    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.status.is_none() && self.headers.is_empty() && self.body.is_empty()
    }
}

/// A body to be compared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Comparable<'a> {
    /// Its bytes without content coding.
    pub(crate) bytes: &'a [u8],
    /// Made readable, where it can be.
    pub(crate) text: Option<&'a str>,
}

/// Compares the captured answer with the one that came now.
pub(crate) fn compare(before: (&ExchangeRow, Comparable<'_>), after: (&ExchangeRow, Comparable<'_>)) -> Differences {
    let status = (before.0.status, after.0.status);
    Differences {
        status: (status.0 != status.1).then_some(status),
        headers: headers(&before.0.response_headers, &after.0.response_headers),
        body: bodies(before.1, after.1),
    }
}

fn headers(before: &[HeaderLine], after: &[HeaderLine]) -> Vec<String> {
    let lines = |lines: &[HeaderLine]| -> Vec<String> {
        let told = lines.iter().filter(|line| !VOLATILE.iter().any(|name| line.name.eq_ignore_ascii_case(name)));
        let mut lines: Vec<String> =
            told.map(|line| format!("{}: {}", line.name.to_ascii_lowercase(), line.value)).collect();
        lines.sort();
        lines
    };
    let (before, after) = (lines(before), lines(after));
    changed(&diff(&before, &after))
}

fn bodies(before: Comparable<'_>, after: Comparable<'_>) -> Vec<String> {
    if before.bytes == after.bytes {
        return Vec::new();
    }
    let (Some(first), Some(second)) = (before.text, after.text) else {
        return vec![format!("~ the bodies differ: {} and {} bytes", before.bytes.len(), after.bytes.len())];
    };
    if first == second {
        return Vec::new();
    }
    let (first, second): (Vec<&str>, Vec<&str>) = (first.lines().collect(), second.lines().collect());
    if first.len().max(second.len()) > MOST_LINES {
        return vec![format!("~ the bodies differ: {} and {} lines", first.len(), second.len())];
    }
    let lines = changed(&diff(&first, &second));
    if lines.is_empty() { vec!["~ the bodies differ in line breaks only".to_owned()] } else { lines }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    Same(&'a str),
    Gone(&'a str),
    New(&'a str),
}

/// The lines that changed, and one around each.
fn changed(lines: &[Line<'_>]) -> Vec<String> {
    let is_change = |place: Option<usize>| {
        place.and_then(|place| lines.get(place)).is_some_and(|line| !matches!(line, Line::Same(_)))
    };
    let shown = |(place, line): (usize, &Line<'_>)| match line {
        Line::Gone(text) => Some(format!("- {text}")),
        Line::New(text) => Some(format!("+ {text}")),
        Line::Same(text) if is_change(place.checked_sub(1)) || is_change(Some(place + 1)) => Some(format!("  {text}")),
        Line::Same(_) => None,
    };
    lines.iter().enumerate().filter_map(shown).collect()
}

/// The longest common subsequence, by the textbook's table; what is alike at both ends stays out of it.
fn diff<'a, T: AsRef<str>>(before: &'a [T], after: &'a [T]) -> Vec<Line<'a>> {
    let alike = |(a, b): &(&T, &T)| a.as_ref() == b.as_ref();
    let start = before.iter().zip(after).take_while(alike).count();
    let rest = before.len().min(after.len()) - start;
    let end = before.iter().rev().zip(after.iter().rev()).take(rest).take_while(alike).count();
    let (a, b) = (&before[start..before.len() - end], &after[start..after.len() - end]);
    let width = b.len() + 1;
    let mut table = vec![0_u32; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            table[i * width + j] = if a[i].as_ref() == b[j].as_ref() {
                table[(i + 1) * width + j + 1] + 1
            } else {
                table[(i + 1) * width + j].max(table[i * width + j + 1])
            };
        }
    }
    let mut lines: Vec<Line<'a>> = before[..start].iter().map(|line| Line::Same(line.as_ref())).collect();
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i].as_ref() == b[j].as_ref() {
            lines.push(Line::Same(a[i].as_ref()));
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || (i < a.len() && table[(i + 1) * width + j] >= table[i * width + j + 1]) {
            lines.push(Line::Gone(a[i].as_ref()));
            i += 1;
        } else {
            lines.push(Line::New(b[j].as_ref()));
            j += 1;
        }
    }
    lines.extend(before[before.len() - end..].iter().map(|line| Line::Same(line.as_ref())));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(before: &str, after: &str) -> Vec<String> {
        let body = |text: &'static str| Comparable { bytes: text.as_bytes(), text: Some(text) };
        bodies(body(before.to_owned().leak()), body(after.to_owned().leak()))
    }

    #[test]
    fn bodies_line_by_line() {
        assert!(compared("a\nb", "a\nb").is_empty());
        assert_eq!(
            compared("{\n  \"a\": 1,\n  \"b\": 2\n}", "{\n  \"a\": 3,\n  \"b\": 2\n}"),
            ["  {", "-   \"a\": 1,", "+   \"a\": 3,", "    \"b\": 2"]
        );
        assert_eq!(compared("a", "a\nb"), ["  a", "+ b"]);
        assert_eq!(compared("a\nb", "a\r\nb").len(), 1);
        let binary = Comparable { bytes: b"\0", text: None };
        assert_eq!(bodies(binary, Comparable { bytes: b"\0\0", text: None }).len(), 1);
    }

    #[test]
    fn headers_without_order_case_and_what_always_differs() {
        let line = |name: &str, value: &str| HeaderLine { name: name.into(), value: value.into() };
        let before = [line("Date", "1"), line("ETag", "x"), line("Server", "a")];
        let after = [line("server", "a"), line("etag", "y"), line("Date", "2")];
        assert_eq!(headers(&before, &after), ["- etag: x", "+ etag: y", "  server: a"]);
    }
}

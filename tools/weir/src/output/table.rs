//! Tables that fit the terminal.
//!
//! In: columns (title, side, how they may shrink) and rows of cells. Out: lines no wider than the
//! terminal; without one, every cell in full. A long table is laid out after its first rows, so that
//! it streams.

use std::io::{self, Write};

use super::{
    style::{Style, Tone},
    text::{self, Cut},
};

/// Rows that decide the layout of a table that streams.
const LAYOUT_ROWS: usize = 500;
const GAP: usize = 2;

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    title: &'static str,
    right: bool,
    cut: Option<Cut>,
    least: usize,
    optional: bool,
}

impl Column {
    /// Text, never cut.
    pub(crate) const fn text(title: &'static str) -> Self {
        Self { title, right: false, cut: None, least: 0, optional: false }
    }

    /// A number: right-aligned, never cut.
    pub(crate) const fn number(title: &'static str) -> Self {
        Self { title, right: true, cut: None, least: 0, optional: false }
    }

    /// May be cut, but not below `least` columns.
    pub(crate) const fn cut(self, cut: Cut, least: usize) -> Self {
        Self { cut: Some(cut), least, ..self }
    }

    /// Left out when the terminal is too narrow.
    pub(crate) const fn optional(self) -> Self {
        Self { optional: true, ..self }
    }
}

/// A cell: its text and tone.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A cell in a tone of its own.
    pub(crate) fn toned(tone: Tone, text: impl Into<String>) -> Self {
        let text = text.into();
        let text = match text::one_line(&text) {
            std::borrow::Cow::Borrowed(_) => text,
            std::borrow::Cow::Owned(escaped) => escaped,
        };
        Self { text, tone }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::toned(Tone::Plain, text)
    }
}

/// A table on its way to a writer.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    width: Option<usize>,
    style: Style,
    waiting: Vec<Vec<Cell>>,
    layout: Option<Vec<usize>>,
}

impl Table {
    /// A table at most `width` columns wide.
    pub(crate) fn new(columns: Vec<Column>, width: Option<usize>, style: Style) -> Self {
        Self { columns, width, style, waiting: Vec::new(), layout: None }
    }

    /// Adds a row; writes once enough of them are known.
    pub(crate) fn row(&mut self, out: &mut impl Write, cells: Vec<Cell>) -> io::Result<()> {
        debug_assert_eq!(cells.len(), self.columns.len());
        match &self.layout {
            Some(widths) => self.write_row(out, widths, &cells),
            None => {
                self.waiting.push(cells);
                if self.waiting.len() >= LAYOUT_ROWS { self.lay_out(out) } else { Ok(()) }
            }
        }
    }

    /// Writes what waits now: later rows keep to the layout of these.
    pub(crate) fn show(&mut self, out: &mut impl Write) -> io::Result<()> {
        if self.layout.is_none() && !self.waiting.is_empty() { self.lay_out(out) } else { Ok(()) }
    }

    /// Writes what waits. A table without rows writes nothing.
    pub(crate) fn finish(mut self, out: &mut impl Write) -> io::Result<()> {
        if self.layout.is_none() && !self.waiting.is_empty() { self.lay_out(out) } else { Ok(()) }
    }

    fn lay_out(&mut self, out: &mut impl Write) -> io::Result<()> {
        let mut widths: Vec<usize> = self.columns.iter().map(|column| text::width(column.title)).collect();
        for cells in &self.waiting {
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(text::width(&cell.text));
            }
        }
        if let Some(limit) = self.width {
            shrink(&self.columns, &mut widths, limit);
        }
        let titles: Vec<Cell> =
            self.columns.iter().map(|column| Cell::toned(Tone::Faint, column.title.to_uppercase())).collect();
        self.write_row(out, &widths, &titles)?;
        for cells in std::mem::take(&mut self.waiting) {
            self.write_row(out, &widths, &cells)?;
        }
        self.layout = Some(widths);
        Ok(())
    }

    fn write_row(&self, out: &mut impl Write, widths: &[usize], cells: &[Cell]) -> io::Result<()> {
        let shown: Vec<usize> = (0..widths.len()).filter(|&index| widths[index] > 0).collect();
        for (position, &index) in shown.iter().enumerate() {
            let (column, cell) = (self.columns[index], &cells[index]);
            let last = position + 1 == shown.len();
            let room = match (self.width, last && !column.right) {
                // Later rows of a streamed table may be wider than those that laid it out.
                (None, _) => usize::MAX,
                (Some(_), _) => widths[index],
            };
            let shown_text = text::fit(&cell.text, room, column.cut.unwrap_or(Cut::End));
            let padding = widths[index].saturating_sub(text::width(&shown_text));
            let painted = self.style.paint(cell.tone, shown_text);
            if column.right {
                write!(out, "{:padding$}{painted}", "")?;
            } else if last {
                write!(out, "{painted}")?;
            } else {
                write!(out, "{painted}{:padding$}", "")?;
            }
            if !last {
                write!(out, "{:GAP$}", "")?;
            }
        }
        writeln!(out)
    }
}

/// Makes the columns fit: the widest of those that may be cut gives first; then optional columns go,
/// the last one first; a width of 0 means left out.
fn shrink(columns: &[Column], widths: &mut [usize], limit: usize) {
    loop {
        let shown = widths.iter().filter(|width| **width > 0).count();
        let total = widths.iter().sum::<usize>() + GAP * shown.saturating_sub(1);
        let Some(excess) = total.checked_sub(limit).filter(|excess| *excess > 0) else { return };
        let room = |index: usize| widths[index].saturating_sub(columns[index].least.max(1));
        let widest = (0..columns.len())
            .filter(|&index| columns[index].cut.is_some() && widths[index] > 0 && room(index) > 0)
            .max_by_key(|&index| widths[index]);
        if let Some(index) = widest {
            // One column gives down to the next widest, so that they end alike.
            let next = (0..columns.len())
                .filter(|&other| other != index && columns[other].cut.is_some() && room(other) > 0)
                .map(|other| widths[other])
                .max()
                .unwrap_or(0);
            let step = excess.min(room(index)).min((widths[index] - next.min(widths[index])).max(1));
            widths[index] -= step;
        } else if let Some(index) = (0..columns.len()).rev().find(|&index| columns[index].optional && widths[index] > 0)
        {
            widths[index] = 0;
        } else {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(width: Option<usize>, rows: &[[&str; 4]]) -> String {
        let columns = vec![
            Column::number("id"),
            Column::text("domain").cut(Cut::End, 6),
            Column::text("path").cut(Cut::Middle, 8),
            Column::number("size").optional(),
        ];
        let mut table = Table::new(columns, width, Style::PLAIN);
        let mut out = Vec::new();
        for row in rows {
            table.row(&mut out, row.iter().map(|cell| Cell::from(*cell)).collect()).expect("writes");
        }
        table.finish(&mut out).expect("writes");
        String::from_utf8(out).expect("text")
    }

    const ROWS: [[&str; 4]; 2] =
        [["1", "api.example.com", "/v1/users/4711/orders", "1.4 KiB"], ["12", "日本.example", "/\x1b[2J", "17 B"]];

    #[test]
    fn in_full_without_a_terminal() {
        assert_eq!(
            render(None, &ROWS),
            "ID  DOMAIN           PATH                      SIZE\n \
             1  api.example.com  /v1/users/4711/orders  1.4 KiB\n\
             12  日本.example     /\\x1b[2J                  17 B\n"
        );
        assert_eq!(render(None, &[]), "");
    }

    #[test]
    fn shrinks_then_drops() {
        let narrow = render(Some(40), &ROWS);
        assert!(narrow.lines().all(|line| text::width(line) <= 40), "{narrow}");
        assert!(narrow.contains("1.4 KiB") && narrow.contains('…'), "{narrow}");
        let tiny = render(Some(22), &ROWS);
        assert!(tiny.lines().all(|line| text::width(line) <= 22), "{tiny}");
        assert!(!tiny.contains("SIZE"), "{tiny}");
    }
}

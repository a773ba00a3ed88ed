//! What users see: tables, bars, units, colours, JSON.
//!
//! - [`text`]: width, ellipsis, and captured text made harmless.
//! - [`units`]: counts, bytes, durations, rates, times.
//! - [`style`]: colours, and whether there are any.
//! - [`table`], [`bars`], [`hex`]: shapes made of them.
//! - [`Out`]: standard output with all that is known about it.

pub(crate) mod bars;
pub(crate) mod hex;
pub(crate) mod style;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod units;

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use serde::Serialize;

pub(crate) use self::{
    style::{Style, Tone},
    table::{Cell, Column, Table},
    text::Cut,
};

/// Standard output: where a command writes, and how.
#[derive(Debug)]
pub(crate) struct Out {
    writer: BufWriter<Stdout>,
    /// Whether `--json` was given.
    pub(crate) json: bool,
    /// Colours or none.
    pub(crate) style: Style,
    /// Columns of the terminal; `None`: not a terminal, nothing is cut.
    pub(crate) width: Option<usize>,
}

impl Out {
    /// Standard output of this process.
    pub(crate) fn stdout(json: bool) -> Self {
        let stdout = io::stdout();
        let style = if json { Style::PLAIN } else { Style::of(&stdout) };
        let width = stdout.is_terminal().then(|| columns(&stdout));
        Self { writer: BufWriter::with_capacity(1 << 16, stdout), json, style, width }
    }

    /// One JSON document on a line of its own.
    pub(crate) fn json_line(&mut self, document: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.writer, document)?;
        self.writer.write_all(b"\n")
    }

    /// A table of these columns for this terminal.
    pub(crate) fn table(&self, columns: Vec<Column>) -> Table {
        Table::new(columns, self.width, self.style)
    }

    /// A heading.
    pub(crate) fn heading(&mut self, text: &str) -> io::Result<()> {
        let painted = self.style.paint(Tone::Strong, text);
        writeln!(self.writer, "{painted}")
    }

    /// Lines of a label and what it says; the labels as wide as the widest.
    pub(crate) fn facts(&mut self, facts: &[(&str, String)]) -> io::Result<()> {
        let widest = facts.iter().map(|(label, _)| text::width(label)).max().unwrap_or(0);
        for (label, fact) in facts {
            let padding = widest - text::width(label);
            let label = self.style.paint(Tone::Faint, *label);
            writeln!(self.writer, "{label}{:padding$}  {}", "", text::one_line(fact))?;
        }
        Ok(())
    }
}

impl Write for Out {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.writer.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Columns of a terminal: its window, else `COLUMNS`, else 80.
pub(crate) fn columns(terminal: &impl rustix::fd::AsFd) -> usize {
    let window = rustix::termios::tcgetwinsize(terminal).ok().map(|size| usize::from(size.ws_col));
    let variable = || std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    window.filter(|columns| *columns > 0).or_else(variable).unwrap_or(80).max(20)
}

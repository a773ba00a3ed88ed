//! The live status line of a capture, on a terminal.
//!
//! In: the status, a few times a second. Out: one line on standard error that is written over.

use std::io::{self, IsTerminal, Write};

use crate::{
    api::Status,
    output::{
        Cut, Style, Tone, columns,
        text::{fit, width},
        units,
    },
};

/// To the first column, and erase the line.
const CLEAR: &str = "\r\x1b[K";

/// The status line.
#[derive(Debug)]
pub(crate) struct Line {
    style: Style,
}

impl Line {
    /// A line on standard error, when that is a terminal.
    pub(crate) fn on_terminal() -> Option<Self> {
        let stderr = io::stderr();
        stderr.is_terminal().then(|| Self { style: Style::of(&stderr) })
    }

    /// Shows the status.
    pub(crate) fn show(&self, status: &Status) {
        let stderr = io::stderr();
        let line = render(status, columns(&stderr).saturating_sub(1), self.style);
        // A terminal that went away must not end the capture.
        let _ = write!(stderr.lock(), "{CLEAR}{line}");
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        clear();
    }
}

/// Removes the line, so that something else can be written.
fn clear() {
    let mut stderr = io::stderr().lock();
    if stderr.is_terminal() {
        let _ = write!(stderr, "{CLEAR}");
    }
}

/// The parts in the order of what people look for; those that do not fit are left out from the end.
fn render(status: &Status, room: usize, style: Style) -> String {
    let tone = if status.state == "running" { Tone::Good } else { Tone::Warn };
    let dropped = match (status.lost, status.dropped) {
        (0, 0) => (Tone::Faint, "0 dropped".to_owned()),
        (0, dropped) => (Tone::Plain, format!("{} left out", units::count(dropped))),
        (lost, _) => (Tone::Bad, format!("{} LOST", units::count(lost))),
    };
    let mut parts = vec![
        (tone, format!("● {}", units::clock(status.duration_s as u64))),
        (Tone::Strong, units::counted(status.exchanges, "exchange", "exchanges")),
        (Tone::Plain, units::rate(status.rate)),
        (Tone::Plain, units::bytes(status.request_bytes.saturating_add(status.response_bytes))),
        (Tone::Plain, format!("{} open", units::count(status.open_exchanges))),
        dropped,
    ];
    if status.state != "running" {
        parts.insert(1, (Tone::Warn, status.state.to_owned()));
    }
    if let Some(error) = &status.last_error {
        parts.push((Tone::Bad, crate::output::text::one_line(error).into_owned()));
    }
    let mut line = String::new();
    let mut used = 0;
    for (tone, text) in parts {
        let gap = if used == 0 { 0 } else { 3 };
        let left = room.saturating_sub(used + gap);
        // A short rest of a part says nothing.
        if width(&text) > left && left < 12 {
            break;
        }
        let text = fit(&text, left, Cut::End);
        if gap > 0 {
            line.push_str("   ");
        }
        used += gap + width(&text);
        line.push_str(&style.paint(tone, text));
    }
    line
}

/// A writer for log lines that clears the status line first.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        clear();
        io::stderr().write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use weir_engine::ledger::Ledger;

    use super::*;
    use crate::{api::Recording, cli::capture::Bodies};

    pub(crate) fn status() -> Status {
        Status {
            session: "01J9ZS3Q8W".to_owned(),
            name: "a".to_owned(),
            state: "running",
            started: "2026-01-02T03:04:05.000000Z".to_owned(),
            duration_s: 65.2,
            wall_s: 70.0,
            exchanges: 12_345,
            rate: 1_240.0,
            request_bytes: 1 << 20,
            response_bytes: 22 << 20,
            sent_bytes: 10,
            received_bytes: 20,
            open_exchanges: 17,
            open_connections: 3,
            dropped: 0,
            lost: 0,
            memory_used: 0,
            memory_limit: 256 << 20,
            stored_bytes: 0,
            recording: Recording { bodies: Bodies::MediaOff, responses: true, cookies: true },
            filters: None,
            last_error: None,
            proxy: None,
            ledger: Ledger::default(),
        }
    }

    #[test]
    fn fits_and_says_what_matters() {
        let line = render(&status(), 100, Style::PLAIN);
        assert_eq!(line, "● 00:01:05   12,345 exchanges   1,240/s   23 MiB   17 open   0 dropped");
        for room in 0..100 {
            assert!(width(&render(&status(), room, Style::PLAIN)) <= room);
        }
        let lost = Status { lost: 4, state: "paused", ..status() };
        let line = render(&lost, 100, Style::PLAIN);
        assert!(line.starts_with("● 00:01:05   paused   ") && line.ends_with("4 LOST"), "{line}");
    }
}

//! Colours, and whether there are any.

use std::{borrow::Cow, io::IsTerminal};

/// What a text is, from which its colour follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it is.
    Plain,
    /// Headings.
    Strong,
    /// Of less interest.
    Faint,
    /// Went well.
    Good,
    /// Information, redirects.
    Info,
    /// Deserves a look.
    Warn,
    /// Failed.
    Bad,
}

impl Tone {
    /// The tone of a status code.
    pub(crate) const fn of_status(status: Option<u16>) -> Self {
        match status {
            Some(200..=299) => Self::Good,
            Some(100..=199 | 300..=399) => Self::Info,
            Some(400..=499) => Self::Warn,
            _ => Self::Bad,
        }
    }

    const fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Strong => Some("1"),
            Self::Faint => Some("2"),
            Self::Good => Some("32"),
            Self::Info => Some("36"),
            Self::Warn => Some("33"),
            Self::Bad => Some("31"),
        }
    }
}

/// Whether a stream is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    colour: bool,
}

impl Style {
    /// Without colours.
    pub(crate) const PLAIN: Self = Self { colour: false };

    /// Colours on a terminal, unless `NO_COLOR` is set (no-color.org) or the terminal is `dumb`.
    pub(crate) fn of(stream: &impl IsTerminal) -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { colour: stream.is_terminal() && !unwanted }
    }

    /// The text in its tone.
    pub(crate) fn paint<'a>(self, tone: Tone, text: impl Into<Cow<'a, str>>) -> Cow<'a, str> {
        let text = text.into();
        match tone.code() {
            Some(code) if self.colour => Cow::Owned(format!("\x1b[{code}m{text}\x1b[0m")),
            _ => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_only_where_wanted() {
        assert_eq!(Style::PLAIN.paint(Tone::Bad, "x"), "x");
        assert_eq!(Style { colour: true }.paint(Tone::Bad, "x"), "\x1b[31mx\x1b[0m");
        assert_eq!(Style { colour: true }.paint(Tone::Plain, "x"), "x");
        assert_eq!(Tone::of_status(None), Tone::Bad);
        assert_eq!(Tone::of_status(Some(404)), Tone::Warn);
    }
}

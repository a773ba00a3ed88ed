//! What is wrong with a filter: where, what was expected, and what to write instead.

use std::fmt;

/// Why a filter cannot be used. Its text is `what; what to do`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterError {
    /// A condition that does not parse, or whose parts do not fit.
    Condition {
        /// Byte offset of the place in the text.
        offset: usize,
        /// The same place counted in characters, from 1.
        position: usize,
        /// What is wrong there.
        problem: String,
        /// What to write instead, when it can be guessed.
        hint: Option<String>,
    },
    /// A flag whose value means nothing.
    Flag {
        /// The flag without its dashes, which is also the rule's name.
        flag: &'static str,
        /// The value as given.
        value: String,
        /// What is wrong with it.
        problem: String,
        /// What to write instead.
        hint: Option<String>,
    },
}

impl FilterError {
    /// An error at a byte offset of `text`.
    pub(super) fn at(text: &str, offset: usize, problem: impl Into<String>) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        Self::Condition { offset, position: before.chars().count() + 1, problem: problem.into(), hint: None }
    }

    /// The same error with a hint.
    pub(super) fn hint(mut self, text: impl Into<String>) -> Self {
        match &mut self {
            Self::Condition { hint, .. } | Self::Flag { hint, .. } => *hint = Some(text.into()),
        }
        self
    }

    /// The line of `text` the error is in with a caret under its place, for terminals; `None` for flags.
    #[must_use]
    pub fn excerpt(&self, text: &str) -> Option<String> {
        const AROUND: usize = 60;
        let Self::Condition { position, .. } = self else { return None };
        let at = position.saturating_sub(1);
        let start = at.saturating_sub(AROUND);
        let shown: String = text
            .chars()
            .skip(start)
            .take(2 * AROUND)
            .map(|character| if character.is_control() { ' ' } else { character })
            .collect();
        Some(format!("{shown}\n{:width$}^", "", width = at - start))
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hint = match self {
            Self::Condition { position, problem, hint, .. } => {
                write!(f, "filter, position {position}: {problem}")?;
                hint
            }
            Self::Flag { flag, value, problem, hint } => {
                let short: String = value.chars().take(80).collect();
                write!(f, "--{flag} {short}: {problem}")?;
                hint
            }
        };
        hint.as_ref().map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

impl std::error::Error for FilterError {}

//! How commands end: the exit codes beside success and failure. Below every command and what they are made of.

/// How a command ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All well.
    Done,
    /// Something was lost against the promise, or a finding says that something will not work.
    Lost,
    /// It answered, and the answer is no (doctor: something fails; diff: they differ).
    No,
}

/// Wrong usage that clap cannot know: exit code 2.
#[derive(Debug)]
pub(crate) struct Usage(Box<dyn std::error::Error + Send + Sync>);

impl Usage {
    /// With its sentence.
    pub(crate) fn new(sentence: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(sentence.into())
    }
}

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Usage {}

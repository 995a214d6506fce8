//! Answers, and hosts that give them.

use std::borrow::Cow;

use super::Question;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is present; this is its text.
    Is(String),
    /// It is absent or unusable, for this reason.
    Absent(String),
    /// It could not be determined, for this reason.
    Unknown(String),
}

/// What was found, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What was found.
    pub finding: Finding,
    /// Where: a system call, a file, a variable.
    pub source: Cow<'static, str>,
}

impl Answer {
    /// An answer with its source.
    pub fn new(finding: Finding, source: impl Into<Cow<'static, str>>) -> Self {
        Self {
            finding,
            source: source.into(),
        }
    }

    pub(super) fn is(text: impl Into<String>, source: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Finding::Is(text.into()), source)
    }

    pub(super) fn absent(text: impl Into<String>, source: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Finding::Absent(text.into()), source)
    }

    pub(crate) fn unknown(text: impl Into<String>, source: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Finding::Unknown(text.into()), source)
    }
}

/// A host: this one, a recorded one, or a made-up one.
pub trait Host {
    /// Answers one question.
    fn ask(&self, question: Question) -> Cow<'_, Answer>;
}

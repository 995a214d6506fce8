//! Answers, and whoever gives them.

use std::borrow::Cow;

use super::Question;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is there; this is its text.
    Is(String),
    /// It is not there, or not usable; this is how that showed.
    Absent(String),
    /// It could not be found out; this is why.
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
    /// This was found there.
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

    pub(super) fn unknown(text: impl Into<String>, source: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Finding::Unknown(text.into()), source)
    }
}

/// Whoever answers questions: the host we are on, a recorded one, or a made-up one.
pub trait Host {
    /// Answers one question.
    fn ask(&self, question: Question) -> Cow<'_, Answer>;
}

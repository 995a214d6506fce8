//! Answers, and hosts.

use std::borrow::Cow;

use super::Question;

/// The result of a look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is present; this is its text.
    Is(String),
    /// It is absent or unusable, for this reason.
    Absent(String),
    /// It could not be determined, for this reason.
    Unknown(String),
}

impl Finding {
    /// Returns its name in a record, and its text.
    #[doc(hidden)]
    #[must_use]
    pub fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Is(text) => ("is", text),
            Self::Absent(text) => ("absent", text),
            Self::Unknown(text) => ("unknown", text),
        }
    }

    /// Returns the finding with this name in a record.
    #[doc(hidden)]
    #[must_use]
    pub fn from_parts(word: &str, text: String) -> Option<Self> {
        match word {
            "is" => Some(Self::Is(text)),
            "absent" => Some(Self::Absent(text)),
            "unknown" => Some(Self::Unknown(text)),
            _ => None,
        }
    }
}

/// The answer to a question: a finding and its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The result.
    pub finding: Finding,
    /// Where it was found: a system call, a file, a variable.
    pub source: Cow<'static, str>,
}

impl Answer {
    /// Returns an answer.
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

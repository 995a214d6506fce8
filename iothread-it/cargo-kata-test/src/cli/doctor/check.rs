//! A check, and how it is printed.

use std::fmt;

use serde::Serialize;

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// It works.
    Works,
    /// It is not there, and something else does instead, or nobody may need it.
    Lacks,
    /// Something will fail, or be other than one may expect.
    Attention,
}

/// What was found, and what follows.
#[derive(Clone, Debug)]
pub(super) struct Check {
    pub(super) mark: Mark,
    pub(super) name: &'static str,
    pub(super) finding: String,
    /// What that means for places.
    pub(super) effect: String,
    /// What to do about a lack.
    pub(super) next: Option<String>,
}

impl Check {
    /// Something that works.
    pub(super) fn works(
        name: &'static str,
        finding: impl Into<String>,
        effect: impl Into<String>,
    ) -> Self {
        Self {
            mark: Mark::Works,
            name,
            finding: finding.into(),
            effect: effect.into(),
            next: None,
        }
    }

    /// Something that is not as wanted.
    pub(super) fn other(
        mark: Mark,
        name: &'static str,
        (finding, next): (impl Into<String>, impl Into<String>),
        effect: impl Into<String>,
    ) -> Self {
        Self {
            mark,
            next: Some(next.into()),
            ..Self::works(name, finding, effect)
        }
    }

    pub(super) fn form(&self) -> CheckForm<'_> {
        CheckForm {
            check: self.name,
            result: match self.mark {
                Mark::Works => "works",
                Mark::Lacks => "lacks",
                Mark::Attention => "attention",
            },
            finding: &self.finding,
            effect: &self.effect,
            next: self.next.as_deref(),
        }
    }
}

/// A check as JSON.
#[derive(Serialize)]
pub(super) struct CheckForm<'a> {
    /// What was checked: `KVM`.
    check: &'a str,
    /// `works`, `lacks` (it is not there) or `attention` (something will fail).
    result: &'a str,
    /// What was found.
    finding: &'a str,
    /// What that means for places.
    effect: &'a str,
    /// What to do about it. Null if it works.
    next: Option<&'a str>,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.mark {
            Mark::Works => "✓",
            Mark::Lacks => "–",
            Mark::Attention => "!",
        };
        writeln!(f, "{mark} {}: {}", self.name, self.finding)?;
        writeln!(f, "    {}", self.effect)?;
        match &self.next {
            Some(next) => writeln!(f, "    next: {next}"),
            None => Ok(()),
        }
    }
}

/// Splits the message of an error, `what failed: why; what to do`, into finding and next step. A message without one
/// gets this step.
pub(super) fn split(message: &str, step: &str) -> (String, String) {
    match message.split_once("; ") {
        Some((finding, next)) => (finding.to_owned(), next.to_owned()),
        None => (message.to_owned(), step.to_owned()),
    }
}

//! Verdicts: met, unmet, or, if a constraint could not be decided, undetermined.

use std::borrow::Cow;
use std::fmt;

/// An observation and its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// What was observed, as a phrase: `effective uid is 1000`.
    pub observed: Cow<'static, str>,
    /// Where it was read: `geteuid`, `/etc/os-release`.
    pub source: Cow<'static, str>,
}

/// Whether constraints are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Every constraint is met.
    Met,
    /// A constraint is not met.
    Unmet,
    /// Whether a constraint is met cannot be determined.
    Undetermined,
}

impl Status {
    /// Returns its name in lists and messages.
    #[doc(hidden)]
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Unmet => "unmet",
            Self::Undetermined => "undetermined",
        }
    }

    /// Returns the status with this name.
    #[doc(hidden)]
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        let all = [Self::Met, Self::Unmet, Self::Undetermined];
        all.into_iter().find(|one| one.word() == word)
    }

    pub(crate) fn opposite(self) -> Self {
        match self {
            Self::Met => Self::Unmet,
            Self::Unmet => Self::Met,
            Self::Undetermined => Self::Undetermined,
        }
    }
}

/// Whether a constraint is met, with the evidence for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The constraint is met.
    Met(Evidence),
    /// The constraint is not met: the test is skipped.
    Unmet(Evidence),
    /// The constraint could not be decided: the test fails.
    Undetermined(Evidence),
}

impl Verdict {
    /// Returns [`Verdict::Met`].
    pub fn met(
        observed: impl Into<Cow<'static, str>>,
        source: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::Met(Evidence::new(observed, source))
    }

    /// Returns [`Verdict::Unmet`].
    pub fn unmet(
        observed: impl Into<Cow<'static, str>>,
        source: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::Unmet(Evidence::new(observed, source))
    }

    /// Returns [`Verdict::Undetermined`].
    pub fn undetermined(
        observed: impl Into<Cow<'static, str>>,
        source: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::Undetermined(Evidence::new(observed, source))
    }

    pub(crate) fn with_status(status: Status, evidence: Evidence) -> Self {
        match status {
            Status::Met => Self::Met(evidence),
            Status::Unmet => Self::Unmet(evidence),
            Status::Undetermined => Self::Undetermined(evidence),
        }
    }

    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Met(_) => Status::Met,
            Self::Unmet(_) => Status::Unmet,
            Self::Undetermined(_) => Status::Undetermined,
        }
    }

    /// Returns the evidence.
    #[must_use]
    pub fn evidence(&self) -> &Evidence {
        let (Self::Met(evidence) | Self::Unmet(evidence) | Self::Undetermined(evidence)) = self;
        evidence
    }
}

impl Evidence {
    pub(crate) fn new(
        observed: impl Into<Cow<'static, str>>,
        source: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            observed: observed.into(),
            source: source.into(),
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.observed, self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_reads_as_what_was_observed_and_where() {
        let evidence = Evidence::new("uid 1000", "geteuid");
        assert_eq!(evidence.to_string(), "uid 1000 (geteuid)");
    }
}

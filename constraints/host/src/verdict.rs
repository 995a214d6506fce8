//! Three verdicts, never two: a constraint that could not be decided is neither met nor unmet.

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

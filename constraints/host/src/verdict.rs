//! Three verdicts, never two: a constraint that could not be decided is neither met nor unmet.

use std::borrow::Cow;
use std::fmt;

/// What was seen, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// What was observed, as a phrase: `effective uid is 1000`.
    pub observed: Cow<'static, str>,
    /// Where it was read: `geteuid`, `/etc/os-release`.
    pub source: Cow<'static, str>,
}

/// Whether one need is met here. It cannot be built without saying what was seen and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The need is met: the test may run.
    Met(Evidence),
    /// The need is not met: the test is skipped.
    Unmet(Evidence),
    /// It could not be found out: the test fails and says why.
    Undetermined(Evidence),
}

impl Verdict {
    /// The need is met.
    pub fn met(
        observed: impl Into<Cow<'static, str>>,
        source: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::Met(Evidence::new(observed, source))
    }

    /// The need is not met.
    pub fn unmet(
        observed: impl Into<Cow<'static, str>>,
        source: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::Unmet(Evidence::new(observed, source))
    }

    /// Nobody can tell whether the need is met.
    pub fn undetermined(
        observed: impl Into<Cow<'static, str>>,
        source: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::Undetermined(Evidence::new(observed, source))
    }

    /// What was seen, whatever it led to.
    #[must_use]
    pub fn evidence(&self) -> &Evidence {
        let (Self::Met(evidence) | Self::Unmet(evidence) | Self::Undetermined(evidence)) = self;
        evidence
    }
}

impl Evidence {
    pub fn new(
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

/// Why a test is not run: a constraint, and what was seen instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The constraint as a person writes it: `kernel >= 6.12`. It is `skip!` where the test itself
    /// said why it cannot go on, and `nothing left behind` where the test left something.
    pub constraint: String,
    /// What was observed, as a phrase.
    pub observed: String,
    /// Where it was read.
    pub source: String,
}

impl Reason {
    pub fn new(constraint: String, evidence: &Evidence) -> Self {
        Self {
            constraint,
            observed: evidence.observed.clone().into_owned(),
            source: evidence.source.clone().into_owned(),
        }
    }

    /// Says whether a constraint stands behind this, not only the test's own word.
    pub fn is_a_need(&self) -> bool {
        ![SAID, LEFT].contains(&self.constraint.as_str())
    }

    pub fn left_behind(what: String, source: &str) -> Self {
        Self {
            constraint: LEFT.to_owned(),
            observed: what,
            source: source.to_owned(),
        }
    }

    pub fn said_by_the_test(why: String, place: String) -> Self {
        Self {
            constraint: SAID.to_owned(),
            observed: why,
            source: place,
        }
    }
}

/// What stands for a constraint where the test itself said why it cannot go on.
pub const SAID: &str = "skip!";

/// What stands for a constraint where a test left something behind.
const LEFT: &str = "nothing left behind";

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_a_need() {
            write!(f, "needs {}: ", self.constraint)?;
        }
        write!(f, "{} ({})", self.observed, self.source)
    }
}

/// The reasons of one test as one line, and what the test itself says about its needs.
pub fn explain(reasons: &[Reason], issue: Option<&str>, note: Option<&str>) -> String {
    let cited = issue.map(|issue| format!("issue {issue}"));
    let own: Vec<&str> = note.into_iter().chain(cited.as_deref()).collect();
    if own.is_empty() {
        join(reasons)
    } else {
        format!("{} [{}]", join(reasons), own.join(", "))
    }
}

/// The reasons of one test as one line.
pub fn join(reasons: &[Reason]) -> String {
    reasons
        .iter()
        .map(Reason::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

#[cfg(test)]
mod tests {
    //! Scope: the line that a person reads.

    use super::*;

    #[test]
    fn the_test_has_the_last_word() {
        let reasons = [Reason::new(
            "root".to_owned(),
            &Evidence::new("effective uid is 1000", "geteuid"),
        )];
        let line = |issue, note| explain(&reasons, issue, note);
        let plain = "needs root: effective uid is 1000 (geteuid)";
        assert_eq!(line(None, None), plain);
        assert_eq!(line(Some("x/1"), None), format!("{plain} [issue x/1]"));
        assert_eq!(
            line(Some("x/1"), Some("mounts a disk")),
            format!("{plain} [mounts a disk, issue x/1]")
        );
    }
}

//! Why a test did not run, or what is wrong with a test that ran.

use std::fmt;

use crate::verdict::Evidence;

/// Why a test did not run or failed, or what it left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reason {
    /// What kind of reason this is.
    pub kind: ReasonKind,
    /// The constraint, such as `kernel >= 6.12`; empty for other kinds.
    pub constraint: String,
    /// What was observed, as a phrase: `effective uid is 1000`.
    pub observed: String,
    /// Where it was observed: `geteuid`, `/etc/os-release`.
    pub source: String,
    alternatives: Vec<String>,
}

/// The kind of a [`Reason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ReasonKind {
    /// A constraint is unmet or undetermined.
    Constraint,
    /// The test called `skip!`.
    RuntimeSkip,
    /// The test left a process or a mount behind.
    Leak,
    /// A place or a process of kata-test itself failed.
    Infrastructure,
    /// The kernel reported a bug while the test ran.
    Kernel,
}

impl ReasonKind {
    /// Returns its name in a record.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Constraint => "constraint",
            Self::RuntimeSkip => "runtime_skip",
            Self::Leak => "leak",
            Self::Infrastructure => "infrastructure",
            Self::Kernel => "kernel",
        }
    }

    /// Returns the kind with this name in a record.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        let all = [
            Self::Constraint,
            Self::RuntimeSkip,
            Self::Leak,
            Self::Infrastructure,
            Self::Kernel,
        ];
        all.into_iter().find(|one| one.word() == word)
    }
}

impl Reason {
    fn new(kind: ReasonKind, observed: impl Into<String>, source: impl Into<String>) -> Self {
        Self {
            kind,
            constraint: String::new(),
            observed: observed.into(),
            source: source.into(),
            alternatives: Vec::new(),
        }
    }

    /// A constraint that is unmet or undetermined.
    #[doc(hidden)]
    pub fn constraint(
        constraint: impl Into<String>,
        observed: impl Into<String>,
        source: impl Into<String>,
    ) -> Self {
        Self {
            constraint: constraint.into(),
            ..Self::new(ReasonKind::Constraint, observed, source)
        }
    }

    /// The same with the evidence of a verdict.
    pub(crate) fn of(constraint: String, evidence: &Evidence) -> Self {
        Self::constraint(constraint, &*evidence.observed, &*evidence.source)
    }

    /// A call of `skip!`, with its text and the line it is in.
    #[doc(hidden)]
    pub fn runtime_skip(why: impl Into<String>, line: impl Into<String>) -> Self {
        Self::new(ReasonKind::RuntimeSkip, why, line)
    }

    /// A process or a mount that a test left behind.
    #[doc(hidden)]
    pub fn leak(what: impl Into<String>, source: impl Into<String>) -> Self {
        Self::new(ReasonKind::Leak, what, source)
    }

    /// A failure of a place or of kata-test itself.
    #[doc(hidden)]
    pub fn infrastructure(observed: impl Into<String>, source: impl Into<String>) -> Self {
        Self::new(ReasonKind::Infrastructure, observed, source)
    }

    /// A message of the kernel that reports a bug.
    #[doc(hidden)]
    pub fn kernel(message: impl Into<String>) -> Self {
        Self::new(ReasonKind::Kernel, message, "/dev/kmsg")
    }

    /// Whether this is about a constraint.
    #[must_use]
    pub fn is_constraint(&self) -> bool {
        self.kind == ReasonKind::Constraint
    }

    /// The constraints of an unmet `any(…)`, each of which would have been enough; else nothing.
    #[doc(hidden)]
    #[must_use]
    pub fn alternatives(&self) -> &[String] {
        &self.alternatives
    }

    /// The same reason with other alternatives.
    #[doc(hidden)]
    #[must_use]
    pub fn with_alternatives(mut self, alternatives: Vec<String>) -> Self {
        self.alternatives = alternatives;
        self
    }
}

/// Writes `needs kvm: there is no /dev/kvm (stat)`, without the constraint if there is none.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_constraint() {
            write!(f, "needs {}: ", self.constraint)?;
        }
        write!(f, "{} ({})", self.observed, self.source)
    }
}

/// Joins the reasons of one test, with the `reason` and the `issue` of its attribute.
pub fn explain(reasons: &[Reason], issue: Option<&str>, note: Option<&str>) -> String {
    let cited = issue.map(|issue| format!("issue {issue}"));
    let own: Vec<&str> = note.into_iter().chain(cited.as_deref()).collect();
    if own.is_empty() {
        join(reasons)
    } else {
        format!("{} [{}]", join(reasons), own.join(", "))
    }
}

/// Joins the reasons of one test to one line.
pub fn join(reasons: &[Reason]) -> String {
    let reasons: Vec<String> = reasons.iter().map(Reason::to_string).collect();
    reasons.join("; ")
}

#[cfg(test)]
mod tests {
    //! Scope: the line that a person reads.

    use super::*;

    #[test]
    fn the_attributes_own_words_come_last() {
        let reasons = [Reason::constraint(
            "root",
            "effective uid is 1000",
            "geteuid",
        )];
        let line = |issue, note| explain(&reasons, issue, note);
        let plain = "needs root: effective uid is 1000 (geteuid)";
        assert_eq!(line(None, None), plain);
        assert_eq!(line(Some("x/1"), None), format!("{plain} [issue x/1]"));
        assert_eq!(
            line(Some("x/1"), Some("mounts a disk")),
            format!("{plain} [mounts a disk, issue x/1]")
        );
        let skip = Reason::runtime_skip("no disk", "a.rs:7");
        assert_eq!(skip.to_string(), "no disk (a.rs:7)");
    }
}

//! The outcome of a test, and its name in records.

use std::fmt;

/// The outcome of a test, in the order of reports.
///
/// Exhaustive, so that no report can overlook an outcome that is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It panicked, returned an error, or its process died.
    Failed,
    /// It exceeded its timeout.
    TimedOut,
    /// It started, and its process disappeared.
    Lost,
    /// It passed where it is expected to fail.
    UnexpectedPass,
    /// A constraint could not be decided.
    Undetermined,
    /// It failed, and is marked `unstable`.
    Unstable,
    /// It passed at a later attempt.
    Flaky,
    /// It failed as it is expected to.
    ExpectedFailure,
    /// It ended without a failure.
    Passed,
    /// It passed, but its output says that it skips.
    SuspectedSkip,
    /// No place meets its requirement.
    Nowhere,
    /// A constraint is unmet.
    Skipped,
    /// It is marked `#[ignore]`.
    Ignored,
}

impl Outcome {
    /// All outcomes, in their order.
    pub const ALL: [Self; 13] = [
        Self::Failed,
        Self::TimedOut,
        Self::Lost,
        Self::UnexpectedPass,
        Self::Undetermined,
        Self::Unstable,
        Self::Flaky,
        Self::ExpectedFailure,
        Self::Passed,
        Self::SuspectedSkip,
        Self::Nowhere,
        Self::Skipped,
        Self::Ignored,
    ];

    /// Returns its name in a record.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Lost => "lost",
            Self::UnexpectedPass => "unexpected_pass",
            Self::Undetermined => "undetermined",
            Self::Unstable => "unstable",
            Self::Flaky => "flaky",
            Self::ExpectedFailure => "expected_failure",
            Self::Passed => "passed",
            Self::SuspectedSkip => "suspected_skip",
            Self::Nowhere => "nowhere",
            Self::Skipped => "skipped",
            Self::Ignored => "ignored",
        }
    }

    /// Returns the outcome with this name in a record.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.word() == word)
    }

    /// Whether it fails the run.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(
            self,
            Self::Failed | Self::TimedOut | Self::Lost | Self::UnexpectedPass | Self::Undetermined
        )
    }

    /// Whether the test ran, and its end does not fail the run.
    #[must_use]
    pub const fn is_success(self) -> bool {
        matches!(
            self,
            Self::Unstable
                | Self::Flaky
                | Self::ExpectedFailure
                | Self::Passed
                | Self::SuspectedSkip
        )
    }

    /// Whether the test did not run because no place met its requirement.
    #[must_use]
    pub const fn is_nowhere(self) -> bool {
        matches!(self, Self::Nowhere | Self::Skipped)
    }
}

/// Writes the name for a reader: `timed out`.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::TimedOut => "timed out",
            Self::SuspectedSkip => "suspected skip",
            Self::ExpectedFailure => "expected failure",
            Self::UnexpectedPass => "unexpected pass",
            other => other.word(),
        })
    }
}

/// What the harness was doing when it wrote a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It listed tests.
    List,
    /// It ran tests.
    Run,
}

impl Phase {
    /// Returns its name in a record.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Run => "run",
        }
    }

    /// Returns the phase with this name in a record.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::List, Self::Run]
            .into_iter()
            .find(|one| one.word() == word)
    }
}

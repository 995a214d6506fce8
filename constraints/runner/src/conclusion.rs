//! What a run amounts to.

use std::fmt;

use super::{Outcome, Record};

/// Whether a run as a whole is good, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Conclusion {
    /// Tests ran, and none failed.
    Good,
    /// So many tests failed, in whatever way.
    Failures(usize),
    /// No test ran at all: whatever was to be shown has not been.
    NothingRan,
}

/// Concludes from the outcomes of a run. A single binary may run nothing: a filter can lead past
/// it. A run may not.
#[must_use]
pub fn conclude(outcomes: &[Record]) -> Conclusion {
    let failures = outcomes.iter().filter(|o| o.outcome.is_failure()).count();
    let passed = outcomes.iter().any(|o| o.outcome == Outcome::Passed);
    match (failures, passed) {
        (0, true) => Conclusion::Good,
        (0, false) => Conclusion::NothingRan,
        (failures, _) => Conclusion::Failures(failures),
    }
}

impl fmt::Display for Conclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good => f.write_str("tests ran, and none failed"),
            Self::Failures(1) => f.write_str("1 test failed"),
            Self::Failures(count) => write!(f, "{count} tests failed"),
            Self::NothingRan => f.write_str(
                "no test ran at all: either the filters match none, or every test is skipped here",
            ),
        }
    }
}

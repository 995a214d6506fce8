//! The result of a run as a whole.

use std::collections::BTreeSet;
use std::fmt;

use super::{Record, TestId, plural};

/// Whether a run as a whole passed, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunStatus {
    /// Tests ran, and none failed.
    Passed,
    /// This many tests failed.
    Failed(usize),
    /// No test ran.
    NothingRan,
}

/// Returns the result of a run by its outcomes. A run in which no test ran has not passed, although a
/// filter may leave a single binary without tests.
#[must_use]
pub fn run_status(outcomes: &[Record]) -> RunStatus {
    // A test may have failed in each of several places.
    let failures = outcomes.iter().filter(|o| o.outcome.is_failure());
    let failures = failures.map(TestId::of).collect::<BTreeSet<_>>().len();
    let passed = outcomes.iter().any(|o| o.outcome.is_success());
    match (failures, passed) {
        (0, true) => RunStatus::Passed,
        (0, false) => RunStatus::NothingRan,
        (failures, _) => RunStatus::Failed(failures),
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("all tests that ran passed"),
            Self::Failed(count) => write!(f, "{} failed", plural(*count, "test")),
            Self::NothingRan => {
                f.write_str("no test ran: the filters match none, or every test was skipped")
            }
        }
    }
}

//! How a test ended.

use nix::sys::signal::Signal;

use super::stop::{Cause, Fate};
use crate::runtime_skip::RuntimeSkip;

/// How a test ended, as far as its process can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TestEnd {
    Passed,
    /// It failed as it is expected to.
    ExpectedFailure,
    /// It passed, and is expected to fail.
    UnexpectedPass,
    /// It failed, with what its output does not say.
    Failed(Option<String>),
    /// It called `require!` or `skip!`.
    Skipped(RuntimeSkip),
    /// A signal ended its process.
    Signal(Signal),
    /// Its process exited with this code, which does not fit what the test reported, if it did.
    Exited(i32),
    /// The harness ended it.
    Stopped(Cause, Fate),
}

impl TestEnd {
    /// When its process failed, after the test had reported this end.
    pub(super) fn after(&self) -> &'static str {
        match self {
            Self::Passed | Self::UnexpectedPass => " after the test passed",
            Self::Failed(_) | Self::ExpectedFailure => " after the test failed",
            Self::Skipped(_) => " after the test was skipped",
            _ => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_fails_does_so_after_what_the_test_reported() {
        assert_eq!(TestEnd::Passed.after(), " after the test passed");
        assert_eq!(TestEnd::UnexpectedPass.after(), " after the test passed");
        assert_eq!(TestEnd::Failed(None).after(), " after the test failed");
        assert_eq!(TestEnd::ExpectedFailure.after(), " after the test failed");
        let skip = RuntimeSkip {
            status: crate::constraint::Status::Unmet,
            reasons: Vec::new(),
        };
        assert_eq!(
            TestEnd::Skipped(skip).after(),
            " after the test was skipped"
        );
        assert_eq!(TestEnd::Exited(1).after(), "");
    }
}

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

//! Tests that were expected to fail.

use super::conclusion::{Conclusion, conclude};
use crate::harness::stop::Cause;
use crate::harness::test_end::TestEnd;
use crate::record::Outcome;
use crate::registry::{ExpectedFailure, Test};

/// Concludes a test that was not skipped. A crash or a timeout is an expected failure only if the test asks
/// for that.
pub(super) fn conclude_expected(
    end: TestEnd,
    after: &str,
    guest_cpus: usize,
    test: &Test,
    expected: Option<&ExpectedFailure>,
) -> Conclusion {
    let Some(expected) = expected else {
        return conclude(end, after, guest_cpus, test);
    };
    let (kind, counts) = match &end {
        TestEnd::Signal(_) | TestEnd::Exited(_) => ("crash", expected.crash),
        TestEnd::Stopped(Cause::Timeout, _) => ("timeout", expected.timeout),
        _ => ("", false),
    };
    let mut conclusion = conclude(end, after, guest_cpus, test);
    let note = conclusion.note.take().unwrap_or_default();
    if counts && expected.is_by(&note) {
        conclusion.outcome = Outcome::ExpectedFailure;
    }
    match conclusion.outcome {
        Outcome::ExpectedFailure => conclusion.detail = Some(expected.why()),
        Outcome::UnexpectedPass => {
            conclusion.note = Some(format!(
                "the test passed, but {expected}: remove its `expect_failure`, or state when the test \
                 still fails"
            ));
        }
        _ if !counts && !kind.is_empty() => {
            conclusion.note = Some(format!(
                "{note}\n{expected}, and a {kind} counts only with `expect_failure({kind})`"
            ));
        }
        _ if !kind.is_empty() => {
            let message = expected.message.unwrap_or_default();
            conclusion.note = Some(format!(
                "{note}\n{expected}, and it does not contain {message:?}"
            ));
        }
        _ => {}
    }
    conclusion.reason = Some(expected.condition()).filter(|condition| !condition.is_empty());
    conclusion
}

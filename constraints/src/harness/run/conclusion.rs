//! What the end of a test means.

use crate::harness::kvm_guests;
use crate::harness::stop::Cause;
use crate::harness::test_end::TestEnd;
use crate::reason::Reason;
use crate::record::Outcome;
use crate::registry::{ExpectedFailure, Test};

/// What the end of a test means.
pub(super) struct Conclusion {
    pub(super) outcome: Outcome,
    /// For the line of the test: `SIGSEGV`.
    pub(super) detail: Option<String>,
    /// What its output does not say.
    pub(super) note: Option<String>,
    pub(super) reasons: Vec<Reason>,
    /// The condition of the expected failure.
    pub(super) reason: Option<String>,
}

impl Conclusion {
    pub(super) fn new(outcome: Outcome) -> Self {
        Self {
            outcome,
            detail: None,
            note: None,
            reasons: Vec::new(),
            reason: None,
        }
    }
}

/// Concludes a test that was not skipped. A crash or a timeout is an expected failure only if the test asks
/// for that.
pub(super) fn conclude(
    end: TestEnd,
    after: &str,
    guest_cpus: usize,
    test: &Test,
    expected: Option<&ExpectedFailure>,
) -> Conclusion {
    let Some(expected) = expected else {
        return conclude_end(end, after, guest_cpus, test);
    };
    let (kind, counts) = match &end {
        TestEnd::Signal(_) | TestEnd::Exited(_) => ("crash", expected.crash),
        TestEnd::Stopped(Cause::Timeout, _) => ("timeout", expected.timeout),
        _ => ("", false),
    };
    let mut conclusion = conclude_end(end, after, guest_cpus, test);
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

/// The same for a test that was not expected to fail.
fn conclude_end(end: TestEnd, after: &str, guest_cpus: usize, test: &Test) -> Conclusion {
    let (outcome, detail, note) = match end {
        TestEnd::Passed => (Outcome::Passed, None, None),
        TestEnd::ExpectedFailure => (Outcome::ExpectedFailure, None, None),
        TestEnd::UnexpectedPass => {
            let detail = Some("unexpected pass".to_owned());
            (Outcome::UnexpectedPass, detail, None)
        }
        // The output has the reason.
        TestEnd::Failed(_) | TestEnd::Skipped(_) => (Outcome::Failed, None, None),
        TestEnd::Signal(signal) => {
            let name = signal.as_str();
            let note = format!("the test's process died of {name}{after}");
            (Outcome::Failed, Some(name.to_owned()), Some(note))
        }
        TestEnd::Exited(code) => {
            let when = match after {
                "" => " before the test had ended",
                after => after,
            };
            let note = format!("the test's process exited with code {code}{when}");
            (Outcome::Failed, None, Some(note))
        }
        TestEnd::Stopped(cause, fate) => {
            let (outcome, cause) = match cause {
                Cause::Timeout => {
                    let limit = test.time_limit().unwrap_or_default();
                    let guests = kvm_guests::note(guest_cpus);
                    let cause = format!("timed out after {limit:?}{guests}");
                    (Outcome::TimedOut, cause)
                }
                Cause::Interrupt(interrupt) => (
                    Outcome::Lost,
                    format!("interrupted by {}", interrupt.name()),
                ),
            };
            let note = format!("{cause}; {fate}");
            (outcome, Some(cause), Some(note))
        }
    };
    Conclusion {
        detail,
        note,
        ..Conclusion::new(outcome)
    }
}

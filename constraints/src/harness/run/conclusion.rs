//! What the end of a test means.

use crate::harness::kvm_guests;
use crate::harness::stop::Cause;
use crate::harness::test_end::TestEnd;
use crate::reason::Reason;
use crate::record::Outcome;
use crate::registry::Test;

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

/// Concludes a test that ran as it should and was not skipped.
pub(super) fn conclude(end: TestEnd, after: &str, guest_cpus: usize, test: &Test) -> Conclusion {
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

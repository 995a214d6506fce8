//! `require!` and `skip!`: a test that finds out at run time that it cannot do its work ends here.
//!
//! It ends by unwinding past the panic hook, so `panic = "abort"` is not supported.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{Location, resume_unwind};

use crate::constraint::{Constraint, Evaluation, Status, evaluate};
use crate::contract::unskip;
use crate::facts::Here;
use crate::reason::{Reason, join};
use crate::report;
use crate::sys::Message;

/// Why a test ended by `require!` or `skip!`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RuntimeSkip {
    /// Unmet or undetermined.
    pub(crate) status: Status,
    pub(crate) reasons: Vec<Reason>,
}

/// The state of the test on this thread.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// No test of ours runs on this thread.
    None,
    Running,
    /// It is unwinding from `require!` or `skip!`.
    Skipping,
}

thread_local! {
    static STATE: Cell<State> = const { Cell::new(State::None) };
    /// Unmet constraints of `require!` that did not end the test, because of `KATA_TEST_UNSKIP`.
    static WAIVED: RefCell<Vec<Reason>> = const { RefCell::new(Vec::new()) };
    /// Why iterations of the test's loops were skipped.
    static ITERATIONS: RefCell<Vec<Reason>> = const { RefCell::new(Vec::new()) };
}

/// Whether this thread runs a test of ours.
pub(crate) fn is_in_a_test() -> bool {
    STATE.get() != State::None
}

/// The function behind `require!`: returns only if the constraints are met.
#[track_caller]
pub fn require(constraints: &[Constraint]) {
    if let Some(reasons) = unmet(constraints) {
        let status = Status::Unmet;
        end(RuntimeSkip { status, reasons });
    }
}

/// Returns whether an iteration of a loop is to be skipped. The test goes on, and is skipped if it passes.
#[track_caller]
pub(crate) fn skip_iteration(constraints: &[Constraint], iteration: fmt::Arguments<'_>) -> bool {
    let Some(mut reasons) = unmet(constraints) else {
        return false;
    };
    name_iteration(&mut reasons, iteration);
    ITERATIONS.with_borrow_mut(|skipped| skipped.extend(reasons));
    true
}

/// The reasons of constraints that are unmet and not waived. What is undetermined ends the test.
#[track_caller]
fn unmet(constraints: &[Constraint]) -> Option<Vec<Reason>> {
    let Evaluation { status, reasons } = evaluate(constraints, &Here);
    match status {
        Status::Met => None,
        Status::Unmet if unskip() => {
            WAIVED.with_borrow_mut(|waived| waived.extend(reasons));
            None
        }
        Status::Unmet => Some(reasons),
        Status::Undetermined => end(RuntimeSkip { status, reasons }),
    }
}

/// Adds to reasons which iteration was skipped for them.
pub(crate) fn name_iteration(reasons: &mut [Reason], iteration: fmt::Arguments<'_>) {
    for reason in reasons {
        reason.observed = format!(
            "{}, so the iteration {iteration} was skipped",
            reason.observed
        );
    }
}

/// Takes the skip of a test whose iterations were skipped.
pub(crate) fn take_iterations() -> Option<RuntimeSkip> {
    let reasons = ITERATIONS.take();
    (!reasons.is_empty()).then_some(RuntimeSkip {
        status: Status::Unmet,
        reasons,
    })
}

/// The function behind `skip!`.
#[track_caller]
pub fn skip(why: fmt::Arguments<'_>) -> ! {
    let caller = Location::caller();
    let line = format!("{}:{}", caller.file(), caller.line());
    end(RuntimeSkip {
        status: Status::Unmet,
        reasons: vec![Reason::runtime_skip(why.to_string(), line)],
    })
}

#[track_caller]
fn end(skip: RuntimeSkip) -> ! {
    assert!(
        STATE.get() != State::None,
        "{}\nnot a skip but a failure: only the thread that runs a test made by `kata_test` can skip it",
        join(&skip.reasons)
    );
    STATE.set(State::Skipping);
    // Past the panic hook, which would print this as a panic.
    resume_unwind(Box::new(skip))
}

/// Runs a test's body on this thread, and returns whether it called `require!` or `skip!` without effect,
/// even if something caught the unwinding.
pub(crate) fn watch<T>(body: impl FnOnce() -> T) -> (T, bool) {
    let before = STATE.replace(State::Running);
    let result = body();
    (result, STATE.replace(before) == State::Skipping)
}

/// Takes the waived constraints of this thread's test.
pub(crate) fn take_waived() -> Vec<Reason> {
    WAIVED.take()
}

/// Reports the waived constraints to the harness.
pub(crate) fn report_waived() {
    for reason in take_waived() {
        report::send_own(Message::with_reason(WAIVED_KIND, &reason));
    }
}

/// The kind of the message about a waived constraint.
pub(crate) const WAIVED_KIND: &str = "waived";

impl RuntimeSkip {
    /// Reports to the harness, one message for each reason.
    pub(crate) fn report(&self) {
        for reason in &self.reasons {
            report::send_own(Message::with_reason(self.status.word(), reason));
        }
    }

    /// Reads a message of [`report`](Self::report): one reason.
    pub(crate) fn read(message: &Message) -> Option<Self> {
        let status = Status::from_word(&message.kind)?;
        let reasons = vec![message.reason()?];
        Some(Self { status, reasons })
    }
}

#[cfg(test)]
mod tests {
    //! Scope: the message, and who may skip a test. The rest runs in the sample binaries.

    use super::*;

    #[test]
    fn messages_are_read_back() {
        for status in [Status::Unmet, Status::Undetermined] {
            let skip = RuntimeSkip {
                status,
                reasons: vec![Reason::runtime_skip("no\tdisk", "a.rs:1")],
            };
            let message = Message::with_reason(status.word(), &skip.reasons[0]);
            assert_eq!(RuntimeSkip::read(&message), Some(skip));
        }
        let reason = Reason::runtime_skip("a", "b");
        let waived = Message::with_reason(WAIVED_KIND, &reason);
        assert_eq!(RuntimeSkip::read(&waived), None);
        assert_eq!(waived.reason(), Some(reason));
        assert_eq!(RuntimeSkip::read(&Message::new("unmet", &["a"])), None);
    }

    #[test]
    fn only_a_tests_own_thread_can_skip_it() {
        let caught = std::panic::catch_unwind(|| skip(format_args!("no disk")));
        let payload = caught.expect_err("a panic");
        let text = crate::facts::panic_text(&*payload).expect("a text");
        assert!(text.starts_with("no disk ("), "{text}");
        assert!(text.contains("not a skip but a failure"), "{text}");
    }
}

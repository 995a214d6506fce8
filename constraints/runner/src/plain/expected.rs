//! What the configuration expects of a plain test: `expect-failure` and `unstable`.

use super::task::Ended;
use crate::{Eligibility, ExpectFailure, Outcome, ProcessEnd, TestSettings};
use kata_test_host::constraint::Status;

/// The exit status of libtest after a failure, and of a program whose `main` has panicked.
const FAILED: i32 = 101;

impl Ended {
    /// Takes in whether the test was to fail. `verdict` is that on the constraints of its `expect-failure` in
    /// the place.
    pub(super) fn weigh(&mut self, settings: &TestSettings, verdict: Option<&Eligibility>) {
        let (Some(expected), Some(verdict)) = (&settings.expect_failure, verdict) else {
            return;
        };
        let has_run = self.result.outcome.is_failure() || self.result.outcome == Outcome::Passed;
        match verdict.status {
            Status::Unmet => return,
            Status::Undetermined if has_run => {
                self.result.outcome = Outcome::Undetermined;
                self.result.reasons.clone_from(&verdict.reasons);
                return;
            }
            Status::Met | Status::Undetermined => {}
        }
        let outcome = match self.result.outcome {
            Outcome::Passed if !expected.sometimes => Outcome::UnexpectedPass,
            Outcome::Failed | Outcome::TimedOut if self.is_expected(expected) => {
                Outcome::ExpectedFailure
            }
            _ => return,
        };
        self.result.outcome = outcome;
        (self.result.lacks, self.result.lacks_kvm) = (None, None);
        self.result.issue.clone_from(&expected.issue);
        self.result.reason = Some(expected.condition()).filter(|text| !text.is_empty());
    }

    fn is_expected(&self, expected: &ExpectFailure) -> bool {
        let kind_counts = match self.end {
            Some(ProcessEnd::Exited(FAILED)) => true,
            Some(ProcessEnd::Exited(_) | ProcessEnd::Signaled(_)) => expected.crash,
            Some(ProcessEnd::TimedOut(_)) => return expected.timeout,
            Some(ProcessEnd::Stopped | ProcessEnd::Crashed(_)) | None => false,
        };
        let text_counts = match &expected.message {
            Some(message) => self.output.contains(message.as_str()),
            // The place does not permit what the test does, which says nothing about its bug.
            None => self.result.lacks.is_none(),
        };
        kind_counts && text_counts
    }

    /// Takes in that failures of the test do not fail the run.
    pub(super) fn excuse_unstable(&mut self, settings: &TestSettings) {
        let is_failure = matches!(
            self.result.outcome,
            Outcome::Failed | Outcome::TimedOut | Outcome::UnexpectedPass
        );
        if let (Some(reason), true) = (&settings.unstable, is_failure) {
            self.result.outcome = Outcome::Unstable;
            self.result.reason = Some(reason.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    //! Scope: which end is the expected one. `tests/plain` of cargo-kata-test runs such tests.

    use std::time::Duration;

    use super::*;
    use crate::plain::result::PlainResult;

    fn ended(outcome: Outcome, end: ProcessEnd, output: &str) -> Ended {
        let mut result = PlainResult::of(outcome, Vec::new());
        result.lacks = output.contains("EPERM").then(|| output.to_owned());
        Ended {
            end: Some(end),
            output: output.to_owned(),
            result,
            took: Duration::ZERO,
            uid: 0,
            kernel_log: crate::KernelLog::default(),
            artifacts: None,
        }
    }

    fn weighed(expected: ExpectFailure, status: Status, mut ended: Ended) -> Outcome {
        let settings = TestSettings {
            expect_failure: Some(expected),
            ..TestSettings::default()
        };
        let verdict = Eligibility {
            status,
            is_open: false,
            reasons: Vec::new(),
        };
        ended.weigh(&settings, Some(&verdict));
        ended.result.outcome
    }

    #[test]
    fn only_the_expected_end_is_an_expected_failure() {
        let any = ExpectFailure::default;
        let disk = || ExpectFailure {
            message: Some("no disk".to_owned()),
            ..any()
        };
        let crash = || ExpectFailure {
            crash: true,
            ..any()
        };
        let late = || ExpectFailure {
            timeout: true,
            ..any()
        };
        let sometimes = || ExpectFailure {
            sometimes: true,
            ..any()
        };
        let panicked = |text| ended(Outcome::Failed, ProcessEnd::Exited(101), text);
        let killed = || ended(Outcome::Failed, ProcessEnd::Signaled(11), "");
        let hung = || {
            let end = ProcessEnd::TimedOut(Duration::ZERO);
            ended(Outcome::TimedOut, end, "no disk")
        };
        let passed = || ended(Outcome::Passed, ProcessEnd::Exited(0), "");
        let skipped = || ended(Outcome::Skipped, ProcessEnd::Exited(0), "");
        let lost = || ended(Outcome::Failed, ProcessEnd::Crashed("gone".into()), "");
        let denied = || panicked("EPERM: no disk");
        let (met, unmet) = (Status::Met, Status::Unmet);
        for (expected, status, ended, outcome) in [
            (any(), met, panicked("x"), Outcome::ExpectedFailure),
            (any(), unmet, panicked("x"), Outcome::Failed),
            (
                any(),
                Status::Undetermined,
                panicked("x"),
                Outcome::Undetermined,
            ),
            (disk(), met, panicked("no disk\n"), Outcome::ExpectedFailure),
            (disk(), met, panicked("no file\n"), Outcome::Failed),
            (any(), met, denied(), Outcome::Failed),
            (disk(), met, denied(), Outcome::ExpectedFailure),
            (any(), met, killed(), Outcome::Failed),
            (crash(), met, killed(), Outcome::ExpectedFailure),
            (crash(), met, hung(), Outcome::TimedOut),
            (late(), met, hung(), Outcome::ExpectedFailure),
            (crash(), met, lost(), Outcome::Failed),
            (any(), met, passed(), Outcome::UnexpectedPass),
            (any(), unmet, passed(), Outcome::Passed),
            (sometimes(), met, passed(), Outcome::Passed),
            (any(), met, skipped(), Outcome::Skipped),
            (any(), Status::Undetermined, skipped(), Outcome::Skipped),
        ] {
            let found = weighed(expected.clone(), status, ended.clone());
            assert_eq!(found, outcome, "{expected:?} {status:?} {:?}", ended.end);
        }
    }
}

//! Attempts: tests that run again, and failures that do not fail the run.

use super::conclusion::Conclusion;
use crate::harness::Caller;
use crate::harness::plan::Plan;
use crate::record::Outcome;
use crate::registry::Test;

impl Plan {
    /// Returns whether the test runs again after an attempt. If not, makes its conclusion that of the test.
    pub(super) fn runs_again(
        &self,
        test: &Test,
        attempt: u32,
        conclusion: &mut Conclusion,
    ) -> bool {
        let is_repeated = self.options.repeat.get() > 1;
        let all = self.attempts(test);
        // A constraint that is undetermined, or a signal to the harness, is no matter of the attempt.
        let has_failed = matches!(conclusion.outcome, Outcome::Failed | Outcome::TimedOut);
        let has_passed = matches!(
            conclusion.outcome,
            Outcome::Passed | Outcome::ExpectedFailure
        );
        let goes_on = if is_repeated { has_passed } else { has_failed };
        if goes_on && attempt < all {
            return true;
        }
        if has_passed && !is_repeated && attempt > 1 {
            conclusion.outcome = Outcome::Flaky;
            conclusion.detail = Some(format!("passed at attempt {attempt} of {all}"));
        }
        if has_failed && is_repeated {
            conclusion.detail = Some(format!("at run {attempt} of {all}"));
        }
        let is_failure = has_failed || conclusion.outcome == Outcome::UnexpectedPass;
        // nextest would show a pass.
        if let (Some(reason), true, true) =
            (test.unstable, is_failure, self.caller != Caller::NextestRun)
        {
            conclusion.detail = Some(reason.to_owned());
            conclusion.reason = Some(reason.to_owned());
            conclusion.outcome = Outcome::Unstable;
        }
        false
    }
}

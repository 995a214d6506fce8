//! Tests that ran although, or until, a constraint was found unmet.

use super::conclusion::Conclusion;
use crate::constraint::Status;
use crate::contract::UNSKIP;
use crate::harness::Caller;
use crate::harness::plan::Plan;
use crate::harness::test_end::TestEnd;
use crate::reason::{Reason, join};
use crate::record::Outcome;
use crate::registry::Test;
use crate::runtime_skip::RuntimeSkip;

impl Plan {
    /// Concludes a test that ended by `require!` or `skip!`.
    pub(super) fn conclude_skip(&self, test: &Test, skip: RuntimeSkip) -> Conclusion {
        let RuntimeSkip { status, reasons } = skip;
        let text = join(&reasons);
        if status == Status::Undetermined {
            return Conclusion {
                detail: Some("undetermined".to_owned()),
                note: Some(format!("a constraint is undetermined: {text}")),
                reasons,
                ..Conclusion::new(Outcome::Undetermined)
            };
        }
        match self.forbids_skip(test, &reasons, true) {
            Some(why) => Conclusion {
                note: Some(format!("skipped at run time: {text}\n{why}")),
                reasons,
                ..Conclusion::new(Outcome::Failed)
            },
            None => Conclusion {
                detail: Some(text),
                reasons,
                ..Conclusion::new(Outcome::Skipped)
            },
        }
    }

    /// Concludes a test that ran although it is unmet (`KATA_TEST_UNSKIP`). If it passed, the
    /// constraint is stale; else it counts as skipped, except under nextest, which would show a pass.
    pub(super) fn conclude_unmet(&self, end: &TestEnd, unmet: Vec<Reason>) -> Conclusion {
        let text = join(&unmet);
        let (outcome, detail, note) = if *end == TestEnd::Passed {
            (Outcome::Passed, Some(text), None)
        } else if self.caller == Caller::NextestRun {
            let note = format!("ran because of {UNSKIP}=1, although unmet: {text}");
            (Outcome::Failed, None, Some(note))
        } else {
            let detail = format!("{text}; ran anyway ({UNSKIP}) and failed");
            (Outcome::Skipped, Some(detail), None)
        };
        Conclusion {
            outcome,
            detail,
            note,
            reasons: unmet,
            reason: None,
        }
    }
}

//! Tests that end between success and failure: those that stopped half-way, and those that were run
//! though they are unmet.

use super::outcome::Report;
use crate::contract::UNSKIP;
use crate::halt::Halt;
use crate::harness::Caller;
use crate::harness::child::How;
use crate::harness::plan::Decision;
use crate::harness::print::Result as Shown;
use crate::record::Outcome;
use crate::registry::Test;
use crate::verdict::{Reason, join};

/// What became of a test, what the line says of it, what its output does not say, and its reasons.
type Judged = (Outcome, Shown, Option<String>, Vec<Reason>);

impl Report<'_> {
    /// Judges a test that stopped half-way: what it required is unmet, or cannot be decided.
    pub(super) fn judge_halted(&self, test: &Test, halt: Halt) -> Judged {
        let text = join(&halt.reasons);
        if halt.undetermined {
            let why = format!("stopped, since it is undetermined: {text}");
            let shown = Shown::Failed(Some("undetermined".to_owned()));
            return (Outcome::Undetermined, shown, Some(why), halt.reasons);
        }
        let failed = |why: String, reasons| {
            let why = format!("stopped half-way: {text}\n{why}");
            (Outcome::Failed, Shown::Failed(None), Some(why), reasons)
        };
        match self.plan().skip(test, halt.reasons) {
            Decision::Refuse(reasons, refusal) => {
                failed(refusal.text_half_way().to_owned(), reasons)
            }
            Decision::Forbid(reasons, why) => failed(why, reasons),
            skip => {
                let reasons = skip.reasons().to_vec();
                (Outcome::Skipped, Shown::Ignored(text), None, reasons)
            }
        }
    }

    /// Judges a test that was run though it is unmet. If it passed, it does not need what it states;
    /// if not, it is as good as skipped, except to nextest, which is not told of skips by now.
    pub(super) fn judge_unmet(&mut self, test: &Test, how: How, unmet: Vec<Reason>) -> Judged {
        let text = join(&unmet);
        if how == How::Passed {
            self.stale(test, &unmet);
            (Outcome::Passed, Shown::Stale(text), None, unmet)
        } else if self.plan().caller == Caller::NextestRun {
            let why = format!("run for {UNSKIP}=1, though unmet: {text}");
            (Outcome::Failed, Shown::Failed(None), Some(why), unmet)
        } else {
            let shown = Shown::Ignored(format!("{text}; run all the same, it did not pass"));
            (Outcome::Skipped, shown, None, unmet)
        }
    }
}

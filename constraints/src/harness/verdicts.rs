//! A list for a person who asks how a recorded host would fare: each test with its verdict.

use std::fmt::Write;

use super::plan::Plan;
use crate::constraint::{Standing, judge};
use crate::contract::Recorded;
use crate::registry::Test;
use crate::verdict::join;

/// Each test and where it stands; a question mark where that depends on what was not recorded.
pub(super) fn list(plan: &Plan, tests: &[&'static Test], host: &Recorded) -> String {
    let mut text = String::new();
    let mut counts = [0; 4];
    for test in &plan.select(tests).tests {
        let judgement = judge(test.constraints, host);
        let is_missing = || {
            let mut observed = judgement.reasons.iter().map(|reason| &reason.observed);
            observed.any(|observed| Recorded::is_missing(observed))
        };
        let (kind, word) = match judgement.standing {
            Standing::Met => (0, "met"),
            Standing::Unmet => (1, "unmet"),
            Standing::Undetermined if is_missing() => (2, "?"),
            Standing::Undetermined => (3, "undetermined"),
        };
        counts[kind] += 1;
        let comma = if judgement.reasons.is_empty() {
            ""
        } else {
            ", "
        };
        let reasons = join(&judgement.reasons).replace('\n', " ");
        let _ = writeln!(text, "{}: {word}{comma}{reasons}", test.name());
    }
    let [met, unmet, missing, undetermined] = counts;
    let _ = writeln!(
        text,
        "\n{met} met, {unmet} unmet, {missing} ?, {undetermined} undetermined"
    );
    text
}

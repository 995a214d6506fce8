//! A list for a person who asks how a recorded host would fare: each test with its verdict.

use std::fmt::Write;

use super::recorded::{is_open, judge};
use crate::constraint::Standing;
use crate::contract::Recorded;
use crate::harness::judged::Judged;
use crate::harness::plan::Plan;
use crate::registry::Test;
use crate::verdict::join;

/// Each test and where it stands; a question mark where that depends on what was not recorded.
pub(in crate::harness) fn list(plan: &Plan, tests: &[&'static Test], host: &Recorded) -> String {
    let mut text = String::new();
    let mut counts = [0; 4];
    for test in &plan.select(tests).tests {
        let Judged::As(_, judgement) = judge(test, host) else {
            continue;
        };
        let (kind, word) = match judgement.standing {
            Standing::Met => (0, "met"),
            Standing::Unmet => (1, "unmet"),
            Standing::Undetermined if is_open(&judgement) => (2, "?"),
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

//! The list for a person: each test with its verdict on a recorded host.

use std::fmt::Write;

use super::recorded::{evaluate, is_open};
use crate::constraint::Status;
use crate::contract::Recorded;
use crate::harness::plan::Plan;
use crate::reason::join;
use crate::registry::Test;

/// Each test with its verdict, which is `?` if it rests on facts that were not recorded.
pub(in crate::harness) fn list(plan: &Plan, tests: &[&'static Test], host: &Recorded) -> String {
    let mut text = String::new();
    let mut counts = [0; 4];
    for test in &plan.select(tests).tests {
        let evaluation = evaluate(test, host).evaluation;
        let (kind, word) = match evaluation.status {
            Status::Met => (0, "met"),
            Status::Unmet => (1, "unmet"),
            status @ Status::Undetermined if is_open(test, host, status) => (2, "?"),
            Status::Undetermined => (3, "undetermined"),
        };
        counts[kind] += 1;
        let comma = if evaluation.reasons.is_empty() {
            ""
        } else {
            ", "
        };
        let reasons = join(&evaluation.reasons).replace('\n', " ");
        let _ = writeln!(text, "{}: {word}{comma}{reasons}", test.name());
    }
    let [met, unmet, missing, undetermined] = counts;
    let _ = writeln!(
        text,
        "\n{met} met, {unmet} unmet, {missing} ?, {undetermined} undetermined"
    );
    text
}

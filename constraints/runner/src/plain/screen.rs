//! Lines on the screen about plain tests.

use std::fmt::Write as _;

use super::task::Ended;
use super::transcript::shortened;
use crate::{Outcome, ProcessEnd, TestId};
use kata_test::__runner::HERE;
use kata_test_host::reason::join;

/// The line of a test that has ended, and its output if it failed.
pub(super) fn ended(ended: &Ended, id: &TestId, place: &str) -> String {
    let word = match ended.result.outcome {
        Outcome::Passed => "PASS",
        Outcome::TimedOut => "TIMEOUT",
        Outcome::SuspectedSkip => "SUSPECT",
        Outcome::Skipped => "SKIP",
        Outcome::ExpectedFailure => "XFAIL",
        Outcome::UnexpectedPass => "XPASS",
        Outcome::Unstable => "UNSTABLE",
        _ => "FAIL",
    };
    let seconds = ended.took.as_secs_f64();
    let mut text = format!("{word:>8} [{seconds:>8.3}s] {id}");
    if place != HERE {
        let _ = write!(text, " in {place}");
    }
    text.push('\n');
    match (&ended.result.suspect, ended.result.outcome) {
        (Some(line), _) => {
            let _ = writeln!(text, "         its output: {line}");
        }
        (None, Outcome::Skipped) if !ended.result.reasons.is_empty() => {
            let _ = writeln!(text, "         {}", join(&ended.result.reasons));
        }
        _ => {}
    }
    if ended.result.outcome.is_failure() || ended.result.outcome == Outcome::Unstable {
        let end = match &ended.end {
            Some(ProcessEnd::Exited(_)) | None => String::new(),
            Some(end) => format!(", {end}"),
        };
        let _ = writeln!(text, "--- output of {id}{end}");
        for reason in &ended.result.reasons {
            let _ = writeln!(text, "{reason}");
        }
        text.push_str(shortened(&ended.output).trim_matches('\n'));
        for message in ended.kernel_log.messages_for(ended.result.outcome) {
            let _ = write!(text, "\nkernel: {message}");
        }
        text.push_str("\n---\n");
    }
    text
}

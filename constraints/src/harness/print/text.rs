//! Lines for a person, in libtest's form.

use super::{Line, one_line, word};
use crate::record::Outcome;

/// The length of a line of dots.
const TERSE_WIDTH: usize = 88;

#[derive(Clone, Copy)]
pub(in crate::harness) enum Paint {
    Green,
    Red,
    Yellow,
}

pub(super) fn head(count: usize, seed: Option<u64>) -> String {
    let plural = if count == 1 { "" } else { "s" };
    let seed = seed.map(|seed| format!(" (shuffle seed: {seed})"));
    format!(
        "\nrunning {count} test{plural}{}\n",
        seed.unwrap_or_default()
    )
}

pub(super) fn pretty(line: &Line<'_>, colored: bool, report_time: bool) -> String {
    let should_panic = if line.should_panic {
        " - should panic"
    } else {
        ""
    };
    let detail = one_line(line.detail);
    let (word, detail) = match (line.outcome, detail.is_empty()) {
        (Outcome::ExpectedFailure, true) => ("expected failure", String::new()),
        (Outcome::ExpectedFailure, _) => ("expected failure", format!(", {detail}")),
        (Outcome::Flaky, _) => ("flaky", format!(", {detail}")),
        (Outcome::Unstable, _) => ("unstable", format!(", {detail}")),
        (outcome, true) => (word(outcome), String::new()),
        (Outcome::Passed, _) => ("ok", format!(", with a stale constraint: {detail}")),
        (outcome, _) if outcome.is_failure() => ("failed", format!(" ({detail})")),
        (outcome, _) => (word(outcome), format!(", {detail}")),
    };
    let word = if word == "failed" { "FAILED" } else { word };
    let word = paint(word, color(line.outcome), colored);
    let took = line.took.filter(|_| report_time);
    let took = took.map(|took| format!(" <{:.3}s>", took.as_secs_f64()));
    let user = line.as_uid.map(|uid| format!(" (as uid {uid})"));
    let [took, user] = [took, user].map(Option::unwrap_or_default);
    format!(
        "test {}{should_panic} ... {word}{detail}{user}{took}\n",
        line.name
    )
}

fn color(outcome: Outcome) -> Paint {
    match (outcome, word(outcome)) {
        (Outcome::Passed, _) => Paint::Green,
        (Outcome::Unstable, _) | (_, "ok" | "ignored") => Paint::Yellow,
        _ => Paint::Red,
    }
}

/// One character, and a line break behind a full line.
pub(super) fn terse(outcome: Outcome, colored: bool, column: &mut usize) -> String {
    let dot = match (outcome, word(outcome)) {
        (Outcome::ExpectedFailure, _) => "x",
        (Outcome::Flaky, _) => "f",
        (Outcome::Unstable, _) => "u",
        (_, "ok") => ".",
        (_, "ignored") => "i",
        _ => "F",
    };
    let dot = paint(dot, color(outcome), colored);
    *column += 1;
    let end = if ends_line(*column) { "\n" } else { "" };
    format!("{dot}{end}")
}

pub(super) fn ends_line(column: usize) -> bool {
    column % TERSE_WIDTH == 0
}

pub(super) fn paint(text: &str, color: Paint, colored: bool) -> String {
    if !colored {
        return text.to_owned();
    }
    let code = match color {
        Paint::Green => 32,
        Paint::Red => 31,
        Paint::Yellow => 33,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

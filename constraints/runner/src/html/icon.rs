//! The icon of an outcome: a letter, a shape and a colour, each of which is unique.

use maud::{Markup, html};

use crate::Outcome;

/// All outcomes, in the order in which a person should see them.
pub(super) const ALL: [Outcome; 13] = [
    Outcome::Failed,
    Outcome::TimedOut,
    Outcome::Lost,
    Outcome::UnexpectedPass,
    Outcome::Undetermined,
    Outcome::Unstable,
    Outcome::Flaky,
    Outcome::ExpectedFailure,
    Outcome::SuspectedSkip,
    Outcome::Nowhere,
    Outcome::Skipped,
    Outcome::Ignored,
    Outcome::Passed,
];

/// The name in the style sheet.
pub(super) fn class(kind: Outcome) -> &'static str {
    match kind {
        Outcome::Failed => "failed",
        Outcome::TimedOut => "timed-out",
        Outcome::Lost => "lost",
        Outcome::UnexpectedPass => "unexpected-pass",
        Outcome::Undetermined => "undetermined",
        Outcome::Unstable => "unstable",
        Outcome::Flaky => "flaky",
        Outcome::ExpectedFailure => "expected-failure",
        Outcome::Passed => "passed",
        Outcome::SuspectedSkip => "suspected-skip",
        Outcome::Nowhere => "nowhere",
        Outcome::Skipped => "skipped",
        Outcome::Ignored => "ignored",
    }
}

fn sign(kind: Outcome) -> &'static str {
    match kind {
        Outcome::Failed => "✗",
        Outcome::TimedOut => "T",
        Outcome::Lost => "L",
        Outcome::UnexpectedPass => "!",
        Outcome::Undetermined => "?",
        Outcome::Unstable => "U",
        Outcome::Flaky => "↻",
        Outcome::ExpectedFailure => "x",
        Outcome::Passed => "✓",
        Outcome::SuspectedSkip => "S",
        Outcome::Nowhere => "N",
        Outcome::Skipped => "–",
        Outcome::Ignored => "i",
    }
}

/// Explains the outcome.
pub(super) fn meaning(kind: Outcome) -> &'static str {
    match kind {
        Outcome::Failed => "ran and failed",
        Outcome::TimedOut => "exceeded its time limit",
        Outcome::Lost => "was scheduled or started, but has no result",
        Outcome::UnexpectedPass => "passed, but is expected to fail",
        Outcome::Undetermined => "a constraint could not be decided",
        Outcome::Unstable => "failed, but is marked unstable",
        Outcome::Flaky => "failed, then passed at a later attempt",
        Outcome::ExpectedFailure => "failed as expected",
        Outcome::Passed => "ran and passed",
        Outcome::SuspectedSkip => "passed, but its output says that it skips",
        Outcome::Nowhere => "no available place meets its requirements",
        Outcome::Skipped => "requirements are unmet",
        Outcome::Ignored => "marked `#[ignore]`",
    }
}

/// The sign, which a screen reader hears as a word.
pub(super) fn of(kind: Outcome) -> Markup {
    html! {
        span class={ "sign " (class(kind)) } role="img" aria-label=(kind) title=(kind) { (sign(kind)) }
    }
}

/// The sign alone, where the word stands beside it.
pub(super) fn bare(kind: Outcome) -> Markup {
    html! { span class={ "sign " (class(kind)) } aria-hidden="true" { (sign(kind)) } }
}

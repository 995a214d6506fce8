//! How an outcome looks: a sign, a shape and a colour, so that each alone tells it.

use maud::{Markup, html};

use crate::Outcome;

/// All outcomes, in the order in which a person should see them.
pub(super) const ALL: [Outcome; 8] = [
    Outcome::Failed,
    Outcome::TimedOut,
    Outcome::Lost,
    Outcome::Undetermined,
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
        Outcome::Undetermined => "undetermined",
        Outcome::Passed => "passed",
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
        Outcome::Undetermined => "?",
        Outcome::Passed => "✓",
        Outcome::Nowhere => "N",
        Outcome::Skipped => "–",
        Outcome::Ignored => "i",
    }
}

/// What it means, for a person who never heard of it.
pub(super) fn meaning(kind: Outcome) -> &'static str {
    match kind {
        Outcome::Failed => "ran, and something was wrong",
        Outcome::TimedOut => "ran longer than it may, and was ended",
        Outcome::Lost => "was to run, and nothing more is known",
        Outcome::Undetermined => "whether it can run could not be told",
        Outcome::Passed => "ran, and all was well",
        Outcome::Nowhere => "needs what no place at hand has",
        Outcome::Skipped => "needs what is missing, so it did not run",
        Outcome::Ignored => "is marked to be left out",
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

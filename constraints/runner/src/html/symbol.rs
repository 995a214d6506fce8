//! How an outcome looks: a sign, a shape and a colour, so that each alone tells it.

use maud::{Markup, html};

use crate::OutcomeKind;

/// All outcomes, in the order in which a person should see them.
pub(super) const ALL: [OutcomeKind; 8] = [
    OutcomeKind::Failed,
    OutcomeKind::TimedOut,
    OutcomeKind::Lost,
    OutcomeKind::Undetermined,
    OutcomeKind::Nowhere,
    OutcomeKind::Skipped,
    OutcomeKind::Ignored,
    OutcomeKind::Passed,
];

/// The name in the style sheet.
pub(super) fn class(kind: OutcomeKind) -> &'static str {
    match kind {
        OutcomeKind::Failed => "failed",
        OutcomeKind::TimedOut => "timed-out",
        OutcomeKind::Lost => "lost",
        OutcomeKind::Undetermined => "undetermined",
        OutcomeKind::Passed => "passed",
        OutcomeKind::Nowhere => "nowhere",
        OutcomeKind::Skipped => "skipped",
        OutcomeKind::Ignored => "ignored",
    }
}

fn sign(kind: OutcomeKind) -> &'static str {
    match kind {
        OutcomeKind::Failed => "✗",
        OutcomeKind::TimedOut => "T",
        OutcomeKind::Lost => "L",
        OutcomeKind::Undetermined => "?",
        OutcomeKind::Passed => "✓",
        OutcomeKind::Nowhere => "N",
        OutcomeKind::Skipped => "–",
        OutcomeKind::Ignored => "i",
    }
}

/// What it means, for a person who never heard of it.
pub(super) fn meaning(kind: OutcomeKind) -> &'static str {
    match kind {
        OutcomeKind::Failed => "ran, and something was wrong",
        OutcomeKind::TimedOut => "ran longer than it may, and was ended",
        OutcomeKind::Lost => "was to run, and nothing more is known",
        OutcomeKind::Undetermined => "whether it can run could not be told",
        OutcomeKind::Passed => "ran, and all was well",
        OutcomeKind::Nowhere => "needs what no place at hand has",
        OutcomeKind::Skipped => "needs what is missing, so it did not run",
        OutcomeKind::Ignored => "is marked to be left out",
    }
}

/// The sign, which a screen reader hears as a word.
pub(super) fn of(kind: OutcomeKind) -> Markup {
    html! {
        span class={ "sign " (class(kind)) } role="img" aria-label=(kind) title=(kind) { (sign(kind)) }
    }
}

/// The sign alone, where the word stands beside it.
pub(super) fn bare(kind: OutcomeKind) -> Markup {
    html! { span class={ "sign " (class(kind)) } aria-hidden="true" { (sign(kind)) } }
}

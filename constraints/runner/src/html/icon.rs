//! The icon of an outcome: a letter, a shape and a colour, each of which is unique.

use std::collections::BTreeMap;

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

/// What stands for an outcome: its name in the style sheet, a sign, and an explanation.
fn looks(kind: Outcome) -> (&'static str, &'static str, &'static str) {
    match kind {
        Outcome::Failed => ("failed", "✗", "ran and failed"),
        Outcome::TimedOut => ("timed-out", "T", "exceeded its time limit"),
        Outcome::Lost => ("lost", "L", "was scheduled or started, but has no result"),
        Outcome::UnexpectedPass => ("unexpected-pass", "!", "passed, but is expected to fail"),
        Outcome::Undetermined => ("undetermined", "?", "a constraint could not be decided"),
        Outcome::Unstable => ("unstable", "U", "failed, but is marked unstable"),
        Outcome::Flaky => ("flaky", "↻", "failed, then passed at a later attempt"),
        Outcome::ExpectedFailure => ("expected-failure", "x", "failed as expected"),
        Outcome::Passed => ("passed", "✓", "ran and passed"),
        Outcome::SuspectedSkip => (
            "suspected-skip",
            "S",
            "passed, but its output says that it skips",
        ),
        Outcome::Nowhere => ("nowhere", "N", "no available place meets its requirements"),
        Outcome::Skipped => ("skipped", "–", "requirements are unmet"),
        Outcome::Ignored => ("ignored", "i", "marked `#[ignore]`"),
    }
}

/// The name in the style sheet.
pub(super) fn class(kind: Outcome) -> &'static str {
    looks(kind).0
}

/// Explains the outcome.
pub(super) fn meaning(kind: Outcome) -> &'static str {
    looks(kind).2
}

/// Counts outcomes.
pub(super) fn counts(outcomes: impl Iterator<Item = Outcome>) -> BTreeMap<Outcome, usize> {
    let mut counts = BTreeMap::new();
    for outcome in outcomes {
        *counts.entry(outcome).or_default() += 1;
    }
    counts
}

/// How outcomes share a whole, in which `rest` have none.
pub(super) fn share(counts: &BTreeMap<Outcome, usize>, rest: usize) -> Markup {
    html! {
        div.share aria-hidden="true" {
            @for kind in ALL {
                @if let Some(count) = counts.get(&kind) {
                    span class=(class(kind)) style={ "flex-grow:" (count) } {}
                }
            }
            @if rest > 0 { span.rest style={ "flex-grow:" (rest) } {} }
        }
    }
}

/// The sign, which a screen reader hears as a word.
pub(super) fn of(kind: Outcome) -> Markup {
    html! {
        span class={ "sign " (class(kind)) } role="img" aria-label=(kind) title=(kind) { (looks(kind).1) }
    }
}

/// The sign alone, where the word stands beside it.
pub(super) fn bare(kind: Outcome) -> Markup {
    html! { span class={ "sign " (class(kind)) } aria-hidden="true" { (looks(kind).1) } }
}

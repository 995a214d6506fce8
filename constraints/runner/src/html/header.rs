//! The top of the page: what the run amounts to, what it was, and the counts, which are also the
//! legend and the switches of the filter.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::{symbol, time};
use crate::about::About;
use crate::ledger::plural;
use crate::report::Report;
use crate::{Conclusion, Outcome, Record, conclude};

pub(super) fn title(outcomes: &[Record]) -> String {
    format!("Tests: {}", conclude(outcomes))
}

pub(super) fn of(report: &Report, outcomes: &[Record]) -> Markup {
    let conclusion = conclude(outcomes);
    let mark = match conclusion {
        Conclusion::Good => Outcome::Passed,
        Conclusion::Failures(_) => Outcome::Failed,
        Conclusion::NothingRan => Outcome::Nowhere,
    };
    let counts = counts(outcomes);
    html! {
        header {
            p.kicker { "Test report" }
            h1 { (symbol::bare(mark)) " " span { (capital(&conclusion.to_string())) } }
            p.lede { (lede(report, outcomes)) }
            (share(&counts, outcomes.len()))
            (switches(&counts))
            (runs(&report.runs))
        }
    }
}

/// The run in a sentence or two.
fn lede(report: &Report, outcomes: &[Record]) -> Markup {
    let ran = outcomes.iter().filter(|one| {
        one.outcome == Outcome::Passed || (one.outcome.is_failure() && one.duration_ms > 0.0)
    });
    let ran = ran.count();
    let places = report.ledger.places.len();
    html! {
        (plural(outcomes.len(), "test")) ", of which " (ran) " ran, in "
        (plural(places, "place")) ". A test says what it needs, such as root or a kernel. A place is "
        "where it can be run: the host itself (“here”), or a virtual machine."
    }
}

fn counts(outcomes: &[Record]) -> BTreeMap<Outcome, usize> {
    let mut counts = BTreeMap::new();
    for outcome in outcomes {
        *counts.entry(outcome.outcome).or_default() += 1;
    }
    counts
}

/// How the outcomes share the whole.
fn share(counts: &BTreeMap<Outcome, usize>, all: usize) -> Markup {
    html! {
        @if all > 0 {
            div.share aria-hidden="true" {
                @for kind in symbol::ALL {
                    @if let Some(count) = counts.get(&kind) {
                        span class=(symbol::class(kind)) style={ "flex-grow:" (count) } {}
                    }
                }
            }
        }
    }
}

/// A count and a meaning for each outcome; pressed, only these tests are shown.
fn switches(counts: &BTreeMap<Outcome, usize>) -> Markup {
    html! {
        ul.counts aria-label="Outcomes: press one to see its tests only" {
            @for kind in symbol::ALL {
                @let count = counts.get(&kind).copied().unwrap_or_default();
                li {
                    button type="button" data-outcome=(symbol::class(kind)) aria-pressed="false"
                        disabled[count == 0] {
                        (symbol::bare(kind))
                        b { (count) }
                        span.word { (kind) }
                        small { (symbol::meaning(kind)) }
                    }
                }
            }
        }
    }
}

/// What the runs were.
fn runs(runs: &[About]) -> Markup {
    let is_known = |run: &&About| run.started > 0 || !run.host.is_empty() || !run.with.is_empty();
    let known = runs.iter().filter(is_known);
    html! {
        ul.runs {
            @for run in known {
                li {
                    @if !run.machine.is_empty() { b { (run.machine) } }
                    @if run.started > 0 { (time::of(run.started)) }
                    @for text in [&run.host, &run.with] {
                        @if !text.is_empty() { span { (text) } }
                    }
                }
            }
        }
    }
}

pub(super) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

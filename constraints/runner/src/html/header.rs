//! The top of the page: what the run amounts to, what it was, and the counts, which are also the
//! legend and the switches of the filter.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::{date, icon};
use crate::ledger::plural;
use crate::report::Report;
use crate::run_info::RunInfo;
use crate::{Outcome, Record, RunStatus, run_status};

pub(super) fn of(report: &Report, outcomes: &[Record]) -> Markup {
    let conclusion = run_status(outcomes);
    let mark = match conclusion {
        RunStatus::Passed => Outcome::Passed,
        RunStatus::Failed(_) => Outcome::Failed,
        RunStatus::NothingRan => Outcome::Nowhere,
    };
    let counts = icon::counts(outcomes.iter().map(|one| one.outcome));
    html! {
        header {
            p.kicker { "Test report" }
            h1 { (icon::bare(mark)) " " span { (capital(&conclusion.to_string())) } }
            p.lede { (lede(report, outcomes)) }
            @if !outcomes.is_empty() { (icon::share(&counts, 0)) }
            (switches(&counts))
            (runs(&report.runs))
        }
    }
}

/// The run in a sentence or two.
fn lede(report: &Report, outcomes: &[Record]) -> Markup {
    let ran = outcomes.iter().filter(|one| {
        one.outcome.is_success() || (one.outcome.is_failure() && one.duration_ms > 0.0)
    });
    let ran = ran.count();
    let places = report.ledger.places.len();
    let tests = plural(report.ledger.tests.len(), "test");
    html! {
        @if report.ledger.everywhere {
            (tests) " in " (plural(places, "place")) ", with " (plural(outcomes.len(), "outcome"))
            ", of which " (ran) " are of tests that ran"
        } @else {
            (plural(outcomes.len(), "test")) ", of which " (ran) " ran, in "
            (plural(places, "place"))
        }
        ". A test states its requirements, such as root or a kernel version. A "
        "place is where tests run: this host (“here”) or a virtual machine."
    }
}

/// A count and a meaning for each outcome; pressed, only these tests are shown.
fn switches(counts: &BTreeMap<Outcome, usize>) -> Markup {
    html! {
        ul.counts aria-label="Outcomes: press one to see its tests only" {
            @for kind in icon::ALL {
                @let count = counts.get(&kind).copied().unwrap_or_default();
                li {
                    button type="button" data-outcome=(icon::class(kind)) aria-pressed="false"
                        disabled[count == 0] {
                        (icon::bare(kind))
                        b { (count) }
                        span.word { (kind) }
                        small { (icon::meaning(kind)) }
                    }
                }
            }
        }
    }
}

/// What the runs were.
fn runs(runs: &[RunInfo]) -> Markup {
    let is_known = |run: &&RunInfo| run.started > 0 || !run.host.is_empty() || !run.with.is_empty();
    let known = runs.iter().filter(is_known);
    html! {
        ul.runs {
            @for run in known {
                li {
                    @if !run.machine.is_empty() { b { (run.machine) } }
                    @if run.started > 0 { (date::of(run.started)) }
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

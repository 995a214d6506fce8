//! Every test in every place: a table a binary, with a filter over all of them.

use maud::{Markup, html};

use super::attention::milliseconds;
use super::{issue, place, section, symbol};
use crate::ledger::{Column, Ledger, Seen, Story, attempts, plural};
use crate::{Outcome, Record};
use kata_test_host::reason::join;

/// Of more tests than this, a binary's table is closed until it is asked for.
const OPEN: usize = 40;

pub(super) fn of(ledger: &Ledger) -> Markup {
    let binaries = ledger
        .tests
        .chunk_by(|one, other| one.id.binary == other.id.binary);
    let tables = html! {
        div.filter role="search" {
            label for="filter" { "Filter" }
            input #filter type="search" autocomplete="off" spellcheck="false"
                placeholder="a name, a need, a place, an issue";
            kbd aria-hidden="true" { "/" }
            output #shown for="filter" aria-live="polite" {
                (plural(ledger.tests.len(), "test"))
            }
        }
        @for tests in binaries { (table(ledger, tests)) }
    };
    let about = "A sign stands where a test ran, or where it was found out that it cannot. A dot: that \
                 place was not asked.";
    section("tests", "Every test", about, &tables)
}

fn table(ledger: &Ledger, tests: &[Story]) -> Markup {
    let binary = &tests[0].id.binary;
    let is_open = tests.len() <= OPEN || tests.iter().any(is_failure);
    html! {
        details.binary open[is_open] {
            summary {
                span.name { (binary) } " " small { (plural(tests.len(), "test")) } " "
                (tally(tests))
            }
            div.scroll tabindex="0" role="region" aria-label=(binary) {
                table.matrix data-binary=(binary) {
                    thead {
                        tr {
                            th scope="col" { "Test" }
                            @for column in &ledger.places {
                                th.place scope="col" title=(column.about) { (place(column)) }
                            }
                            th.number scope="col" { "Time" }
                        }
                    }
                    tbody {
                        @for test in tests { (row(&ledger.places, test)) }
                    }
                }
            }
        }
    }
}

fn tally(tests: &[Story]) -> Markup {
    html! {
        span.tally {
            @for kind in symbol::ALL {
                @let count = tests.iter().filter(|test| test.kind() == Some(kind)).count();
                @if count > 0 { span { (symbol::of(kind)) " " (count) } }
            }
        }
    }
}

fn is_failure(test: &Story) -> bool {
    test.kind().is_some_and(Outcome::is_failure)
}

fn row(places: &[Column], test: &Story) -> Markup {
    let class = test.kind().map_or("", symbol::class);
    let took = test.outcome.as_ref().map_or(0.0, |one| one.duration_ms);
    html! {
        tr data-outcome=(class) {
            th scope="row" {
                span.name { (test.id.test) }
                @if let Some(outcome) = &test.outcome { (note(outcome)) }
            }
            @for (place, seen) in places.iter().zip(&test.seen) { (cell(place, seen.as_ref())) }
            td.number { @if took > 0.0 { (milliseconds(took)) } }
        }
    }
}

/// What is to be said of a test beside its sign.
fn note(outcome: &Record) -> Markup {
    let why = join(&outcome.reasons);
    let own = outcome.reason.as_deref();
    html! {
        @if outcome.outcome == Outcome::Nowhere {
            small.why { (symbol::of(outcome.outcome)) " nowhere: " (why) }
        } @else if !why.is_empty() {
            small.why { (why) }
        }
        @if let Some(own) = own { small.why { (own) } }
        @if let Some(cited) = &outcome.issue { small.why { "issue " (issue(cited)) } }
    }
}

fn cell(place: &Column, seen: Option<&Seen>) -> Markup {
    html! {
        @if let Some(seen) = seen {
            @let kind = seen.outcome.outcome;
            td.cell data-place=(place.name) data-outcome=(symbol::class(kind)) title=(tip(place, seen)) {
                (symbol::of(kind))
                @if seen.attempts.len() > 1 {
                    sup title=(attempts(&seen.attempts)) { (seen.attempts.len()) "×" }
                }
            }
        } @else {
            td.cell.none { span aria-label="not asked" { "·" } }
        }
    }
}

fn tip(place: &Column, seen: &Seen) -> String {
    let why = join(&seen.outcome.reasons);
    let colon = if why.is_empty() { "" } else { ": " };
    format!("{} in {}{colon}{why}", seen.outcome.outcome, place.name)
}

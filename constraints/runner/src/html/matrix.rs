//! Every test in every place: a table a binary, with a filter over all of them.

use maud::{Markup, html};

use super::failures::milliseconds;
use super::{icon, issue, place, section};
use crate::ledger::{Ledger, LedgerPlace, PlaceOutcome, TestEntry, attempts, plural};
use crate::{Outcome, Record};
use kata_test_host::reason::join;

/// The table of a binary with more tests than this is closed at first.
const OPEN: usize = 40;

pub(super) fn of(ledger: &Ledger) -> Markup {
    let binaries = ledger
        .tests
        .chunk_by(|one, other| one.id.binary == other.id.binary);
    let tables = html! {
        div.filter role="search" {
            label for="filter" { "Filter" }
            input #filter type="search" autocomplete="off" spellcheck="false"
                placeholder="name, requirement, place or issue";
            kbd aria-hidden="true" { "/" }
            output #shown for="filter" aria-live="polite" {
                (plural(ledger.tests.len(), "test"))
            }
        }
        @for tests in binaries { (table(ledger, tests)) }
    };
    let about = "The outcome of each test in each place. A dot: nothing was recorded there.";
    section("tests", "Every test", about, &tables)
}

fn table(ledger: &Ledger, tests: &[TestEntry]) -> Markup {
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
                            (columns(&ledger.places))
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

/// The heads of the columns of places.
pub(super) fn columns(places: &[LedgerPlace]) -> Markup {
    html! {
        @for column in places {
            th.place scope="col" title=(column.about) {
                (place(column))
                @if let Some(kernel) = &column.kernel { small.kernel { (kernel) } }
            }
        }
    }
}

fn tally(tests: &[TestEntry]) -> Markup {
    html! {
        span.tally {
            @for kind in icon::ALL {
                @let count = tests.iter().filter(|test| test.kind() == Some(kind)).count();
                @if count > 0 { span { (icon::of(kind)) " " (count) } }
            }
        }
    }
}

fn is_failure(test: &TestEntry) -> bool {
    test.kind().is_some_and(Outcome::is_failure)
}

fn row(places: &[LedgerPlace], test: &TestEntry) -> Markup {
    let class = test.kind().map_or("", icon::class);
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
            small.why { (icon::of(outcome.outcome)) " nowhere: " (why) }
        } @else if !why.is_empty() {
            small.why { (why) }
        }
        @if let Some(own) = own { small.why { (own) } }
        @if let Some(cited) = &outcome.issue { small.why { "issue " (issue(cited)) } }
    }
}

pub(super) fn cell(place: &LedgerPlace, seen: Option<&PlaceOutcome>) -> Markup {
    html! {
        @if let Some(seen) = seen {
            @let kind = seen.outcome.outcome;
            td.cell data-place=(place.name) data-outcome=(icon::class(kind)) title=(tip(place, seen)) {
                (icon::of(kind))
                @if seen.attempts.len() > 1 {
                    sup title=(attempts(&seen.attempts)) { (seen.attempts.len()) "×" }
                }
            }
        } @else {
            td.cell.none { span aria-label="nothing recorded" { "·" } }
        }
    }
}

fn tip(place: &LedgerPlace, seen: &PlaceOutcome) -> String {
    let why = join(&seen.outcome.reasons);
    let colon = if why.is_empty() { "" } else { ": " };
    format!("{} in {}{colon}{why}", seen.outcome.outcome, place.name)
}

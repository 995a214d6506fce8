//! The outcomes of each binary's tests in each place, as bars.

use maud::{Markup, html};

use super::{icon, place, section};
use crate::ledger::{Ledger, TestEntry, plural};

pub(super) fn of(ledger: &Ledger) -> Markup {
    let binaries = ledger
        .tests
        .chunk_by(|one, other| one.id.binary == other.id.binary);
    let table = html! {
        div.scroll tabindex="0" role="region" aria-label="Binaries and places" {
            table.overview {
                thead {
                    tr {
                        th scope="col" { "Binary" }
                        @for column in &ledger.places {
                            th scope="col" title=(column.about) { (place(column)) }
                        }
                    }
                }
                tbody {
                    @for tests in binaries { (row(ledger, tests)) }
                }
            }
        }
    };
    let about = "Each row is a test binary, each column a place. A bar shows the outcomes of the \
                 tests there.";
    section("overview", "What ran where", about, &table)
}

fn row(ledger: &Ledger, tests: &[TestEntry]) -> Markup {
    let widest = tests.len();
    html! {
        tr {
            th scope="row" { (tests[0].id.binary) " " small { (plural(tests.len(), "test")) } }
            @for at in 0..ledger.places.len() {
                (cell(tests, at, widest))
            }
        }
    }
}

fn cell(tests: &[TestEntry], at: usize, all: usize) -> Markup {
    let seen = tests.iter().filter_map(|test| test.seen[at].as_ref());
    let counts = icon::counts(seen.map(|seen| seen.outcome.outcome));
    let rest = all - counts.values().sum::<usize>();
    html! {
        td {
            @if counts.is_empty() {
                span.none aria-label="nothing recorded" { "·" }
            } @else {
                (icon::share(&counts, rest))
                ul.tally {
                    @for kind in icon::ALL {
                        @if let Some(count) = counts.get(&kind) {
                            li { (icon::of(kind)) " " (count) }
                        }
                    }
                }
            }
        }
    }
}

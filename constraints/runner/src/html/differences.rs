//! The tests whose outcomes differ between places, if each was to run in every place.

use maud::{Markup, html};

use super::failures::name;
use super::matrix::{cell, columns};
use super::section;
use crate::ledger::{Comparison, Difference, Ledger, plural};

pub(super) fn of(ledger: &Ledger) -> Markup {
    html! { @if ledger.everywhere { (comparison(ledger, &ledger.comparison())) } }
}

fn comparison(ledger: &Ledger, comparison: &Comparison<'_>) -> Markup {
    let content = html! {
        @if !comparison.differing.is_empty() {
            div.scroll tabindex="0" role="region" aria-label="Tests whose outcomes differ" {
                table.matrix {
                    thead { tr { th scope="col" { "Test" } (columns(&ledger.places)) } }
                    tbody { @for one in &comparison.differing { (row(ledger, one)) } }
                }
            }
        }
        @if !comparison.failing.is_empty() {
            details open[comparison.failing.len() <= 10] {
                summary { (plural(comparison.failing.len(), "test")) " failed wherever run" }
                ul { @for test in &comparison.failing { li { (name(&test.id.binary, &test.id.test)) } } }
            }
        }
        p { (rest(comparison)) }
    };
    let about = "Each test was to run in every place that meets its requirement. These have another outcome \
                 from place to place; an attempt that failed counts, also if a later one passed.";
    section(
        "differences",
        "What differs between places",
        about,
        &content,
    )
}

fn row(ledger: &Ledger, difference: &Difference<'_>) -> Markup {
    let Difference { test, summary, .. } = difference;
    html! {
        tr {
            th scope="row" { (name(&test.id.binary, &test.id.test)) small.why { (summary) } }
            @for (place, seen) in ledger.places.iter().zip(&test.seen) { (cell(place, seen.as_ref())) }
        }
    }
}

fn rest(comparison: &Comparison<'_>) -> String {
    let alike = plural(comparison.alike.len(), "test");
    match comparison.differing.is_empty() {
        true => format!("No outcome differs between places; {alike} without a failure."),
        false => format!("Further {alike} without a failure or a difference."),
    }
}

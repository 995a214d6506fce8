//! `report.html`: what ran where.
//!
//! One file without external resources: style and script are inline, and its policy forbids others. Whatever comes from a record passes through `maud`, which escapes it; there is no other way
//! for a text into the page. Without script everything is there but the filter.

mod artifacts;
mod date;
mod differences;
mod failures;
mod header;
mod icon;
mod ledger;
mod matrix;
mod overview;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::ledger::LedgerPlace;
use super::report::Report;
use super::run_status;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// Nothing is fetched, sent or framed, whatever a page may come to hold.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      base-uri 'none'; form-action 'none'";

/// The page.
pub(super) fn of(report: &Report) -> String {
    let outcomes = report.ledger.outcomes();
    let findings = report.ledger.findings();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Tests: " (run_status(&outcomes)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip-link href="#tests" { "Skip to the tests" }
                (header::of(report, &outcomes))
                main {
                    (differences::of(&report.ledger))
                    (failures::failures(&outcomes))
                    (overview::of(&report.ledger))
                    (artifacts::of(&outcomes))
                    (failures::nowhere(&findings.nowhere))
                    (ledger::of(&findings, &outcomes))
                    (matrix::of(&report.ledger))
                }
                footer {
                    p { "Written by kata-test from the records of the run. This page needs no network." }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// A part of the page with a heading, which links can point at.
fn section(id: &str, title: &str, about: &str, content: &Markup) -> Markup {
    html! {
        section id=(id) aria-labelledby={ (id) "-title" } {
            h2 id={ (id) "-title" } { (title) }
            @if !about.is_empty() { p.about { (about) } }
            (content)
        }
    }
}

/// A place at the head of a column; among several machines, below its machine's name.
fn place(place: &LedgerPlace) -> Markup {
    html! {
        @if let Some((machine, place)) = place.name.split_once('/') {
            small { (machine) "/" } " " (place)
        } @else {
            (place.name)
        }
    }
}

/// An issue, as a link where it is an address.
fn issue(issue: &str) -> Markup {
    let is_address = ["https://", "http://"]
        .iter()
        .any(|scheme| issue.starts_with(scheme));
    html! {
        @if is_address {
            a.issue href=(issue) rel="noopener noreferrer" { (issue) }
        } @else {
            span.issue { (issue) }
        }
    }
}

#[cfg(test)]
mod tests;

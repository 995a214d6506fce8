//! The ledger's findings across all places.

use maud::{Markup, html};

use super::failures::name;
use super::{issue, section};
use crate::ledger::{Findings, attempts, names, plural};
use crate::{Outcome, Record};
use kata_test_host::reason::{Reason, ReasonKind};

pub(super) fn of(findings: &Findings, outcomes: &[Record]) -> Markup {
    let left: Vec<&Record> = outcomes
        .iter()
        .filter(|one| one.outcome == Outcome::Passed && one.reasons.iter().any(is_left))
        .collect();
    let parts = html! {
        (part("Missing everywhere", "constraints that are unmet in every place",
            &findings.shared, |shared| html! {
                code { (shared.constraint) } " "
                span.quiet title=(names(&shared.tests)) { (plural(shared.tests.len(), "test")) }
            }))
        (part("Skipped for an issue", "tests that cite an issue and were skipped",
            &findings.cited, |cited| html! {
                (issue(&cited.issue))
                ul {
                    @for (test, skipped, ran) in &cited.tests {
                        li {
                            (name(&test.binary, &test.test)) " "
                            span.quiet {
                                "skipped in " (plural(*skipped, "place"))
                                @if *ran { ", ran elsewhere" }
                            }
                        }
                    }
                }
            }))
        (part("Places that ran nothing", "set up but ran no test",
            &findings.unused, |unused| html! {
                b { (unused.place.name) } " "
                span.quiet {
                    @if !unused.place.about.is_empty() { "(" (unused.place.about) ") " }
                    @match unused.skipped {
                        0 => "no test",
                        count => { "skipped " (plural(count, "test")) },
                    }
                }
            }))
        (part("Stale constraints", "the test passed although they are unmet",
            &findings.stale, |stale| html! {
                (name(&stale.test.binary, &stale.test.test)) " passed in " (stale.place) " without "
                @for reason in &stale.unmet { code { (reason.constraint) } " " }
            }))
        (part("Retried", "tests with several attempts",
            &findings.retried, |retried| html! {
                (name(&retried.test.binary, &retried.test.test)) " in " (retried.place) ": "
                (attempts(&retried.attempts))
            }))
        (part("Leaks", "processes or mounts that outlived their test",
            &left, |one| html! {
                (name(&one.binary, &one.test))
                @for reason in one.reasons.iter().filter(|one| is_left(one)) { " " span.quiet { (reason.observed) } }
            }))
    };
    let content = html! { div.parts { (parts) } };
    html! {
        @if !parts.0.is_empty() {
            (section("ledger", "Across all places", "", &content))
        }
    }
}

fn is_left(reason: &Reason) -> bool {
    reason.kind == ReasonKind::Leak
}

fn part<T>(title: &str, about: &str, of: &[T], each: impl Fn(&T) -> Markup) -> Markup {
    html! {
        @if !of.is_empty() {
            div.part {
                h3 { (title) " " small { (about) } }
                ul { @for one in of { li { (each(one)) } } }
            }
        }
    }
}

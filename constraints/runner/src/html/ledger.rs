//! What the ledger tells that no single outcome does.

use maud::{Markup, html};

use super::attention::name;
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
        (part("Missing everywhere", "constraints that kept tests from running in every place that looked",
            &findings.shared, |shared| html! {
                code { (shared.constraint) } " "
                span.quiet title=(names(&shared.tests)) { (plural(shared.tests.len(), "test")) }
            }))
        (part("Skipped for an issue", "tests that are waiting for somebody",
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
        (part("Places that ran nothing", "they cost, and prove nothing",
            &findings.unused, |unused| html! {
                b { (unused.place.name) } " "
                span.quiet {
                    @if !unused.place.about.is_empty() { "(" (unused.place.about) ") " }
                    @match unused.skipped {
                        0 => "had nothing to do",
                        count => { "skipped " (plural(count, "test")) },
                    }
                }
            }))
        (part("Stale constraints", "the test passes without what it says it needs",
            &findings.stale, |stale| html! {
                (name(&stale.test.binary, &stale.test.test)) " passed in " (stale.place) " without "
                @for reason in &stale.unmet { code { (reason.constraint) } " " }
            }))
        (part("Tried more than once", "a test that passes at times tells little",
            &findings.retried, |retried| html! {
                (name(&retried.test.binary, &retried.test.test)) " in " (retried.place) ": "
                (attempts(&retried.attempts))
            }))
        (part("Left something behind", "processes or mounts that outlived their test",
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

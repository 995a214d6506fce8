//! Failures, and tests that ran nowhere.

use maud::{Markup, html};

use super::header::capital;
use super::{artifacts, icon, issue, section};
use crate::junit::why;
use crate::ledger::{UnrunTest, and};
use crate::{Outcome, Record};
use kata_test_host::reason::{Reason, ReasonKind};

/// Every failure with its reasons.
pub(super) fn failures(outcomes: &[Record]) -> Markup {
    let mut failures: Vec<&Record> = outcomes
        .iter()
        .filter(|one| one.outcome.is_failure())
        .collect();
    failures.sort_by_key(|one| one.outcome);
    let list = html! {
        ul.cards {
            @for one in &failures {
                li class=(icon::class(one.outcome)) {
                    h3 { (icon::bare(one.outcome)) " " (name(&one.binary, &one.test)) }
                    p {
                        (one.outcome) " in " (one.place)
                        @if one.attempt > 1 { ", at attempt " (one.attempt) }
                        @if let Some(signal) = &one.signal { ", ended by " code { (signal) } }
                        @if one.duration_ms > 0.0 { ", after " (milliseconds(one.duration_ms)) }
                    }
                    @match one.outcome {
                        _ if !one.reasons.is_empty() => {}
                        Outcome::Failed if one.output.is_none() => p.quiet { "See the captured output of the test, which is not part of the record." },
                        Outcome::Lost => p.quiet { (capital(&why(one))) "." },
                        _ => {}
                    }
                    (reasons(one.reasons.iter().map(|reason| (reason, &[][..]))))
                    @if let Some(output) = &one.output {
                        details { summary { "Output" } pre { (output) } }
                    }
                    (artifacts::link(one))
                    @if !one.kernel_messages.is_empty() {
                        details { summary { "Kernel messages" } pre { (one.kernel_messages.join("\n")) } }
                    }
                    (cited(one.issue.as_deref()))
                }
            }
        }
    };
    html! {
        @if !failures.is_empty() {
            (section("failures", "Failures", "", &list))
        }
    }
}

/// Every test that ran nowhere, with what is missing where.
pub(super) fn nowhere(tests: &[UnrunTest]) -> Markup {
    let list = html! {
        ul.cards {
            @for alike in alike(tests) {
                @let one = alike[0];
                li.nowhere {
                    @for UnrunTest { test, .. } in alike {
                        h3 { (icon::bare(Outcome::Nowhere)) " " (name(&test.binary, &test.test)) }
                    }
                    (reasons(one.missing.iter().map(|(reason, places)| (reason, &places[..]))))
                    @if !one.left_by.is_empty() {
                        p { (and(&one.left_by)) " could have run it, but did not." }
                    }
                    (cited(one.issue.as_deref()))
                }
            }
        }
    };
    let about = "No available place meets the requirements of these tests.";
    html! {
        @if !tests.is_empty() {
            (section("nowhere", "Ran nowhere", about, &list))
        }
    }
}

/// Tests that lack the same stand together, where the first of them does.
fn alike(tests: &[UnrunTest]) -> Vec<Vec<&UnrunTest>> {
    let mut alike: Vec<Vec<&UnrunTest>> = Vec::new();
    for test in tests {
        match alike.iter_mut().find(|known| test.lacks_what(known[0])) {
            Some(known) => known.push(test),
            None => alike.push(vec![test]),
        }
    }
    alike
}

/// A test's name: what it is called first, where it stands after that.
pub(super) fn name(binary: &str, test: &str) -> Markup {
    html! { span.name { (test) } " " span.binary { (binary) } }
}

/// Constraints with what was seen instead, and in which places.
fn reasons<'a>(reasons: impl Iterator<Item = (&'a Reason, &'a [String])>) -> Markup {
    let mut reasons = reasons.peekable();
    html! {
        @if reasons.peek().is_some() {
            dl {
                @for (reason, places) in reasons {
                    dt {
                        @if reason.is_constraint() {
                            "needs " code { (reason.constraint) }
                        } @else {
                            (match reason.kind {
                                ReasonKind::RuntimeSkip => "reported by the test (skip!)",
                                ReasonKind::Leak => "left behind",
                                ReasonKind::Kernel => "reported by the kernel",
                                _ => "infrastructure",
                            })
                        }
                    }
                    dd {
                        (reason.observed) " " span.quiet { "(" (reason.source) ")" }
                        @if !places.is_empty() { " in " (and(places)) }
                    }
                }
            }
        }
    }
}

fn cited(cited: Option<&str>) -> Markup {
    html! { @if let Some(cited) = cited { p { "Issue " (issue(cited)) } } }
}

/// Formats a duration.
pub(super) fn milliseconds(ms: f64) -> String {
    match ms {
        60_000.0.. => format!(
            "{:.0} min {:.0} s",
            (ms / 60_000.0).floor(),
            (ms % 60_000.0) / 1e3
        ),
        1000.0.. => format!("{:.1} s", ms / 1e3),
        10.0.. => format!("{ms:.0} ms"),
        _ => format!("{ms:.1} ms"),
    }
}

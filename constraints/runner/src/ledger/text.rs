//! Findings as text for a terminal.

use std::fmt;

use super::Findings;
use crate::{Outcome, TestId};
use kata_test_host::reason::join;

/// More tests than this are only counted.
const NAMED: usize = 5;

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        section(f, "ran nowhere", &self.nowhere, |f, nowhere| {
            let issue = nowhere.issue.as_deref();
            let issue = issue.map_or(String::new(), |issue| format!(" [issue {issue}]"));
            writeln!(f, "  {}{issue}", nowhere.test)?;
            for (reason, places) in &nowhere.missing {
                writeln!(f, "    {reason}{}", in_places(places))?;
            }
            match &nowhere.left_by[..] {
                [] => Ok(()),
                places => writeln!(f, "    {} could have run it, but did not", and(places)),
            }
        })?;
        section(f, "unmet in every place", &self.shared, |f, shared| {
            let names = names(&shared.tests);
            writeln!(f, "  {}: {names}", shared.constraint)
        })?;
        section(f, "skipped for an issue", &self.cited, |f, cited| {
            writeln!(f, "  {}", cited.issue)?;
            cited.tests.iter().try_for_each(|(test, skipped, ran)| {
                let elsewhere = if *ran { ", ran elsewhere" } else { "" };
                let places = plural(*skipped, "place");
                writeln!(f, "    {test}: skipped in {places}{elsewhere}")
            })
        })?;
        section(f, "places that ran nothing", &self.unused, |f, unused| {
            let skipped = plural(unused.skipped, "test");
            writeln!(f, "  {}: {skipped} skipped there", unused.place.name)
        })?;
        section(f, "stale constraints", &self.stale, |f, stale| {
            let (place, unmet) = (&stale.place, join(&stale.unmet));
            writeln!(
                f,
                "  {}: passed in {place} although unmet: {unmet}",
                stale.test
            )
        })?;
        section(f, "retried", &self.retried, |f, retried| {
            let attempts = attempts(&retried.attempts);
            writeln!(f, "  {} in {}: {attempts}", retried.test, retried.place)
        })
    }
}

fn section<T>(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    of: &[T],
    each: fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    if of.is_empty() {
        return Ok(());
    }
    writeln!(f, "{title}:")?;
    of.iter().try_for_each(|one| each(f, one))
}

/// What became of each attempt, in their order.
pub(crate) fn attempts(attempts: &[Outcome]) -> String {
    let words: Vec<String> = attempts.iter().map(ToString::to_string).collect();
    words.join(", then ")
}

/// Formats a number of things: `1 test`, `2 tests`.
#[must_use]
pub fn plural(count: usize, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}

pub(crate) fn and(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn in_places(places: &[String]) -> String {
    if places.is_empty() {
        String::new()
    } else {
        format!(", in {}", and(places))
    }
}

/// The tests by name, or their number if they are many.
pub(crate) fn names(tests: &[TestId]) -> String {
    if tests.len() > NAMED {
        return plural(tests.len(), "test");
    }
    let names: Vec<String> = tests.iter().map(ToString::to_string).collect();
    names.join(", ")
}

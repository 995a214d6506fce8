//! Writes the outcomes as Markdown.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;

use super::junit::why;
use super::ledger::{Ledger, and, attempts, names, plural};
use super::{Outcome, Record, RunnerError, TestId, run_status};
use kata_test::__runner::UnmetCounts;
use kata_test_host::reason::{Reason, ReasonKind, join};

/// The page.
pub(super) fn of(ledger: &Ledger) -> String {
    let outcomes = &ledger.outcomes()[..];
    let mut kinds: BTreeMap<Outcome, Vec<&Record>> = BTreeMap::new();
    for outcome in outcomes {
        kinds.entry(outcome.outcome).or_default().push(outcome);
    }
    let mut page = format!("# Tests: {}\n\n", run_status(outcomes));
    page += "| outcome | tests |\n|---|---:|\n";
    for (kind, of_kind) in &kinds {
        let _ = writeln!(page, "| {kind} | {} |", of_kind.len());
    }
    let mut needs = UnmetCounts::new();
    let skipped = kinds.get(&Outcome::Skipped).into_iter().flatten();
    skipped.for_each(|outcome| needs.count(&outcome.reasons));
    if let Some(missing) = needs.line() {
        let _ = writeln!(page, "\nUnmet requirements: {}", escape(&missing));
    }
    for (kind, of_kind) in &kinds {
        if *kind != Outcome::Passed {
            let _ = writeln!(
                page,
                "\n## {kind}\n\n| binary | test | why | issue |\n|---|---|---|---|"
            );
            of_kind
                .iter()
                .for_each(|outcome| page += &row(outcome, &why(outcome)));
        }
    }
    let passed = kinds.get(&Outcome::Passed).into_iter().flatten();
    let is_left = |outcome: &&&Record| {
        outcome
            .reasons
            .iter()
            .any(|one| one.kind == ReasonKind::Leak)
    };
    let mut left = passed.filter(is_left).peekable();
    if left.peek().is_some() {
        page += "\n## leaks\n\n| binary | test | what | issue |\n|---|---|---|---|\n";
        left.for_each(|outcome| page += &row(outcome, &why(outcome)));
    }
    page + &across(ledger)
}

/// What no single outcome tells. What one place alone lacks stands above already.
fn across(ledger: &Ledger) -> String {
    let findings = ledger.findings();
    let mut page = String::new();
    let is_many = ledger.places.len() > 1;
    let nowhere = findings.nowhere.iter().filter(|_| is_many);
    let nowhere = nowhere.map(|nowhere| {
        let told = |(reason, places): &(Reason, Vec<String>)| match places.as_slice() {
            [] => reason.to_string(),
            places => format!("{reason} in {}", and(places)),
        };
        let missing: Vec<String> = nowhere.missing.iter().map(told).collect();
        let left = match nowhere.left_by.as_slice() {
            [] => String::new(),
            places => format!("; {} could have run it, but did not", and(places)),
        };
        format!("{}: {}{left}", nowhere.test, missing.join("; "))
    });
    list(&mut page, "ran nowhere", nowhere);
    let shared = findings.shared.iter().filter(|_| is_many);
    let shared = shared.map(|shared| format!("{}: {}", shared.constraint, names(&shared.tests)));
    list(&mut page, "unmet in every place", shared);
    let cited = findings.cited.iter().map(|cited| {
        let told = |(test, skipped, ran): &(TestId, usize, bool)| {
            let elsewhere = if *ran { ", ran elsewhere" } else { "" };
            format!(
                "{test} (skipped in {}{elsewhere})",
                plural(*skipped, "place")
            )
        };
        let tests: Vec<String> = cited.tests.iter().map(told).collect();
        format!("{}: {}", cited.issue, tests.join(", "))
    });
    list(&mut page, "skipped for an issue", cited);
    let unused = findings.unused.iter();
    let unused = unused.map(|unused| format!("{}: {} skipped", unused.place.name, unused.skipped));
    list(&mut page, "places that ran nothing", unused);
    let stale = findings.stale.iter().map(|stale| {
        let (test, place) = (&stale.test, &stale.place);
        format!(
            "{test}: passed in {place} although unmet: {}",
            join(&stale.unmet)
        )
    });
    list(&mut page, "stale constraints", stale);
    let retried = findings.retried.iter().map(|retried| {
        let (test, place) = (&retried.test, &retried.place);
        format!("{test} in {place}: {}", attempts(&retried.attempts))
    });
    list(&mut page, "retried", retried);
    page
}

fn list(page: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    for (index, line) in lines.enumerate() {
        if index == 0 {
            let _ = writeln!(page, "\n## {title}\n");
        }
        let _ = writeln!(page, "- {}", escape(&line));
    }
}

fn row(outcome: &Record, why: &str) -> String {
    let issue = outcome.issue.as_deref().unwrap_or_default();
    let cells = [outcome.binary.as_str(), outcome.test.as_str(), why, issue].map(escape);
    format!("| {} |\n", cells.join(" | "))
}

/// A text that stays one cell, whatever it holds.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '#' => escaped.extend(['\\', c]),
            '<' => escaped.push_str("&lt;"),
            '&' => escaped.push_str("&amp;"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Adds the page to the summary of a job on GitHub, if this is one.
pub(super) fn append_github_summary(ledger: &Ledger) -> Result<(), RunnerError> {
    let Some(path) = env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else {
        return Ok(());
    };
    let path = PathBuf::from(path);
    let file = OpenOptions::new().create(true).append(true).open(&path);
    let written = file.and_then(|mut file| file.write_all(of(ledger).as_bytes()));
    written.map_err(RunnerError::io("write", &path))
}

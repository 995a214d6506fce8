//! Writes the outcomes as Markdown.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;

use super::junit::why;
use super::ledger::{Difference, Ledger, LedgerPlace, and, attempts, names, plural};
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
    if ledger.everywhere {
        page += &comparison(ledger);
        page += "| outcome | tests in places |\n|---|---:|\n";
    } else {
        page += "| outcome | tests |\n|---|---:|\n";
    }
    for (kind, of_kind) in &kinds {
        let _ = writeln!(page, "| {kind} | {} |", of_kind.len());
    }
    let mut needs = UnmetCounts::new();
    let skipped = kinds.get(&Outcome::Skipped).into_iter().flatten();
    skipped.for_each(|outcome| needs.count(&outcome.reasons));
    if let Some(missing) = needs.line() {
        let _ = writeln!(page, "\nUnmet requirements: {}", escape(&missing));
    }
    // Which places do not meet a requirement is a matter of the tests, not of this run.
    let is_shown = |kind| match kind {
        Outcome::Passed => false,
        Outcome::Skipped => !ledger.everywhere,
        _ => true,
    };
    for (kind, of_kind) in kinds.iter().filter(|(kind, _)| is_shown(**kind)) {
        let _ = write!(page, "\n## {kind}\n\n{}", head("why", ledger.everywhere));
        let rows = of_kind.iter();
        rows.for_each(|outcome| page += &row(outcome, ledger.everywhere));
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
        let _ = write!(page, "\n## leaks\n\n{}", head("what", ledger.everywhere));
        left.for_each(|outcome| page += &row(outcome, ledger.everywhere));
    }
    let files = outcomes.iter().filter_map(|outcome| {
        let artifacts = outcome.artifacts.as_ref()?;
        let Record { binary, test, .. } = outcome;
        Some(format!("{binary} {test}: {} {artifacts}", artifacts.folder))
    });
    list(&mut page, "files of tests", files);
    page + &across(ledger)
}

/// What no single outcome tells. What one place alone lacks stands above already.
fn across(ledger: &Ledger) -> String {
    let findings = ledger.findings();
    let mut page = String::new();
    let is_many = ledger.places.len() > 1;
    let nowhere = findings.nowhere.iter().filter(|_| is_many);
    let nowhere = nowhere.map(|nowhere| {
        let line = |(reason, places): &(Reason, Vec<String>)| match places.as_slice() {
            [] => reason.to_string(),
            places => format!("{reason} in {}", and(places)),
        };
        let missing: Vec<String> = nowhere.missing.iter().map(line).collect();
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
        let line = |(test, skipped, ran): &(TestId, usize, bool)| {
            let elsewhere = if *ran { ", ran elsewhere" } else { "" };
            format!(
                "{test} (skipped in {}{elsewhere})",
                plural(*skipped, "place")
            )
        };
        let tests: Vec<String> = cited.tests.iter().map(line).collect();
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

/// The first lines of a table of outcomes, which names places only if a test can have several.
fn head(why: &str, everywhere: bool) -> String {
    match everywhere {
        true => format!("| binary | test | place | {why} | issue |\n|---|---|---|---|---|\n"),
        false => format!("| binary | test | {why} | issue |\n|---|---|---|---|\n"),
    }
}

fn row(outcome: &Record, everywhere: bool) -> String {
    let why = why(outcome);
    let mut cells = vec![&*outcome.binary, &*outcome.test];
    cells.extend(everywhere.then_some(&*outcome.place));
    cells.extend([&*why, outcome.issue.as_deref().unwrap_or_default()]);
    line(cells)
}

fn line<'a>(cells: impl IntoIterator<Item = &'a str>) -> String {
    let cells: Vec<String> = cells.into_iter().map(escape).collect();
    format!("| {} |\n", cells.join(" | "))
}

/// The tests whose outcomes differ between places, and those that failed in all.
fn comparison(ledger: &Ledger) -> String {
    let comparison = ledger.comparison();
    let mut page = String::new();
    if !comparison.differing.is_empty() {
        page += "## Outcomes that differ between places\n\n";
        let headings: Vec<String> = ledger.places.iter().map(LedgerPlace::heading).collect();
        let headings = headings.iter().map(String::as_str);
        page += &line(["binary", "test", "difference"].into_iter().chain(headings));
        page += &format!("{}|\n", "|---".repeat(3 + ledger.places.len()));
    }
    for Difference { test, summary, .. } in &comparison.differing {
        let seen = test.seen.iter();
        let cells = seen.map(|cell| cell.as_ref().map_or(String::new(), ToString::to_string));
        let cells: Vec<String> = cells.collect();
        let names = [&*test.id.binary, &*test.id.test, summary];
        page += &line(names.into_iter().chain(cells.iter().map(String::as_str)));
    }
    let failing = comparison.failing.iter().map(|test| test.id.to_string());
    list(&mut page, "Failed wherever they ran", failing);
    match page.trim_start_matches('\n') {
        "" => page,
        text => format!("{text}\n"),
    }
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

//! The outcomes as a page that a person reads, in Markdown.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;

use super::junit::why;
use super::{Outcome, OutcomeKind, RunnerError, conclude};
use crate::harness::{count, missing};

/// The page.
pub(super) fn of(outcomes: &[Outcome]) -> String {
    let mut kinds: BTreeMap<OutcomeKind, Vec<&Outcome>> = BTreeMap::new();
    for outcome in outcomes {
        kinds.entry(outcome.outcome).or_default().push(outcome);
    }
    let mut page = format!("# Tests: {}\n\n", conclude(outcomes));
    page += "| outcome | tests |\n|---|---:|\n";
    for (kind, of_kind) in &kinds {
        let _ = writeln!(page, "| {kind} | {} |", of_kind.len());
    }
    let mut needs = BTreeMap::new();
    let skipped = kinds.get(&OutcomeKind::Skipped).into_iter().flatten();
    skipped.for_each(|outcome| count(&mut needs, &outcome.reasons));
    if let Some(missing) = missing(&needs) {
        let _ = writeln!(page, "\nNeeded and missing: {}", escape(&missing));
    }
    for (kind, of_kind) in &kinds {
        if *kind != OutcomeKind::Passed {
            let _ = writeln!(
                page,
                "\n## {kind}\n\n| binary | test | why | issue |\n|---|---|---|---|"
            );
            of_kind
                .iter()
                .for_each(|outcome| page += &row(outcome, &why(outcome)));
        }
    }
    let passed = kinds.get(&OutcomeKind::Passed).into_iter().flatten();
    let mut left = passed
        .filter(|outcome| !outcome.reasons.is_empty())
        .peekable();
    if left.peek().is_some() {
        page +=
            "\n## left something behind\n\n| binary | test | what | issue |\n|---|---|---|---|\n";
        left.for_each(|outcome| page += &row(outcome, &why(outcome)));
    }
    page
}

fn row(outcome: &Outcome, why: &str) -> String {
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
pub(super) fn tell_github(outcomes: &[Outcome]) -> Result<(), RunnerError> {
    let Some(path) = env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else {
        return Ok(());
    };
    let path = PathBuf::from(path);
    let file = OpenOptions::new().create(true).append(true).open(&path);
    let written = file.and_then(|mut file| file.write_all(of(outcomes).as_bytes()));
    written.map_err(RunnerError::io("write", &path))
}

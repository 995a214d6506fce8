//! The outcomes of a run in which each test ran in every place that takes it.

use std::fmt::Write as _;

use kata_test_runner::{Difference, Ledger, Outcome, Record};

use super::table::with_headings;
use super::test::{counts, of_outcome};

/// A row names at most this many tests.
const NAMED: usize = 5;

/// Formats what to know of the outcomes in a terminal: counts, reasons, and the tests whose outcomes differ
/// between places.
pub(super) fn summary(ledger: &Ledger, outcomes: &[Record]) -> String {
    let (tests, places) = (ledger.tests.len(), ledger.places.len());
    let mut text = format!("\n{tests} tests in {places} places: {}\n", counts(outcomes));
    // What a place does not meet is a matter of the tests; a failure alone is in the table.
    let has_more = |one: &&Record| match one.outcome {
        Outcome::Skipped | Outcome::Ignored => false,
        Outcome::Nowhere => true,
        _ => !one.reasons.is_empty() || one.suspect.is_some(),
    };
    outcomes
        .iter()
        .filter(has_more)
        .for_each(|one| text += &of_outcome(one));
    text + &comparison(ledger)
}

/// Formats the tests whose outcomes differ, then those that failed in each place, and counts the others.
fn comparison(ledger: &Ledger) -> String {
    let comparison = ledger.comparison();
    let places = ledger.places.iter().map(|place| match &place.kernel {
        Some(kernel) => format!("{}\n{kernel}", place.name),
        None => place.name.clone(),
    });
    let headings = ["test".to_owned()].into_iter().chain(places);
    let mut table = with_headings(headings.chain(["difference".to_owned()]));
    let is_alike = |one: &Difference<'_>, other: &Difference<'_>| {
        one.test.id.binary == other.test.id.binary && cells(one) == cells(other)
    };
    let mut rows: Vec<Vec<&Difference<'_>>> = Vec::new();
    for one in &comparison.differing {
        match rows.iter_mut().find(|row| is_alike(row[0], one)) {
            Some(row) => row.push(one),
            None => rows.push(vec![one]),
        }
    }
    for row in &rows {
        let difference = [row[0].summary.clone()];
        table.add_row(
            [names(row)]
                .into_iter()
                .chain(cells(row[0]))
                .chain(difference),
        );
    }
    let mut text = String::new();
    if !rows.is_empty() {
        let _ = writeln!(text, "\ndifferences between places:\n{table}");
    }
    for (index, test) in comparison.failing.iter().enumerate() {
        if index == 0 {
            text += "\nfailed wherever they ran:\n";
        }
        let _ = writeln!(text, "  {}", test.id);
    }
    let alike = comparison.alike.len();
    let _ = writeln!(
        text,
        "\n{alike} tests without a failure or a difference between places\n"
    );
    text
}

/// The outcome in each place; a dot where there is none.
fn cells(difference: &Difference<'_>) -> Vec<String> {
    let seen = difference.test.seen.iter();
    let cell = |cell: &Option<_>| cell.as_ref().map_or("·".to_owned(), ToString::to_string);
    seen.map(cell).collect()
}

/// Formats the tests of a row: the binary, then their names.
fn names(row: &[&Difference<'_>]) -> String {
    let mut lines = vec![row[0].test.id.binary.clone()];
    lines.extend(
        row.iter()
            .take(NAMED)
            .map(|one| format!("  {}", one.test.id.test)),
    );
    if row.len() > NAMED {
        lines.push(format!("  and {} more", row.len() - NAMED));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    //! Scope: the text for a terminal. Which outcomes a run has is tested in the runner, and with VMs.

    use std::fs;

    use kata_test_runner::Run;
    use serde_json::json;

    use super::super::matrix;
    use super::*;

    const PLACES: [(&str, &str); 3] = [
        ("here", "6.8.0-1013"),
        ("vm:5.10", "5.10.0-46-cloud-amd64"),
        ("vm:6.12", "6.12.94-cloud-amd64"),
    ];

    /// Leaves the records of a test: `p`assed, `f`ailed, a `s`uspected skip or un`m`et in each place.
    fn record(test: &str, letters: &str) -> String {
        let mut lines = String::new();
        for ((place, _), letter) in PLACES.iter().zip(letters.chars()) {
            let mut attempts = vec![(1, letter)];
            if letter == 'r' {
                attempts = vec![(1, 'f'), (2, 'p')];
            }
            for (attempt, letter) in attempts {
                let outcome = match letter {
                    'f' => "failed",
                    's' => "suspected_skip",
                    'm' => "skipped",
                    _ => "passed",
                };
                let line = json!({
                    "schema": 1, "run": "r", "binary": "p::it", "test": test, "place": place,
                    "phase": "run", "attempt": attempt, "as_uid": 0, "outcome": outcome,
                    "reasons": [], "issue": null, "reason": null, "signal": null,
                    "duration_ms": 1.0, "measures": {},
                    "suspect": (letter == 's').then_some("skipping: no such call"),
                });
                lines += &format!("{line}\n");
            }
        }
        lines
    }

    #[test]
    fn rows_that_differ_come_first_on_the_screen() {
        let root = tempfile::tempdir().unwrap();
        let run = Run::start(root.path()).unwrap();
        let of = |text: fn(&(&str, &str)) -> (String, serde_json::Value)| {
            PLACES.iter().map(text).collect::<serde_json::Map<_, _>>()
        };
        let about = json!({
            "everywhere": true,
            "places": of(|(name, _)| ((*name).to_owned(), json!("made up"))),
            "kernels": of(|(name, kernel)| ((*name).to_owned(), json!(kernel))),
        });
        fs::write(run.dir().join("run.json"), about.to_string()).unwrap();
        let mut lines: String = (0..7)
            .map(|n| record(&format!("new_call_{n}"), "pfp"))
            .collect();
        lines += &record("broken", "fff");
        lines += &record("flaky", "ppr");
        lines += &record("needs_new", "pmp");
        lines += &record("passes", "ppp");
        lines += &record("probes", "psp");
        fs::write(run.dir().join("it-1.jsonl"), lines).unwrap();
        let outcomes = run.merge().unwrap();
        let ledger = run.ledger().unwrap();
        let text = summary(&ledger, &outcomes);
        let counts = matrix::of_outcomes(&outcomes, &ledger);
        insta::assert_snapshot!(format!("{text}{counts}"));
    }
}

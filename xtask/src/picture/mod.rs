//! `cargo xtask picture`: the README's picture, tests and places of a recorded run as an SVG.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use kata_test_runner::{Outcome, Record};
use maud::{Markup, PreEscaped, html};

use crate::book;

/// The records that the picture is made of, and the picture.
const RECORDS: &str = "constraints/examples/matrix/outcomes.jsonl";
const PICTURE: &str = "constraints/docs/matrix.svg";

/// Both colour schemes on a background of its own, as the page around it may be of the other scheme.
const STYLE: &str = include_str!("style.css");

const NAMES: usize = 270;
const COLUMN: usize = 76;
const HEAD: usize = 44;
const ROW: usize = 44;
const LEGEND: usize = 40;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Takes the records of a new run of the package `constraints/examples/matrix`: its `outcomes.jsonl`.
    records: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let root = book::root()?;
    if let Some(new) = &options.records {
        let text = fs::read_to_string(new).with_context(|| new.display().to_string())?;
        of(&text)?;
        fs::write(root.join(RECORDS), text)?;
    }
    fs::write(root.join(PICTURE), committed(&root)?)?;
    println!("picture: {PICTURE}");
    Ok(ExitCode::SUCCESS)
}

/// The picture of the committed records.
fn committed(root: &Path) -> Result<String> {
    let text = fs::read_to_string(root.join(RECORDS)).context(RECORDS)?;
    of(&text).context(RECORDS)
}

/// A test with its outcomes by place.
#[derive(Default)]
struct Row {
    outcomes: BTreeMap<String, Outcome>,
    note: String,
}

impl Row {
    /// A test that runs nowhere has that outcome in each place.
    fn in_place(&self, place: &str) -> Option<Outcome> {
        let nowhere = self.outcomes.values().find(|one| **one == Outcome::Nowhere);
        self.outcomes.get(place).or(nowhere).copied()
    }
}

/// Draws records, a JSON object a line.
fn of(text: &str) -> Result<String> {
    let records: Vec<Record> = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    ensure!(!records.is_empty(), "there are no records");
    let (mut places, mut rows) = (Vec::new(), BTreeMap::<&str, Row>::new());
    for record in &records {
        let row = rows.entry(&record.test).or_default();
        if record.outcome != Outcome::Nowhere && !places.contains(&record.place.as_str()) {
            places.push(&record.place);
        }
        row.outcomes.insert(record.place.clone(), record.outcome);
        let note = note(record);
        if row.note.len() < note.len() {
            row.note = note;
        }
    }
    let seen = |kind: &&Outcome| records.iter().any(|record| record.outcome == **kind);
    let kinds: Vec<_> = LEGEND_ORDER.iter().filter(seen).copied().collect();
    Ok(svg(&places, &rows, &kinds).into_string())
}

/// Why the test did not run, or which issue it fails for.
fn note(record: &Record) -> String {
    let constraints = record
        .reasons
        .iter()
        .map(|reason| reason.constraint.as_str());
    let needs = constraints.collect::<Vec<_>>().join(", ");
    match (record.outcome, &record.reason, &record.issue) {
        (Outcome::Nowhere, ..) => format!("nowhere: needs {needs}"),
        (Outcome::ExpectedFailure, Some(when), Some(issue)) => {
            format!("fails with {when}, issue {issue}")
        }
        _ if !needs.is_empty() => format!("needs {needs}"),
        _ => String::new(),
    }
}

fn svg(places: &[&str], rows: &BTreeMap<&str, Row>, kinds: &[Outcome]) -> Markup {
    let width = NAMES + COLUMN * places.len() + 10;
    let end = HEAD + ROW * rows.len();
    let height = end + LEGEND;
    let middle = |column: usize| NAMES + COLUMN * column + COLUMN / 2;
    html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (width) " " (height) } width=(width)
            height=(height) role="img" aria-label="The outcome of each test in each place" {
            style { (PreEscaped(STYLE)) }
            rect.card x="0.5" y="0.5" width=(width - 1) height=(height - 1) rx="8" {}
            text.head x="16" y="28" { "test" }
            @for (column, place) in places.iter().enumerate() {
                text.head.middle x=(middle(column)) y="28" { (place) }
            }
            @for (index, (name, row)) in rows.iter().enumerate() {
                @let top = HEAD + ROW * index;
                path.line d={ "M0 " (top) "H" (width) } {}
                text.name x="16" y=(top + if row.note.is_empty() { 27 } else { 19 }) { (name) }
                text.note x="16" y=(top + 35) { (row.note) }
                @for (column, place) in places.iter().enumerate() {
                    (cell(row.in_place(place), middle(column), top + ROW / 2))
                }
            }
            path.line d={ "M0 " (end) "H" (width) } {}
            @for (index, kind) in kinds.iter().enumerate() {
                @let before: usize = kinds[..index].iter().map(|kind| kind.to_string().len()).sum();
                @let left = 26 + 60 * index + 7 * before;
                (cell(Some(*kind), left, end + LEGEND / 2))
                text.note x=(left + 16) y=(end + LEGEND / 2 + 4) { (kind) }
            }
        }
    }
}

/// The sign of an outcome, as in the report.
fn cell(outcome: Option<Outcome>, x: usize, y: usize) -> Markup {
    let (class, sign) = outcome.map_or(("none", "·"), sign);
    html! {
        g class=(class) {
            @if class == "passed" {
                circle cx=(x) cy=(y) r="10" {}
            } @else if class != "none" {
                rect x=(x - 10) y=(y - 10) width="20" height="20" rx="3" {}
            }
            text.middle x=(x) y=(y + 5) { (sign) }
        }
    }
}

const LEGEND_ORDER: [Outcome; 5] = [
    Outcome::Passed,
    Outcome::Failed,
    Outcome::ExpectedFailure,
    Outcome::Skipped,
    Outcome::Nowhere,
];

fn sign(outcome: Outcome) -> (&'static str, &'static str) {
    match outcome {
        Outcome::Passed => ("passed", "✓"),
        Outcome::Failed => ("failed", "✗"),
        Outcome::ExpectedFailure => ("expected", "x"),
        Outcome::Skipped => ("skipped", "–"),
        Outcome::Nowhere => ("nowhere", "N"),
        _ => ("failed", "!"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_picture_is_made_of_the_committed_records() {
        let root = book::root().unwrap();
        let is = fs::read_to_string(root.join(PICTURE)).unwrap();
        let made = committed(&root).unwrap();
        assert!(is == made, "`cargo xtask picture` updates {PICTURE}");
    }

    #[test]
    fn the_records_have_each_outcome_of_the_legend_and_each_test_of_the_package() {
        let root = book::root().unwrap();
        let made = committed(&root).unwrap();
        for kind in LEGEND_ORDER {
            assert!(made.contains(&format!("{kind}</text>")), "{kind}");
        }
        let source = root.join("constraints/examples/matrix/tests/system.rs");
        let source = fs::read_to_string(source).unwrap();
        let tests = source
            .lines()
            .filter_map(|line| line.strip_prefix("fn ")?.split_once('('));
        let missing: Vec<_> = tests
            .filter(|(name, _)| !made.contains(&format!(">{name}</text>")))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn texts_are_escaped_and_wrong_records_are_an_error() {
        let records = fs::read_to_string(book::root().unwrap().join(RECORDS)).unwrap();
        let made = of(&records.replace("needs_arm", "<script>")).unwrap();
        assert!(made.contains("&lt;script&gt;") && !made.contains("<script>"));
        assert!(of("{}").is_err());
        assert!(of("").is_err());
    }
}

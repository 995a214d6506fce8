//! `cargo xtask picture`: the pictures of the documents, from committed data: the README's, tests and places of a
//! recorded run; and the plot and the table of `cargo xtask bench peers`.

mod peers;

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

/// The figures of the peers, their plot, and the page with their table.
const FIGURES: &str = "constraints/docs/peers.json";
const PLOT: &str = "constraints/docs/peers.svg";
const PAGE: &str = "constraints/docs/others.md";

/// What is before and after the table.
const TABLE: [&str; 2] = [
    "<!-- cargo xtask picture writes this table. -->\n\n",
    "\n\n<!-- The table ends here. -->",
];

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
    /// Takes the figures of `cargo xtask bench peers` from this `bench.json`.
    #[arg(long, value_name = "FILE")]
    peers: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let root = book::root()?;
    let read = |path: &Path| fs::read_to_string(path).with_context(|| path.display().to_string());
    if let Some(new) = &options.records {
        let text = read(new)?;
        of(&text)?;
        fs::write(root.join(RECORDS), text)?;
    }
    if let Some(new) = &options.peers {
        fs::write(root.join(FIGURES), peers::select(&read(new)?)?)?;
    }
    for (path, text) in made(&root)? {
        fs::write(root.join(path), text)?;
        println!("wrote {path}");
    }
    Ok(ExitCode::SUCCESS)
}

/// What is made of the committed data.
fn made(root: &Path) -> Result<[(&'static str, String); 3]> {
    let figures = fs::read_to_string(root.join(FIGURES)).context(FIGURES)?;
    let page = fs::read_to_string(root.join(PAGE)).context(PAGE)?;
    Ok([
        (PICTURE, committed(root)?),
        (PLOT, peers::svg(&figures)?),
        (PAGE, with_table(&page, &peers::table(&figures)?)?),
    ])
}

/// The page with another table.
fn with_table(page: &str, table: &str) -> Result<String> {
    let parts = page.split_once(TABLE[0]).zip(page.split_once(TABLE[1]));
    let ((before, _), (_, after)) =
        parts.with_context(|| format!("{PAGE} has no place for the table"))?;
    Ok([before, TABLE[0], table.trim_end(), TABLE[1], after].concat())
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
    fn committed_pictures_are_made_of_the_committed_data() {
        let root = book::root().unwrap();
        for (path, text) in made(&root).unwrap() {
            let is = fs::read_to_string(root.join(path)).unwrap();
            assert!(is == text, "`cargo xtask picture` updates {path}");
        }
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

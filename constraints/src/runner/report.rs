//! What is known of a run or of several, and every form in which it is written.

use std::fs;
use std::path::Path;

use super::about::About;
use super::figures::Figures;
use super::ledger::Ledger;
use super::{Outcome, RunnerError, html, junit, summary};

/// The file with one line for each test.
pub(super) const MERGED: &str = "outcomes.jsonl";
const JUNIT: &str = "junit.xml";
/// For a person, in Markdown.
pub(super) const SUMMARY: &str = "summary.md";
/// For a person with a browser.
const PAGE: &str = "report.html";

/// What is known of a run or of several.
pub(super) struct Report {
    pub(super) ledger: Ledger,
    /// The runs that it is of.
    pub(super) runs: Vec<About>,
    /// What a bench has measured.
    pub(super) figures: Figures,
}

impl Report {
    /// Writes it into a folder.
    pub(super) fn write(&self, dir: &Path) -> Result<(), RunnerError> {
        let outcomes = self.ledger.outcomes();
        for (name, text) in [
            (MERGED, lines(&outcomes)),
            (JUNIT, junit::of(&outcomes)?),
            (SUMMARY, summary::of(&self.ledger)),
            (PAGE, html::of(self)),
        ] {
            let path = dir.join(name);
            fs::write(&path, text).map_err(RunnerError::io("write", &path))?;
        }
        Ok(())
    }
}

fn lines(outcomes: &[Outcome]) -> String {
    let line = |outcome| {
        let line = serde_json::to_string(outcome);
        line.expect("an outcome has text keys and finite numbers") + "\n"
    };
    outcomes.iter().map(line).collect()
}

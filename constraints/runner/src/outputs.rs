//! The files that a report is written to.

use super::merge::MERGED;
use super::report::Report;
use super::{Record, RunnerError, html, junit, summary};
use kata_test::__runner::Folder;

const JUNIT: &str = "junit.xml";
/// For a person, in Markdown.
const SUMMARY: &str = "summary.md";
/// For a person with a browser.
const PAGE: &str = "report.html";

/// Writes a report into a folder.
pub(super) fn write(report: &Report, folder: &Folder) -> Result<(), RunnerError> {
    let outcomes = report.ledger.outcomes();
    for (name, text) in [
        (MERGED, lines(&outcomes)),
        (JUNIT, junit::of(&report.ledger)?),
        (SUMMARY, summary::of(&report.ledger)),
        (PAGE, html::of(report)),
    ] {
        replace(folder, name, text.as_bytes())?;
    }
    Ok(())
}

/// Writes a file of a folder in one step.
pub(super) fn replace(folder: &Folder, name: &str, content: &[u8]) -> Result<(), RunnerError> {
    let written = folder.replace(name, content);
    written.map_err(RunnerError::io("write", &folder.path().join(name)))
}

fn lines(outcomes: &[Record]) -> String {
    let line = |outcome| {
        let line = serde_json::to_string(outcome);
        line.expect("an outcome has text keys and finite numbers") + "\n"
    };
    outcomes.iter().map(line).collect()
}

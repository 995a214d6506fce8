//! Every form in which a report is written.

use std::fs;
use std::path::Path;

use super::merge::MERGED;
use super::report::Report;
use super::{Outcome, RunnerError, html, junit, summary};

const JUNIT: &str = "junit.xml";
/// For a person, in Markdown.
const SUMMARY: &str = "summary.md";
/// For a person with a browser.
const PAGE: &str = "report.html";

/// Writes a report into a folder.
pub(super) fn write(report: &Report, dir: &Path) -> Result<(), RunnerError> {
    let outcomes = report.ledger.outcomes();
    for (name, text) in [
        (MERGED, lines(&outcomes)),
        (JUNIT, junit::of(&outcomes)?),
        (SUMMARY, summary::of(&report.ledger)),
        (PAGE, html::of(report)),
    ] {
        let path = dir.join(name);
        fs::write(&path, text).map_err(RunnerError::io("write", &path))?;
    }
    Ok(())
}

fn lines(outcomes: &[Outcome]) -> String {
    let line = |outcome| {
        let line = serde_json::to_string(outcome);
        line.expect("an outcome has text keys and finite numbers") + "\n"
    };
    outcomes.iter().map(line).collect()
}

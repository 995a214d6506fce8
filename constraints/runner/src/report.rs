//! What is known of a run or of several.

use std::path::{Path, PathBuf};

use super::RunnerError;
use super::about::About;
use super::figures::Figures;
use super::ledger::Ledger;
use super::merge::read;

/// What is known of a run or of several.
pub(super) struct Report {
    pub(super) ledger: Ledger,
    /// The runs that it is of.
    pub(super) runs: Vec<About>,
    /// What a bench has measured.
    pub(super) figures: Figures,
}

impl Report {
    /// Reads the records of one run, and the figures that lie in one of these files.
    pub(super) fn of_run(dir: &Path, figures: &[PathBuf]) -> Result<Self, RunnerError> {
        let runs = vec![About::read(dir)?];
        Ok(Self {
            ledger: Ledger::of(read(dir)?, &runs),
            runs,
            figures: Figures::read(figures)?,
        })
    }
}

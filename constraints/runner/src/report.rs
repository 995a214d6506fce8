//! What is known of a run or of several.

use std::path::Path;

use super::RunnerError;
use super::ledger::Ledger;
use super::merge::read;
use super::run_info::RunInfo;

/// What is known of a run or of several.
pub(super) struct Report {
    pub(super) ledger: Ledger,
    /// The runs that it is of.
    pub(super) runs: Vec<RunInfo>,
}

impl Report {
    /// Reads the records of one run.
    pub(super) fn of_run(dir: &Path) -> Result<Self, RunnerError> {
        let runs = vec![RunInfo::read(dir)?];
        Ok(Self {
            ledger: Ledger::of(read(dir)?, &runs),
            runs,
        })
    }
}

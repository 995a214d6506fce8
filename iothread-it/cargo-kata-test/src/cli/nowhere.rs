//! The options `--require-all` and `--allow-nowhere`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use kata_test_runner::{AllowedNowhere, Record};

/// Options that restrict which tests may run nowhere.
#[derive(Clone, Default, clap::Args)]
pub(super) struct NowhereOptions {
    /// Fails if there is a test that can run in none of the places.
    #[arg(long, conflicts_with = "allow_nowhere")]
    require_all: bool,

    /// As --require-all, but accepts the tests that this file lists, and fails if one of these ran. A line has a binary id, a space and a test name; `#` starts a comment.
    #[arg(long, value_name = "FILE")]
    allow_nowhere: Option<PathBuf>,
}

impl NowhereOptions {
    /// Reads the list. Returns `None` if tests may run nowhere.
    pub(super) fn read(&self) -> Result<Option<AllowedNowhere>> {
        match &self.allow_nowhere {
            Some(path) => Ok(Some(AllowedNowhere::read(path)?)),
            None => Ok(self.require_all.then(AllowedNowhere::default)),
        }
    }

    /// Returns an error message for each unexpected outcome. If `is_part`, a filter selected the tests,
    /// and lines of the list for other tests are no errors.
    pub(super) fn errors(
        &self,
        list: Option<&AllowedNowhere>,
        outcomes: &[Record],
        is_part: bool,
    ) -> Vec<String> {
        let Some(list) = list else {
            return Vec::new();
        };
        let missing = list.missing(outcomes).into_iter();
        let mut errors: Vec<String> = missing.map(|test| format!("{test} runs nowhere")).collect();
        if !is_part {
            let file = self.allow_nowhere.as_deref();
            let file = file.unwrap_or(Path::new("the list")).display();
            let stale = list.stale(outcomes).into_iter();
            errors.extend(stale.map(|test| format!("{file} is outdated: {test} runs somewhere")));
        }
        errors
    }
}

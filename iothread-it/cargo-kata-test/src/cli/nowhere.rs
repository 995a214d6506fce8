//! What is expected of tests that could run nowhere.

use std::path::{Path, PathBuf};

use anyhow::Result;
use kata_test_runner::{AllowedNowhere, Record};

/// Whether tests may run nowhere, and which.
#[derive(Clone, Default, clap::Args)]
pub(super) struct Expected {
    /// Fails if a test could run nowhere.
    #[arg(long, conflicts_with = "allow_nowhere")]
    require_all: bool,

    /// Fails if a test could run nowhere that this list has not, or if the list is stale: a binary's
    /// id, a space and a test's name a line, and `#` before a comment.
    #[arg(long, value_name = "FILE")]
    allow_nowhere: Option<PathBuf>,
}

impl Expected {
    /// Reads the list, before anything long begins. `None`: nothing is expected.
    pub(super) fn read(&self) -> Result<Option<AllowedNowhere>> {
        match &self.allow_nowhere {
            Some(path) => Ok(Some(AllowedNowhere::read(path)?)),
            None => Ok(self.require_all.then(AllowedNowhere::default)),
        }
    }

    /// What the outcomes are not to be. Of a part of the tests it is not known whether the list is
    /// stale.
    pub(super) fn complaints(
        &self,
        list: Option<&AllowedNowhere>,
        outcomes: &[Record],
        is_part: bool,
    ) -> Vec<String> {
        let Some(list) = list else {
            return Vec::new();
        };
        let missing = list.missing(outcomes).into_iter();
        let mut complaints: Vec<String> = missing
            .map(|test| format!("{test} could run nowhere"))
            .collect();
        if !is_part {
            let file = self.allow_nowhere.as_deref();
            let file = file.unwrap_or(Path::new("the list")).display();
            let stale = list.stale(outcomes).into_iter();
            complaints
                .extend(stale.map(|test| format!("{file} is stale: {test} did not run nowhere")));
        }
        complaints
    }
}

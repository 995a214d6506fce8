//! Records that annotated tests under libtest write themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;

use crate::elf::has_section;
use crate::merge::{files, read_file};
use crate::{Binary, Outcome, Phase, Record, Run, RunnerError};
use kata_test::__runner::file_name;

/// The section in which tests with the attribute are collected.
const TESTS_SECTION: &str = "__libc_kata_tests";

/// The records of one binary's processes.
pub(super) struct OwnRecords<'a> {
    run: &'a Run,
    binary: String,
    prefix: String,
    read: BTreeSet<PathBuf>,
    outcomes: BTreeMap<String, Outcome>,
}

impl<'a> OwnRecords<'a> {
    /// Returns `None` if the binary has no test with the attribute.
    pub(super) fn of(binary: &Binary, run: &'a Run) -> Result<Option<Self>, RunnerError> {
        let path = &binary.executable;
        let has_tests = has_section(path, TESTS_SECTION);
        let own = Self {
            run,
            binary: binary.id.clone(),
            prefix: format!("{}-", file_name(&binary.id)),
            read: BTreeSet::new(),
            outcomes: BTreeMap::new(),
        };
        Ok(has_tests
            .map_err(RunnerError::io("read", path))?
            .then_some(own))
    }

    /// The variables with which the processes record into the run.
    pub(super) fn env(&self) -> Vec<(OsString, OsString)> {
        let env = self.run.env();
        env.map(|(name, value)| (name.into(), value)).collect()
    }

    /// Returns what a test that has ended has recorded.
    pub(super) fn outcome(&mut self, test: &str) -> Result<Option<Outcome>, RunnerError> {
        for path in files(self.run.dir())? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // Those of a test that still runs are read again.
            if !name.starts_with(&self.prefix) || self.read.contains(&path) {
                continue;
            }
            let records = read_file(&path)?;
            // Another binary's name may begin like this one's.
            let is_own =
                |record: &Record| record.phase == Phase::Run && record.binary == self.binary;
            let ran = records.filter(is_own);
            let ran: Vec<_> = ran.collect();
            if ran.iter().any(|record| record.outcome != Outcome::Lost) {
                self.read.insert(path);
            }
            let outcomes = ran.into_iter().map(|record| (record.test, record.outcome));
            self.outcomes.extend(outcomes);
        }
        Ok(self.outcomes.get(test).copied())
    }
}

//! The records of several machines or shards as one: what ran somewhere, what nowhere, what twice.
//!
//! A shard is a folder with records. Each lists the tests that its machine could run, so a test that
//! every part of a run took for another's work is known, and missed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::merge::{files, is_inventory, read, settle, write};
use super::{Outcome, OutcomeKind, Phase, RunnerError};

/// A test, by its binary's id and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TestId {
    /// The test binary, by nextest's id.
    pub binary: String,
    /// The test, by libtest's name.
    pub test: String,
}

impl fmt::Display for TestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.binary, self.test)
    }
}

/// Several shards as one run.
#[derive(Debug)]
#[non_exhaustive]
pub struct Shards {
    /// The folders that hold a shard's records.
    pub folders: Vec<PathBuf>,
    /// One outcome for each test that has one: of several, the one a person should see first.
    pub outcomes: Vec<Outcome>,
    /// Tests that could have run, and ran in no shard.
    pub lost: Vec<TestId>,
    /// Tests that ran in several shards, with their number.
    pub repeated: Vec<(TestId, usize)>,
}

/// What the shards say about one test.
#[derive(Default)]
struct Known {
    /// The shards, by their index, in which it ran.
    ran: BTreeSet<usize>,
    listed: bool,
    left_out: bool,
}

impl Shards {
    /// Reads the shards below a folder, and writes their common outcomes into it, in the forms that
    /// a run's folder has.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or written, if a line is no record, or if there are no records.
    pub fn merge(below: &Path) -> Result<Self, RunnerError> {
        let mut folders = Vec::new();
        find(below, &mut folders)?;
        if folders.is_empty() {
            return Err(RunnerError::NoRecords(below.to_owned()));
        }
        let mut known: BTreeMap<TestId, Known> = BTreeMap::new();
        let mut outcomes = Vec::new();
        for (shard, folder) in folders.iter().enumerate() {
            let records = read(folder)?;
            for record in &records {
                known.entry(id(record)).or_default().learn(shard, record);
            }
            let records = records.into_iter().filter(|record| !is_inventory(record));
            outcomes.extend(settle(records.collect()));
        }
        let outcomes = best_known(outcomes);
        write(below, &outcomes)?;
        let is_lost = |known: &Known| known.listed && !known.left_out && known.ran.is_empty();
        let lost = known.iter().filter(|(_, known)| is_lost(known));
        let repeated = known.iter().filter(|(_, known)| known.ran.len() > 1);
        Ok(Self {
            folders,
            lost: lost.map(|(id, _)| id.clone()).collect(),
            repeated: repeated
                .map(|(id, known)| (id.clone(), known.ran.len()))
                .collect(),
            outcomes,
        })
    }
}

impl Known {
    fn learn(&mut self, shard: usize, record: &Outcome) {
        match (record.phase, record.outcome) {
            (_, OutcomeKind::Skipped | OutcomeKind::Ignored | OutcomeKind::Nowhere) => {
                self.left_out = true;
            }
            (Phase::List, _) => self.listed = true,
            (Phase::Run, _) => {
                self.ran.insert(shard);
            }
        }
    }
}

fn id(record: &Outcome) -> TestId {
    TestId {
        binary: record.binary.clone(),
        test: record.test.clone(),
    }
}

/// Of the outcomes of different shards, the one that a person should see first.
fn best_known(outcomes: Vec<Outcome>) -> Vec<Outcome> {
    let mut best: BTreeMap<TestId, Outcome> = BTreeMap::new();
    for outcome in outcomes {
        let id = id(&outcome);
        if best
            .get(&id)
            .is_none_or(|known| outcome.outcome < known.outcome)
        {
            best.insert(id, outcome);
        }
    }
    best.into_values().collect()
}

/// Collects the folders that hold records. Links are not followed: `latest` is one.
fn find(below: &Path, folders: &mut Vec<PathBuf>) -> Result<(), RunnerError> {
    if !files(below)?.is_empty() {
        folders.push(below.to_owned());
    }
    let mut inner = Vec::new();
    for entry in fs::read_dir(below).map_err(RunnerError::io("read", below))? {
        let entry = entry.map_err(RunnerError::io("read", below))?;
        let kind = entry
            .file_type()
            .map_err(RunnerError::io("read", &entry.path()))?;
        if kind.is_dir() {
            inner.push(entry.path());
        }
    }
    inner.sort();
    inner.iter().try_for_each(|folder| find(folder, folders))
}

//! Merges the records of several machines or shards.
//!
//! A shard is a folder with records. Each lists the tests that its machine could run, so a test that
//! every part of a run took for another's work is known, and missed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::ledger::{Ledger, NOWHERE};
use super::merge::{SCHEDULED, files, read};
use super::outputs;
use super::report::Report;
use super::run_info::{RunInfo, name_of_place};
use super::{Outcome, Phase, Record, RunnerError, summary};
use kata_test::__runner::{ARTIFACTS_FOLDER, make_root};
use kata_test_host::reason::Reason;

/// A test, by its binary's id and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TestId {
    /// The test binary, by nextest's id.
    pub binary: String,
    /// The test, by libtest's name.
    pub test: String,
}

impl TestId {
    /// Takes a binary's id and a test's name.
    #[must_use]
    pub fn new(binary: impl Into<String>, test: impl Into<String>) -> Self {
        Self {
            binary: binary.into(),
            test: test.into(),
        }
    }

    pub(super) fn of(record: &Record) -> Self {
        Self::new(&*record.binary, &*record.test)
    }
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
    /// One outcome for each test that has one: of several, the one a person should see first. A test
    /// that ran in no shard though one could run it is lost.
    pub outcomes: Vec<Record>,
    /// Tests that could have run, and ran in no shard.
    pub lost: Vec<TestId>,
    /// Tests that ran in several shards, with their number.
    pub repeated: Vec<(TestId, usize)>,
    /// The same among the shards of one machine each: those whose folders lie in one folder. What ran
    /// on several machines is no waste if they are unlike.
    pub repeated_on_one: Vec<(TestId, usize)>,
    /// Every test on every machine.
    pub ledger: Ledger,
}

impl Shards {
    /// Reads the shards below a folder, and writes their common outcomes into it, in the forms that
    /// a run's folder has. Places get the name of the folder in which their machine's records lie.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or written, if a line is no record, or if there are no records.
    pub fn merge(below: &Path) -> Result<Self, RunnerError> {
        let mut folders = Vec::new();
        find_records(below, &mut folders)?;
        if folders.is_empty() {
            return Err(RunnerError::NoRecords(below.to_owned()));
        }
        let mut records = Vec::new();
        let mut runs = Vec::new();
        let mut ran: BTreeMap<TestId, BTreeSet<usize>> = BTreeMap::new();
        let relative = |folder: &PathBuf| {
            let path = folder.strip_prefix(below);
            path.unwrap_or(folder).to_owned()
        };
        let relative: Vec<PathBuf> = folders.iter().map(relative).collect();
        for (shard, label) in labels(&relative).into_iter().enumerate() {
            let folder = &folders[shard];
            runs.push(RunInfo::read(folder)?.of_machine(label.as_deref()));
            for mut record in read(folder)? {
                if has_run(&record) {
                    ran.entry(TestId::of(&record)).or_default().insert(shard);
                }
                if let Some(artifacts) = &mut record.artifacts {
                    artifacts.in_shard(&relative[shard]);
                }
                if record.place != NOWHERE {
                    record.place = name_of_place(label.as_deref(), &record.place);
                }
                records.push(record);
            }
        }
        let mut ledger = Ledger::of(records, &runs);
        let lost = lose(&mut ledger);
        let on_one = |shards: &BTreeSet<usize>| {
            // The first folder is that of the machine.
            let mut counts: BTreeMap<Option<&OsStr>, usize> = BTreeMap::new();
            for shard in shards {
                *counts.entry(relative[*shard].iter().next()).or_default() += 1;
            }
            counts.into_values().max().unwrap_or_default()
        };
        let report = Report { ledger, runs };
        let opened = make_root(below).map_err(RunnerError::io("open", below))?;
        outputs::write(&report, &opened)?;
        Ok(Self {
            lost,
            repeated: several(&ran, BTreeSet::len),
            repeated_on_one: several(&ran, on_one),
            folders,
            outcomes: report.ledger.outcomes(),
            ledger: report.ledger,
        })
    }

    /// Adds the summary to that of a job on GitHub, if this is one.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn append_github_summary(&self) -> Result<(), RunnerError> {
        summary::append_github_summary(&self.ledger)
    }
}

/// Returns whether this is what came of running a test, in whatever way it ended.
fn has_run(record: &Record) -> bool {
    let left_out = matches!(
        record.outcome,
        Outcome::Skipped | Outcome::Ignored | Outcome::Nowhere
    );
    record.phase == Phase::Run && record.attempt != SCHEDULED && !left_out
}

/// Gives each test that every shard took for another's work the outcome that it is lost.
fn lose(ledger: &mut Ledger) -> Vec<TestId> {
    let Ledger { places, tests, .. } = ledger;
    let mut lost = Vec::new();
    for test in tests.iter_mut().filter(|test| test.outcome.is_none()) {
        let listed = test.listed.iter().map(|place| places[*place].name.as_str());
        let source = listed.collect::<Vec<_>>().join(", ");
        lost.push(test.id.clone());
        test.outcome = Some(Record::lost_between_shards(&test.id, source));
    }
    lost
}

impl Record {
    fn lost_between_shards(id: &TestId, listed: String) -> Self {
        Self {
            attempt: SCHEDULED,
            as_uid: 0,
            reasons: vec![Reason::infrastructure(
                "it can run, and no shard ran it",
                listed,
            )],
            ..Self::of("", id, NOWHERE)
        }
    }
}

/// The tests that count more than one shard.
fn several(
    ran: &BTreeMap<TestId, BTreeSet<usize>>,
    count: impl Fn(&BTreeSet<usize>) -> usize,
) -> Vec<(TestId, usize)> {
    let counted = ran.iter().map(|(id, shards)| (id.clone(), count(shards)));
    counted.filter(|(_, count)| *count > 1).collect()
}

/// A name for the machine of each folder: what its relative path has beside what a run's folder always has.
/// `None`: the records lie in the folder itself.
fn labels(paths: &[PathBuf]) -> Vec<Option<String>> {
    let short: Vec<&Path> = paths.iter().map(|path| machine(path)).collect();
    let distinct: BTreeSet<&Path> = short.iter().copied().collect();
    let chosen = match distinct.len() == short.len() {
        true => short,
        false => paths.iter().map(PathBuf::as_path).collect(),
    };
    let label = |path: &&Path| {
        let is_named = !path.as_os_str().is_empty();
        is_named.then(|| path.display().to_string())
    };
    chosen.iter().map(label).collect()
}

/// A path without the folders that every run has.
fn machine(path: &Path) -> &Path {
    let is_run = path.parent().and_then(Path::file_name) == Some(OsStr::new("runs"));
    let mut path = if is_run { path.parent() } else { Some(path) }.unwrap_or(path);
    while let (Some(name), Some(parent)) = (path.file_name(), path.parent()) {
        if !["runs", "latest", "kata-test", "target"]
            .iter()
            .any(|one| name == *one)
        {
            break;
        }
        path = parent;
    }
    path
}

/// Collects the folders that hold records. `latest` is a link to one of the others, or the copy that
/// an archiver has made of it.
fn find_records(below: &Path, found: &mut Vec<PathBuf>) -> Result<(), RunnerError> {
    let has_records = !files(below)?.is_empty();
    if has_records {
        found.push(below.to_owned());
    }
    let mut inner = Vec::new();
    for entry in fs::read_dir(below).map_err(RunnerError::io("read", below))? {
        let entry = entry.map_err(RunnerError::io("read", below))?;
        let kind = entry
            .file_type()
            .map_err(RunnerError::io("read", &entry.path()))?;
        let is_copy = entry.file_name() == "latest" && below.join("runs").is_dir();
        // What tests wrote.
        let is_artifacts = has_records && entry.file_name() == ARTIFACTS_FOLDER;
        if kind.is_dir() && !is_copy && !is_artifacts {
            inner.push(entry.path());
        }
    }
    inner.sort();
    inner
        .iter()
        .try_for_each(|folder| find_records(folder, found))
}

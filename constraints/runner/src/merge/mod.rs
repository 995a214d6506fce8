//! Merges the records of many processes to one outcome for each test.
//!
//! Within a process the last line about a test counts: a test is written down as lost before it
//! runs. Among processes, running beats listing and a later attempt beats an earlier one; of what is
//! then left (other places, other users, the same test twice) the outcome that a person should see
//! first stands.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Outcome, Phase, Record, RunnerError, TestId};

/// The file with one line for each test, which no process of the run has written.
pub(super) const MERGED: &str = "outcomes.jsonl";

/// The attempt of a record that only says that a runner is about to have a test run somewhere. Any
/// other of a run counts instead; that it cannot run in some place says nothing of this one.
pub(super) const SCHEDULED: u32 = 0;

/// Reads what every process of a run has recorded, inventories included.
pub(super) fn read(dir: &Path) -> Result<Vec<Record>, RunnerError> {
    let mut records = Vec::new();
    for path in files(dir)? {
        let text = fs::read(&path).map_err(RunnerError::io("read", &path))?;
        let of_process = parse(&path, &String::from_utf8_lossy(&text))?;
        records.extend(last_of_each(of_process));
    }
    Ok(records)
}

/// The files of a run's processes.
pub(super) fn files(dir: &Path) -> Result<Vec<PathBuf>, RunnerError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(RunnerError::io("read", dir))? {
        let path = entry.map_err(RunnerError::io("read", dir))?.path();
        let is_merged = path.file_name().is_some_and(|name| name == MERGED);
        let is_lines = path
            .extension()
            .is_some_and(|extension| extension == "jsonl");
        if is_lines && !is_merged {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads a file's lines. A last line without a line break was cut by the death of its process.
fn parse(path: &Path, text: &str) -> Result<Vec<Record>, RunnerError> {
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    let read = |(index, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|source| RunnerError::Line {
            path: path.to_owned(),
            line: index + 1,
            source: source.into(),
        })
    };
    complete.lines().enumerate().map(read).collect()
}

/// Returns whether a record only says that a test exists: whether it was to run is not known, since
/// nextest does not tell a binary of its filters.
pub(super) fn is_inventory(record: &Record) -> bool {
    record.phase == Phase::List && record.outcome == Outcome::Lost
}

fn last_of_each(records: Vec<Record>) -> impl Iterator<Item = Record> + use<> {
    // A runner tells of many binaries and places.
    let key = |one: &Record| (TestId::of(one), one.place.clone(), one.phase, one.attempt);
    let last: BTreeMap<_, _> = records
        .into_iter()
        .map(|record| (key(&record), record))
        .collect();
    last.into_values()
}

pub(super) fn settle(records: Vec<Record>) -> Vec<Record> {
    let is_only_meant = |record: &Record| record.attempt == SCHEDULED;
    let (meant, mut records): (Vec<_>, Vec<_>) = records.into_iter().partition(is_only_meant);
    // Newest first within one place and user, then only the newest of each stays.
    let newest = |record: &Record| Reverse((record.phase, record.attempt));
    records.sort_by(|a, b| {
        where_from(a)
            .cmp(&where_from(b))
            .then(newest(a).cmp(&newest(b)))
    });
    note_flaky(&mut records);
    let superseded = |record: &mut Record, kept: &mut Record| {
        where_from(record) == where_from(kept) && newest(record) != newest(kept)
    };
    records.dedup_by(superseded);
    let mut outcomes: BTreeMap<TestId, Record> = BTreeMap::new();
    for record in records {
        let key = TestId::of(&record);
        match outcomes.get(&key) {
            Some(known) if rank(known) <= rank(&record) => {}
            _ => drop(outcomes.insert(key, record)),
        }
    }
    for record in meant {
        let key = TestId::of(&record);
        match outcomes.get(&key) {
            Some(known) if known.phase == Phase::Run => {}
            _ => drop(outcomes.insert(key, record)),
        }
    }
    outcomes.into_values().collect()
}

/// A test that passed after it had failed, by nextest's retries or another program's, is flaky.
/// `records` are sorted by their source, the newest first.
fn note_flaky(records: &mut [Record]) {
    for of_source in records.chunk_by_mut(|one, other| where_from(one) == where_from(other)) {
        let Some((newest, earlier)) = of_source.split_first_mut() else {
            continue;
        };
        let has_failed = earlier.iter().any(|one| {
            one.phase == Phase::Run && one.attempt < newest.attempt && one.outcome.is_failure()
        });
        let has_passed = matches!(newest.outcome, Outcome::Passed | Outcome::ExpectedFailure);
        if has_passed && has_failed {
            newest.outcome = Outcome::Flaky;
        }
    }
}

/// Two records from the same source supersede each other.
fn where_from(record: &Record) -> (&str, &str, &str, u32) {
    (&record.binary, &record.test, &record.place, record.as_uid)
}

/// Sorts records by which a person should see first.
pub(super) fn rank(record: &Record) -> (Outcome, Reverse<Phase>) {
    (record.outcome, Reverse(record.phase))
}

#[cfg(test)]
mod tests;

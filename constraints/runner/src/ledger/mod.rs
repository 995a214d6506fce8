//! Every test in every place: of one run, or of several machines.

mod findings;
mod text;

use std::collections::{BTreeMap, BTreeSet};

pub use findings::{
    CitedIssue, Findings, RetriedTest, SharedConstraint, StaleConstraint, UnrunTest, UnusedPlace,
};
pub(super) use text::{and, attempts, names, plural};

use super::merge::{SCHEDULED, is_inventory, settle};
use super::run_info::RunInfo;
use super::{Outcome, Phase, Record, TestId};

/// The place in the record of a test that ran nowhere.
pub(super) const NOWHERE: &str = "nowhere";

/// Every test in every place.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Ledger {
    /// The places, this host first.
    pub places: Vec<LedgerPlace>,
    /// The tests, by binary and name.
    pub tests: Vec<TestEntry>,
}

/// A place, of one machine or of many.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LedgerPlace {
    /// Its name. Among several machines it begins with the machine's.
    pub name: String,
    /// What it is, if its runner has recorded that.
    pub about: String,
}

/// One test in all places.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TestEntry {
    /// Which test.
    pub id: TestId,
    /// Its most severe outcome; `None` if it was listed only.
    pub outcome: Option<Record>,
    /// Its outcome in each of the places.
    pub seen: Vec<Option<PlaceOutcome>>,
    /// The indices of the places that listed it as one that can run there.
    pub listed: BTreeSet<usize>,
}

/// A test in one place.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PlaceOutcome {
    /// The outcome there.
    pub outcome: Record,
    /// The outcomes of its attempts, the last of which counts.
    pub attempts: Vec<Outcome>,
}

impl Ledger {
    /// Makes it of all records, inventories included.
    pub(super) fn of(records: Vec<Record>, runs: &[RunInfo]) -> Self {
        let places = columns(&records, runs);
        let index: BTreeMap<String, usize> = places
            .iter()
            .enumerate()
            .map(|(index, place)| (place.name.clone(), index))
            .collect();
        let mut tests: BTreeMap<TestId, Vec<Record>> = BTreeMap::new();
        for record in records {
            tests.entry(TestId::of(&record)).or_default().push(record);
        }
        let story = |(id, records)| TestEntry::of(id, records, &index);
        let tests = tests.into_iter().map(story).collect();
        Self { places, tests }
    }

    /// One outcome for each test that has one, in the order of binary and test.
    pub(super) fn outcomes(&self) -> Vec<Record> {
        let outcomes = self.tests.iter().filter_map(|test| test.outcome.clone());
        outcomes.collect()
    }
}

impl TestEntry {
    fn of(id: TestId, records: Vec<Record>, index: &BTreeMap<String, usize>) -> Self {
        let (inventory, records): (Vec<_>, Vec<_>) = records.into_iter().partition(is_inventory);
        let listed = inventory
            .iter()
            .filter_map(|record| index.get(&record.place).copied());
        let is_meant = |record: &Record| record.attempt == SCHEDULED;
        let has_run = records
            .iter()
            .any(|record| record.phase == Phase::Run && !is_meant(record));
        let mut by_place: Vec<Vec<Record>> = vec![Vec::new(); index.len()];
        for record in &records {
            let counts = !(has_run && is_meant(record));
            if let (Some(at), true) = (index.get(&record.place), counts) {
                by_place[*at].push(record.clone());
            }
        }
        Self {
            id,
            seen: by_place.into_iter().map(PlaceOutcome::of).collect(),
            outcome: settle(records).pop(),
            listed: listed.collect(),
        }
    }

    /// The outcome.
    #[must_use]
    pub fn kind(&self) -> Option<Outcome> {
        self.outcome.as_ref().map(|outcome| outcome.outcome)
    }

    /// Whether it ran in no place. Ignored tests do not count.
    #[must_use]
    pub fn ran_nowhere(&self) -> bool {
        self.kind().is_some_and(Outcome::is_nowhere)
    }

    /// The places where it was skipped, by their index.
    fn skipped(&self) -> impl Iterator<Item = (usize, &Record)> {
        self.with(|kind| kind == Outcome::Skipped)
    }

    /// The places of certain outcomes, by their index.
    fn with(&self, is: fn(Outcome) -> bool) -> impl Iterator<Item = (usize, &Record)> {
        let seen = self.seen.iter().enumerate();
        seen.filter_map(move |(at, seen)| {
            let outcome = &seen.as_ref()?.outcome;
            is(outcome.outcome).then_some((at, outcome))
        })
    }
}

impl PlaceOutcome {
    fn of(records: Vec<Record>) -> Option<Self> {
        let mut attempts: BTreeMap<u32, Outcome> = BTreeMap::new();
        let ran = records.iter().filter(|record| record.phase == Phase::Run);
        for record in ran {
            let kind = attempts.entry(record.attempt).or_insert(record.outcome);
            *kind = record.outcome.min(*kind);
        }
        let outcome = settle(records).pop()?;
        Some(Self {
            outcome,
            attempts: attempts.into_values().collect(),
        })
    }
}

/// All places of the records and the runs, this host first.
fn columns(records: &[Record], runs: &[RunInfo]) -> Vec<LedgerPlace> {
    let mut about: BTreeMap<&str, &str> = BTreeMap::new();
    for record in records {
        about.entry(&record.place).or_default();
    }
    for (name, what) in runs.iter().flat_map(|run| &run.places) {
        about.insert(name, what);
    }
    about.remove(NOWHERE);
    let column = |(name, about): (&str, &str)| LedgerPlace {
        name: name.to_owned(),
        about: about.to_owned(),
    };
    let mut columns: Vec<LedgerPlace> = about.into_iter().map(column).collect();
    columns.sort_by_key(|column| column.name != "here");
    columns
}

#[cfg(test)]
mod tests;

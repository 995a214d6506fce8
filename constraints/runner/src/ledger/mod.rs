//! Every test in every place: of one run, or of several machines.

mod comparison;
mod findings;
mod sentence;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use comparison::{Comparison, Difference};
pub use findings::{
    CitedIssue, Findings, RetriedTest, SharedConstraint, StaleConstraint, UnrunTest, UnusedPlace,
};
pub use text::plural;
pub(super) use text::{and, attempts, names};

use super::merge::{SCHEDULED, is_inventory, rank, settle};
use super::run_info::RunInfo;
use super::{KVM_SUFFIX, Outcome, Phase, Record, TestId};
use kata_test::__runner::HERE;

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
    /// Whether each test was to run in every place that takes it. Then it has an outcome in each, and a later
    /// attempt replaces no failure.
    pub everywhere: bool,
}

/// A place, of one machine or of many.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LedgerPlace {
    /// Its name. Among several machines it begins with the machine's.
    pub name: String,
    /// What it is, if its runner has recorded that.
    pub about: String,
    /// The release of its kernel, if it is known.
    pub kernel: Option<String>,
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
        let everywhere = runs.iter().any(|run| run.everywhere);
        let mut places = columns(&records, runs);
        if everywhere {
            places.sort_by_key(|place| (place.name != HERE, place.version()));
        }
        let index: BTreeMap<String, usize> = places
            .iter()
            .enumerate()
            .map(|(index, place)| (place.name.clone(), index))
            .collect();
        let mut tests: BTreeMap<TestId, Vec<Record>> = BTreeMap::new();
        for record in records {
            tests.entry(TestId::of(&record)).or_default().push(record);
        }
        let entry = |(id, records)| TestEntry::of(id, records, &index, everywhere);
        let tests = tests.into_iter().map(entry).collect();
        Self {
            places,
            tests,
            everywhere,
        }
    }

    /// One outcome for each test that has one, in the order of binary and test. If each test was to run
    /// everywhere: one for each test and place, and one for a test that no place takes.
    pub(super) fn outcomes(&self) -> Vec<Record> {
        let of_test = |test: &TestEntry| match &test.outcome {
            Some(outcome) if !self.everywhere || outcome.place == NOWHERE => vec![outcome.clone()],
            Some(_) => test.cells().map(|(_, cell)| cell.outcome.clone()).collect(),
            None => Vec::new(),
        };
        self.tests.iter().flat_map(of_test).collect()
    }

    /// The outcomes of the attempts that led to an outcome.
    pub(super) fn attempts(&self, outcome: &Record) -> &[Outcome] {
        let id = TestId::of(outcome);
        let found = self.tests.binary_search_by(|test| test.id.cmp(&id));
        let cells = found.ok().map(|at| self.tests[at].cells());
        let mut cells = cells.into_iter().flatten();
        let cell = cells.find(|(_, cell)| cell.outcome.place == outcome.place);
        cell.map_or(&[], |(_, cell)| &cell.attempts)
    }
}

impl LedgerPlace {
    /// Its name, and its kernel if it is known: `vm:6.1 (6.1.0-56-cloud-amd64)`.
    #[must_use]
    pub fn heading(&self) -> String {
        match &self.kernel {
            Some(kernel) => format!("{} ({kernel})", self.name),
            None => self.name.clone(),
        }
    }

    /// The numbers of its kernel's version, as far as they are known.
    fn version(&self) -> Option<Vec<u64>> {
        let release = self.kernel.as_ref()?;
        let end = release.find(|c: char| !c.is_ascii_digit() && c != '.');
        let numbers = release[..end.unwrap_or(release.len())].split('.');
        Some(numbers.map_while(|number| number.parse().ok()).collect())
    }
}

impl TestEntry {
    fn of(
        id: TestId,
        records: Vec<Record>,
        index: &BTreeMap<String, usize>,
        everywhere: bool,
    ) -> Self {
        let (inventory, records): (Vec<_>, Vec<_>) = records.into_iter().partition(is_inventory);
        let listed = inventory
            .iter()
            .filter_map(|record| index.get(&record.place).copied());
        let has_run = records
            .iter()
            .any(|record| record.phase == Phase::Run && !is_meant(record));
        let mut by_place: Vec<Vec<Record>> = vec![Vec::new(); index.len()];
        for record in &records {
            let counts = everywhere || !(has_run && is_meant(record));
            if let (Some(at), true) = (index.get(&record.place), counts) {
                by_place[*at].push(record.clone());
            }
        }
        let listed = listed.collect();
        let cell = |records| PlaceOutcome::of(records, everywhere);
        let seen: Vec<Option<PlaceOutcome>> = by_place.into_iter().map(cell).collect();
        let outcome = match everywhere {
            false => settle(records).pop(),
            true => {
                let nowhere = records.into_iter().filter(|one| one.place == NOWHERE);
                let cells = seen.iter().flatten().map(|cell| cell.outcome.clone());
                nowhere.chain(cells).min_by_key(rank)
            }
        };
        Self {
            id,
            outcome,
            seen,
            listed,
        }
    }

    /// What became of it in the places that have an outcome, by their index.
    pub(crate) fn cells(&self) -> impl Iterator<Item = (usize, &PlaceOutcome)> {
        let seen = self.seen.iter().enumerate();
        seen.filter_map(|(at, cell)| Some((at, cell.as_ref()?)))
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
        let cells = self.cells().map(|(at, cell)| (at, &cell.outcome));
        cells.filter(|(_, outcome)| outcome.outcome == Outcome::Skipped)
    }
}

/// Writes the outcomes of the attempts, if there were several: `failed, then passed`.
impl fmt::Display for PlaceOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attempts.len() {
            0 | 1 => self.outcome.outcome.fmt(f),
            _ => f.write_str(&attempts(&self.attempts)),
        }
    }
}

impl PlaceOutcome {
    fn of(mut records: Vec<Record>, failures_stand: bool) -> Option<Self> {
        let mut attempts: BTreeMap<u32, Outcome> = BTreeMap::new();
        let ran = |record: &&Record| record.phase == Phase::Run && !is_meant(record);
        for record in records.iter().filter(ran) {
            let kind = attempts.entry(record.attempt).or_insert(record.outcome);
            *kind = record.outcome.min(*kind);
        }
        let failed = |record: &Record| {
            record.phase == Phase::Run && record.outcome.is_failure() && !is_meant(record)
        };
        let is_flaky = records.iter().any(|one| one.outcome == Outcome::Flaky);
        if failures_stand && !is_flaky && records.iter().any(failed) {
            records.retain(failed);
        }
        let outcome = settle(records).pop()?;
        Some(Self {
            outcome,
            attempts: attempts.into_values().collect(),
        })
    }
}

fn is_meant(record: &Record) -> bool {
    record.attempt == SCHEDULED
}

/// All places of the records and the runs, this host first. A place for tests that need KVM is among them if
/// there are such tests.
fn columns(records: &[Record], runs: &[RunInfo]) -> Vec<LedgerPlace> {
    let mut about: BTreeMap<&str, &str> = BTreeMap::new();
    for record in records {
        about.entry(&record.place).or_default();
    }
    for (name, what) in runs.iter().flat_map(|run| &run.places) {
        if about.contains_key(name.as_str()) || !name.ends_with(KVM_SUFFIX) {
            about.insert(name, what);
        }
    }
    about.remove(NOWHERE);
    let kernel = |name: &str| runs.iter().find_map(|run| run.kernels.get(name).cloned());
    let column = |(name, about): (&str, &str)| LedgerPlace {
        name: name.to_owned(),
        about: about.to_owned(),
        kernel: kernel(name),
    };
    let mut columns: Vec<LedgerPlace> = about.into_iter().map(column).collect();
    columns.sort_by_key(|column| column.name != HERE);
    columns
}

#[cfg(test)]
mod tests;

//! How long tests are expected to run, from the outcomes of earlier runs.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::merge::MERGED;
use super::{Record, TestId};

/// How long tests are expected to run: their durations in earlier runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExpectedDurations {
    /// In milliseconds, by test and place.
    known: BTreeMap<TestId, BTreeMap<String, f64>>,
}

impl ExpectedDurations {
    /// Reads the outcomes of all runs below a record folder, which in a workspace is `target/kata-test`.
    /// The newest of several durations counts. They are an estimate, so what cannot be read is not known.
    #[must_use]
    pub fn of_earlier_runs(record_root: &Path) -> Self {
        let entries = fs::read_dir(record_root.join("runs"));
        let runs = entries.into_iter().flatten().flatten();
        let mut files: Vec<_> = runs
            .filter_map(|entry| {
                let file = entry.path().join(MERGED);
                Some((fs::metadata(&file).ok()?.modified().ok()?, file))
            })
            .collect();
        files.sort();
        let mut durations = Self::default();
        for (_, file) in files {
            let text = fs::read_to_string(file).unwrap_or_default();
            let records = text
                .lines()
                .map_while(|line| serde_json::from_str(line).ok());
            records.for_each(|record| durations.add(&record));
        }
        durations
    }

    fn add(&mut self, record: &Record) {
        if record.duration_ms > 0.0 {
            let places = self.known.entry(TestId::of(record)).or_default();
            places.insert(record.place.clone(), record.duration_ms);
        }
    }

    /// Returns how long a test is expected to run in a place: as long as there before, else as long as it
    /// has run in the slowest of other places. `None`: it has not run yet.
    #[must_use]
    pub fn of(&self, test: &TestId, place: &str) -> Option<Duration> {
        let places = self.known.get(test)?;
        let longest = || places.values().copied().reduce(f64::max);
        let milliseconds = places.get(place).copied().or_else(longest)?;
        Duration::try_from_secs_f64(milliseconds / 1e3).ok()
    }

    /// Sorts tests that run in a place at the same time: the longest first, so that none is left alone at
    /// the end. Those that have not run yet come before the others.
    pub fn sort_longest_first<T>(
        &self,
        tasks: &mut [T],
        place: &str,
        test: impl Fn(&T) -> &TestId,
    ) {
        tasks.sort_by_cached_key(|task| {
            let expected = self.of(test(task), place);
            Reverse(expected.unwrap_or(Duration::MAX))
        });
    }
}

#[cfg(test)]
mod tests {
    //! Scope: what is read of earlier runs.

    use super::*;
    use crate::{Outcome, Run};

    fn id(test: &str) -> TestId {
        TestId {
            binary: "p::it".into(),
            test: test.into(),
        }
    }

    /// Leaves a run with these durations.
    fn leave(root: &Path, durations: &[(&str, &str, f64)]) {
        let run = Run::start(root).expect("a run");
        for (test, place, ms) in durations {
            let mut record = Record::of(run.id(), &id(test), place);
            record.outcome = Outcome::Passed;
            record.duration_ms = *ms;
            run.write(&record).expect("a record");
        }
        run.merge().expect("outcomes");
    }

    #[test]
    fn the_longest_test_comes_first_and_unknown_ones_before_it() {
        let root = tempfile::tempdir().expect("a folder");
        leave(root.path(), &[("a", "here", 9000.0), ("b", "here", 20.0)]);
        // A later run counts, and a part of the tests leaves the others known.
        leave(root.path(), &[("a", "here", 10.0), ("c", "vm:a", 30.0)]);
        let damaged = root.path().join("runs/damaged");
        fs::create_dir(&damaged).expect("a folder");
        fs::write(damaged.join(MERGED), "{\n").expect("a file");

        let durations = ExpectedDurations::of_earlier_runs(root.path());
        let mut tests = ["a", "b", "new", "c"].map(id);
        durations.sort_longest_first(&mut tests, "here", |test| test);
        assert_eq!(tests, ["new", "c", "b", "a"].map(id));
        assert_eq!(
            durations.of(&id("a"), "here"),
            Some(Duration::from_millis(10))
        );
        assert_eq!(
            durations.of(&id("c"), "here"),
            Some(Duration::from_millis(30))
        );
        assert_eq!(durations.of(&id("new"), "here"), None);
    }

    #[test]
    fn without_runs_nothing_is_known() {
        let root = tempfile::tempdir().expect("a folder");
        let durations = ExpectedDurations::of_earlier_runs(root.path());
        assert_eq!(durations, ExpectedDurations::default());
    }
}

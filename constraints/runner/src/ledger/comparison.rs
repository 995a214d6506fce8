//! Which tests have another outcome from place to place.

use super::sentence::sentence;
use super::{Ledger, TestEntry};
use crate::Outcome;

/// The tests of a ledger by whether their outcomes differ between places. A place that has not run a test,
/// because it does not meet the requirement, is no difference.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Comparison<'a> {
    /// Tests whose outcomes differ.
    pub differing: Vec<Difference<'a>>,
    /// Tests that failed alike wherever they ran.
    pub failing: Vec<&'a TestEntry>,
    /// All other tests.
    pub alike: Vec<&'a TestEntry>,
}

/// A test whose outcomes differ.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Difference<'a> {
    /// The test.
    pub test: &'a TestEntry,
    /// What differs, in words: `fails on vm:5.10 only`.
    pub summary: String,
}

impl Ledger {
    /// Compares the outcomes of each test between the places.
    #[must_use]
    pub fn comparison(&self) -> Comparison<'_> {
        let mut comparison = Comparison {
            differing: Vec::new(),
            failing: Vec::new(),
            alike: Vec::new(),
        };
        for test in &self.tests {
            let cells: Vec<_> = test
                .results()
                .map(|(at, outcome)| (&self.places[at], outcome))
                .collect();
            let differs = cells.iter().any(|(_, outcome)| *outcome != cells[0].1);
            if differs {
                let summary = sentence(&cells);
                comparison.differing.push(Difference { test, summary });
            } else if cells
                .first()
                .is_some_and(|(_, outcome)| outcome.is_failure())
            {
                comparison.failing.push(test);
            } else {
                comparison.alike.push(test);
            }
        }
        comparison
    }
}

impl TestEntry {
    /// What the test itself came to, by the places' indices.
    fn results(&self) -> impl Iterator<Item = (usize, Outcome)> {
        let cells = self.cells().map(|(at, cell)| (at, cell.outcome.outcome));
        cells.filter(|(_, outcome)| {
            !matches!(
                outcome,
                Outcome::Skipped | Outcome::Ignored | Outcome::Nowhere
            )
        })
    }
}

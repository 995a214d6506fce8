//! In how many places a test runs.

use kata_test_host::constraint::Status;

use super::{Plan, PlannedTest};

/// In which of the places that take it a test runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spread {
    /// In the first of them, which is the cheapest.
    #[default]
    First,
    /// In each of them.
    Everywhere,
}

impl PlannedTest {
    /// The indices of the places to try. [`Spread::First`]: until one has run the test, cheapest first, those
    /// where it can run before those where that is unknown. [`Spread::Everywhere`]: all but those where it is
    /// unmet, since an undetermined test has failed there.
    #[must_use]
    pub fn places(&self, spread: Spread) -> Vec<usize> {
        match spread {
            Spread::First => self.candidates().collect(),
            Spread::Everywhere => {
                let places = self.eligibilities.iter().enumerate();
                let taken = places.filter(|(_, there)| there.status != Status::Unmet);
                taken.map(|(index, _)| index).collect()
            }
        }
    }
}

impl Plan {
    /// The indices of the places where a test is to run.
    #[must_use]
    pub fn chosen(&self, test: &PlannedTest) -> Vec<usize> {
        match self.spread {
            Spread::First => test.chosen().into_iter().collect(),
            Spread::Everywhere => test.places(self.spread),
        }
    }
}

//! What a plan knows and no test tells, noted with a run for its report: which places were at hand,
//! and what the tests that do not run here lack in each of them.

use super::{Outlook, Plan, PlannedTest, Run, RunnerError};

impl Plan {
    /// Notes the plan's places with a run, and why tests cannot run in those that are passed over.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn note(&self, run: &Run) -> Result<(), RunnerError> {
        for place in &self.places {
            run.has_place(&place.name, &place.about)?;
        }
        let is_first = |test: &&PlannedTest| test.chosen() == Some(0) || test.is_ignored();
        for test in self.tests.iter().filter(|test| !is_first(test)) {
            for (place, outlook) in self.places.iter().zip(&test.outlooks) {
                if let Outlook::Unmet(reasons) = outlook {
                    run.passed_over(&place.name, test, reasons)?;
                }
            }
        }
        Ok(())
    }
}

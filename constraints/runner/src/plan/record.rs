//! Records a plan with a run: the places, and why tests cannot run in each of them.

use crate::{Plan, PlannedTest, Run, RunnerError};
use kata_test_host::constraint::Status;

impl Plan {
    /// Notes the plan's places with a run, and why tests cannot run in those that are passed over.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn record(&self, run: &Run) -> Result<(), RunnerError> {
        for place in &self.places {
            run.record_place(&place.name, &place.about)?;
        }
        let is_first = |test: &&PlannedTest| test.chosen() == Some(0) || test.ignored;
        for test in self.tests.iter().filter(|test| !is_first(test)) {
            for (place, eligibility) in self.places.iter().zip(&test.eligibilities) {
                if eligibility.status == Status::Unmet {
                    run.record_skip(&place.name, test, &eligibility.reasons)?;
                }
            }
        }
        Ok(())
    }
}

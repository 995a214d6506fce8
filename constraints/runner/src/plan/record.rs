//! Records a plan with a run: the places, and why tests cannot run in each of them.

use crate::{Plan, PlannedTest, Run, RunnerError, Spread};
use kata_test_host::constraint::Status;

impl Plan {
    /// Notes the plan's places with a run, and why tests cannot run in those that are passed over.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn record(&self, run: &Run) -> Result<(), RunnerError> {
        run.update_info(|about| {
            about.everywhere = self.spread == Spread::Everywhere;
            for place in &self.places {
                let (name, kernel) = (place.name.clone(), place.kernel.clone());
                about.places.insert(name.clone(), place.about.clone());
                about.kernels.extend(kernel.map(|kernel| (name, kernel)));
            }
        })?;
        let is_first = |test: &&PlannedTest| {
            test.ignored || (self.spread == Spread::First && test.chosen() == Some(0))
        };
        for test in self.tests.iter().filter(|test| !is_first(test)) {
            for (place, eligibility) in self.places.iter().zip(&test.eligibilities) {
                if eligibility.status == Status::Unmet && !eligibility.is_for_others() {
                    run.record_skip(&place.name, test, &eligibility.reasons)?;
                }
            }
        }
        Ok(())
    }
}

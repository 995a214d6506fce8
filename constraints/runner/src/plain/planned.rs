//! Plans where plain tests run.

use super::PlainTest;
use super::requirements::FactsProgram;
use super::routes::Routing;
use crate::{CandidatePlace, Eligibility, RunnerError, Spread, StopToken, TestId, UserKind};

/// A plain test in a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedPlain {
    /// Which test.
    pub id: TestId,
    /// What the configuration requires.
    pub needs: String,
    /// Whether it is reported as ignored.
    pub ignored: bool,
    /// The places where it is to run, by their index, and the user there; empty if it is ignored or no place
    /// takes it.
    pub chosen: Vec<(usize, UserKind)>,
    /// The places where it may run again, in their order: if its output says that it skips, or it fails for
    /// lack of permission.
    pub next: Vec<(usize, UserKind)>,
    /// The places where what the configuration requires is not met, by their index. A place is missing if a
    /// cheaper one takes the test.
    pub unmet: Vec<(usize, Eligibility)>,
}

/// Plans where plain tests run. What the configuration requires is evaluated in each place by `program`.
///
/// # Errors
///
/// If verdicts cannot be cached, or if the plan is to `stop`.
pub fn plan_plain(
    tests: &[PlainTest],
    candidates: &mut [CandidatePlace],
    spread: Spread,
    program: &FactsProgram,
    stop: StopToken<'_>,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<PlannedPlain>, RunnerError> {
    let mut routing = Routing::new(candidates, spread, tests);
    routing.evaluate(tests, candidates, program, stop, progress)?;
    let planned = |test: &PlainTest| {
        let mut planned = PlannedPlain {
            id: test.id.clone(),
            needs: test.settings.needs(),
            ignored: !test.runs,
            chosen: Vec::new(),
            next: Vec::new(),
            unmet: Vec::new(),
        };
        if test.runs {
            let routes = routing.of(test);
            for alternatives in &routes.alternatives {
                let mut places = alternatives.iter().map(|route| (route.place, route.user));
                planned.chosen.extend(places.next());
                planned.next.extend(places);
            }
            planned.unmet = routes.unmet.into_iter().collect();
        }
        planned
    };
    Ok(tests.iter().map(planned).collect())
}

//! Plans where plain tests run.

use super::PlainTest;
use super::routes::Routing;
use crate::{CandidatePlace, Spread, TestId, UserKind};
use kata_test_host::reason::Reason;

/// A plain test in a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedPlain {
    /// Which test.
    pub id: TestId,
    /// Whether it is reported as ignored.
    pub ignored: bool,
    /// The places where it is to run, by their index, and the user there; empty if it is ignored or no place
    /// takes it.
    pub chosen: Vec<(usize, UserKind)>,
    /// The places where it may run again, in their order: if its output says that it skips, or it fails for
    /// lack of permission.
    pub next: Vec<(usize, UserKind)>,
    /// What the configuration requires, and this host lacks.
    pub unmet: Vec<Reason>,
}

/// Plans where plain tests run. Nothing but the configuration is known of what they need.
#[must_use]
pub fn plan_plain(
    tests: &[PlainTest],
    candidates: &[CandidatePlace],
    spread: Spread,
) -> Vec<PlannedPlain> {
    let routing = Routing::new(candidates, spread);
    let planned = |test: &PlainTest| {
        let mut planned = PlannedPlain {
            id: test.id.clone(),
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
            planned.unmet = routes.unmet;
        }
        planned
    };
    tests.iter().map(planned).collect()
}

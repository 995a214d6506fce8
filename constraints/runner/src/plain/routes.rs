//! In which places plain tests run, and as which user.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::PlainTest;
use super::requirements::{FactsProgram, Verdicts, texts};
use super::task::Route;
use crate::plan::needs_root;
use crate::{
    CandidatePlace, Eligibility, Fit, RunnerError, Spread, StopToken, TestSettings, UserKind,
};
use kata_test::__runner::HERE;
use kata_test_host::constraint::{Constraint, Demand, Status, evaluate};
use kata_test_host::facts::Here;
use kata_test_host::reason::Reason;

/// All places with all users, in the order in which they are tried.
pub(super) struct Routing {
    pub(super) order: Vec<Route>,
    /// The names of the places.
    pub(super) names: Vec<String>,
    /// The names of the places that they are variants of, or their own.
    base_names: Vec<String>,
    /// Which of the places are for tests that need KVM, and ask for no more.
    is_for_kvm: Vec<bool>,
    /// Whether each place is for tests, by what these need and ask for.
    fits: BTreeMap<(String, Demand), Vec<Fit>>,
    /// In which of the places root is root in a user namespace.
    pub(super) is_user_namespace: Vec<bool>,
    spread: Spread,
    /// What is known of other places. `None`: they cannot be used.
    verdicts: BTreeMap<Route, Option<Verdicts>>,
}

/// Where a test runs, and why not in other places.
pub(super) struct Routes {
    /// Places that are tried until one has run the test. If it runs everywhere: a list for each place.
    pub(super) alternatives: Vec<VecDeque<Route>>,
    /// The verdicts on what the configuration requires, in places where it is not met.
    pub(super) unmet: BTreeMap<usize, Eligibility>,
}

impl Routing {
    /// The places come first with the current kind of user, then with the other; this host, and then a user
    /// namespace on it, before all others.
    pub(super) fn new(candidates: &[CandidatePlace], spread: Spread, tests: &[PlainTest]) -> Self {
        let current = UserKind::current();
        let other = match current {
            UserKind::Root => UserKind::Unprivileged,
            UserKind::Unprivileged => UserKind::Root,
        };
        let runs_as = |candidate: &CandidatePlace, user| match candidate {
            CandidatePlace::Here => user == current,
            CandidatePlace::Place(place) => place.runs_as(user),
            CandidatePlace::Recorded(_) => false,
        };
        let of_user = |user| {
            let places = candidates.iter().enumerate();
            places.filter_map(move |(place, candidate)| {
                runs_as(candidate, user).then_some(Route { place, user })
            })
        };
        let mut order: Vec<Route> = of_user(current).chain(of_user(other)).collect();
        order.sort_by_key(|route| match &candidates[route.place] {
            CandidatePlace::Here => 0,
            place if place.is_user_namespace() => 1,
            _ => 2,
        });
        Self {
            order,
            names: candidates.iter().map(|one| one.name().to_owned()).collect(),
            base_names: candidates
                .iter()
                .map(|one| one.base_name().to_owned())
                .collect(),
            is_for_kvm: candidates.iter().map(CandidatePlace::is_for_kvm).collect(),
            fits: tests
                .iter()
                .map(|test| (test.settings.needs(), test.settings.demand()))
                .flat_map(|(needs, demand)| [(with_kvm(&needs), demand.clone()), (needs, demand)])
                .map(|(needs, demand)| {
                    let fits = candidates.iter().map(|one| one.fit(&needs, &demand));
                    let fits = fits.collect();
                    ((needs, demand), fits)
                })
                .collect(),
            is_user_namespace: candidates
                .iter()
                .map(CandidatePlace::is_user_namespace)
                .collect(),
            spread,
            verdicts: BTreeMap::new(),
        }
    }

    /// Whether a route leads to a place with KVM, where a test that lacks it may run. A test that runs everywhere
    /// stays where it is.
    pub(super) fn leads_to_kvm(&self, route: &Route) -> bool {
        self.spread == Spread::First && self.is_for_kvm[route.place]
    }

    /// Those of a test: where its requirement is met, and then, as root, where that is not known. The verdict is that
    /// of the place without KVM which is for the test, since the other has the same kernel.
    pub(super) fn for_lack_of_kvm(&self, settings: &TestSettings) -> Vec<Route> {
        let needs = with_kvm(&settings.needs());
        let fits = self.fits.get(&(needs, settings.demand()));
        let (mut met, mut open) = (Vec::new(), Vec::new());
        for route in self.order.iter().copied() {
            let fits = fits.is_none_or(|fits| fits[route.place] == Fit::Fits);
            if !self.leads_to_kvm(&route) || !fits || !self.permits(settings, route) {
                continue;
            }
            let like_it = |place: &usize| {
                self.base_names[*place] == self.base_names[route.place]
                    && self.fit(settings, *place) == Fit::Fits
            };
            let place = (0..self.names.len()).find(like_it);
            let evaluated = Route {
                place: place.unwrap_or(route.place),
                ..route
            };
            let eligibility = self.eligibility(evaluated, &settings.requires);
            if eligibility.status == Status::Met {
                met.push(route);
            } else if eligibility.is_open
                && (route.user == UserKind::Root || settings.user.is_some())
            {
                open.push(route);
            }
        }
        met.append(&mut open);
        met
    }

    /// Evaluates in other places what the configuration requires: in all that may run a test, or until one
    /// is found where it is met.
    pub(super) fn evaluate(
        &mut self,
        tests: &[PlainTest],
        candidates: &mut [CandidatePlace],
        program: &FactsProgram,
        stop: StopToken<'_>,
        progress: &mut dyn FnMut(&str),
    ) -> Result<(), RunnerError> {
        let constraints = texts(
            tests
                .iter()
                .filter(|test| test.runs)
                .map(|test| &test.settings),
        );
        let is_asked = |test: &&PlainTest| {
            let expected = test.settings.expect_failure.as_ref();
            let expects = expected.is_some_and(|expected| !expected.constraints.is_empty());
            test.runs && (expects || !test.settings.requires.is_empty())
        };
        for test in tests.iter().filter(is_asked) {
            for route in self.order.clone() {
                let fit = self.fit(&test.settings, route.place);
                if fit != Fit::Fits || !self.permits(&test.settings, route) {
                    continue;
                }
                if let CandidatePlace::Place(place) = &mut candidates[route.place]
                    && !self.verdicts.contains_key(&route)
                {
                    let place = place.as_mut();
                    let found =
                        program.verdicts(place, route.user, &constraints, stop, progress)?;
                    self.verdicts.insert(route, found);
                }
                let eligibility = self.eligibility(route, &test.settings.requires);
                let is_chosen = self.spread == Spread::First && eligibility.status == Status::Met;
                // A test that is to fail may run again elsewhere.
                if is_chosen && test.settings.expect_failure.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Returns where a test may run, and where what the configuration requires is not met. Where that is not
    /// known, a test runs as root, after the other places, and its outcome tells.
    pub(super) fn of(&self, test: &PlainTest) -> Routes {
        let settings = &test.settings;
        let (mut routes, mut open) = (VecDeque::new(), VecDeque::new());
        let mut unmet = BTreeMap::new();
        for route in self.order.iter().copied() {
            if !self.permits(settings, route) {
                continue;
            }
            let eligibility = match self.fit(settings, route.place) {
                Fit::Fits => self.eligibility(route, &settings.requires),
                Fit::ForOthers => continue,
                lacks @ Fit::Lacks(_) => Eligibility::unfit(lacks),
            };
            if eligibility.status == Status::Met {
                routes.push_back(route);
            } else if !eligibility.is_open {
                unmet.insert(route.place, eligibility);
            } else if route.user == UserKind::Root || settings.user.is_some() {
                open.push_back(route);
            }
        }
        routes.append(&mut open);
        unmet.retain(|place, _| routes.iter().all(|route| route.place != *place));
        let alternatives = match self.spread {
            _ if routes.is_empty() => Vec::new(),
            Spread::First => vec![routes],
            Spread::Everywhere => first_of_each_place(routes),
        };
        Routes {
            alternatives,
            unmet,
        }
    }

    /// Whether a place is for a test.
    fn fit(&self, settings: &TestSettings, place: usize) -> Fit {
        let fits = self.fits.get(&(settings.needs(), settings.demand()));
        fits.map_or(Fit::Fits, |fits| fits[place].clone())
    }

    /// Whether a test may run in a place as this user, as far as its requirement is met there.
    fn permits(&self, settings: &TestSettings, route: Route) -> bool {
        let current = UserKind::current();
        let is_everywhere = self.spread == Spread::Everywhere;
        let is_user = match settings.user {
            Some(user) => route.user == user,
            None if is_everywhere && settings.requires.is_empty() => route.user == current,
            None => [current, UserKind::Root].contains(&route.user),
        };
        let meant = [&self.names[route.place], &self.base_names[route.place]];
        let places = settings.places.as_ref();
        let is_place = places.is_none_or(|names| names.iter().any(|name| meant.contains(&name)));
        let needs_root = settings.user == Some(UserKind::Root) || needs_root(&settings.needs());
        let accepts_root =
            !self.is_user_namespace[route.place] || !needs_root || settings.root_in_userns;
        is_user && is_place && accepts_root
    }

    /// Returns the verdicts on the constraints of the test's `expect-failure`.
    pub(super) fn expectations(&self, test: &PlainTest) -> BTreeMap<Route, Eligibility> {
        let Some(expected) = &test.settings.expect_failure else {
            return BTreeMap::new();
        };
        let verdict = |route: &Route| {
            let mut verdict = self.eligibility(*route, &expected.constraints);
            if verdict.is_open {
                let observed = "whether the test is expected to fail there is not known";
                let reason = Reason::infrastructure(observed, &*self.names[route.place]);
                verdict.reasons.push(reason);
            }
            (*route, verdict)
        };
        self.order.iter().map(verdict).collect()
    }

    fn eligibility(&self, route: Route, requires: &[Constraint]) -> Eligibility {
        let place = &self.names[route.place];
        if requires.is_empty() || place == HERE {
            let evaluation = evaluate(requires, &Here);
            return Eligibility::new(evaluation.status, evaluation.reasons);
        }
        match self.verdicts.get(&route) {
            Some(Some(verdicts)) => verdicts.of(requires, place),
            _ => Eligibility::unknown(),
        }
    }
}

/// What a test needs that lacks KVM, and has stated this.
fn with_kvm(needs: &str) -> String {
    format!("kvm, {needs}")
}

/// Splits routes: in each place as the user that comes first there.
fn first_of_each_place(routes: VecDeque<Route>) -> Vec<VecDeque<Route>> {
    let mut seen = BTreeSet::new();
    let first = routes.into_iter().filter(|route| seen.insert(route.place));
    first.map(|route| [route].into()).collect()
}

#[cfg(test)]
mod tests {
    //! Scope: where a test runs that lacks KVM, with made-up places.

    use std::time::Duration;

    use super::*;
    use crate::{Binary, Job, Place, PlaceError, TestId};
    use kata_test_host::constraint::parse;

    /// A place with two CPUs or four, under this kernel.
    struct Machine(&'static str, &'static str, u32);

    impl Place for Machine {
        fn name(&self) -> &str {
            self.0
        }

        fn base_name(&self) -> &str {
            self.1
        }

        fn fit(&self, demand: &Demand) -> Fit {
            match demand.cpus <= self.2 && !demand.cgroup_v1 {
                true => Fit::Fits,
                false => Fit::ForOthers,
            }
        }

        fn about(&self) -> String {
            "made up".to_owned()
        }

        fn cost(&self) -> Duration {
            Duration::ZERO
        }

        fn is_for_kvm(&self) -> bool {
            self.0.ends_with(crate::KVM_SUFFIX)
        }

        fn key(&self) -> Option<String> {
            None
        }

        fn list(
            &mut self,
            _: &Binary,
            _: &[String],
            _: StopToken<'_>,
        ) -> Result<String, PlaceError> {
            panic!("nothing is listed")
        }

        fn run(&mut self, _: &Job<'_>, _: &mut dyn FnMut(&[u8])) -> Result<(), PlaceError> {
            panic!("nothing runs")
        }
    }

    #[test]
    fn a_test_that_lacks_kvm_runs_only_where_its_requirement_may_be_met() {
        let test = |requires: &str| PlainTest {
            id: TestId::new("p::it", requires),
            ignored: None,
            runs: true,
            settings: TestSettings {
                requires: parse(requires).expect("constraints"),
                requires_texts: vec![requires.to_owned()],
                user: Some(UserKind::Root),
                ..TestSettings::default()
            },
        };
        let of_new = "module = \"of_new\"";
        let tests = ["", "cpus_ge = 4", "cpus_ge = 8", "cgroup = \"v1\"", of_new].map(test);
        let places = [
            Machine("new", "new", 2),
            Machine("new+kvm", "new", 4),
            Machine("old", "old", 2),
            Machine("old+kvm", "old", 4),
        ];
        let places = places.map(|place| CandidatePlace::Place(Box::new(place)));
        let mut routing = Routing::new(&places, Spread::First, &tests);
        for (place, verdict) in [(0, "met"), (2, "unmet")] {
            let found = Verdicts::made_up(&tests[4].settings.requires, verdict);
            let user = UserKind::Root;
            routing.verdicts.insert(Route { place, user }, Some(found));
        }
        let names = tests.each_ref().map(|test| -> Vec<&str> {
            let routes = routing.for_lack_of_kvm(&test.settings);
            let names = routes.iter().map(|route| &*routing.names[route.place]);
            names.collect()
        });
        let both = vec!["new+kvm", "old+kvm"];
        let expected = [both.clone(), both, vec![], vec![], vec!["new+kvm"]];
        assert_eq!(names, expected);
    }
}

//! In which places plain tests run, and as which user.

use std::collections::{BTreeSet, VecDeque};

use super::PlainTest;
use super::task::Route;
use crate::place::is_meant;
use crate::plan::needs_kvm;
use crate::{CandidatePlace, Spread, UserKind};
use kata_test::__runner::HERE;
use kata_test_host::constraint::{Status, evaluate};
use kata_test_host::facts::Here;
use kata_test_host::reason::Reason;

/// All places with all users, in the order in which they are tried.
pub(super) struct Routing {
    pub(super) order: Vec<Route>,
    /// The names of the places.
    pub(super) names: Vec<String>,
    /// Which of the places are only for tests that need KVM.
    is_for_kvm: Vec<bool>,
    spread: Spread,
}

/// Where a test runs, and why not on this host.
pub(super) struct Routes {
    /// Places that are tried until one has run the test. If it runs everywhere: a list for each place.
    pub(super) alternatives: Vec<VecDeque<Route>>,
    /// What it lacks on this host.
    pub(super) unmet: Vec<Reason>,
}

impl Routing {
    /// The places come first with the current kind of user, then with the other.
    pub(super) fn new(candidates: &[CandidatePlace], spread: Spread) -> Self {
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
        Self {
            order: of_user(current).chain(of_user(other)).collect(),
            names: candidates.iter().map(|one| one.name().to_owned()).collect(),
            is_for_kvm: candidates.iter().map(CandidatePlace::is_for_kvm).collect(),
            spread,
        }
    }

    /// The routes of tests that have failed for lack of KVM. A test that runs everywhere stays where it is.
    pub(super) fn for_lack_of_kvm(&self) -> Vec<Route> {
        let has_kvm = |route: &&Route| self.spread == Spread::First && self.is_for_kvm[route.place];
        self.order.iter().filter(has_kvm).copied().collect()
    }

    /// Returns where a test may run, and why it may not run here. What the configuration requires is
    /// evaluated on this host; elsewhere a test that requires something runs as root, and its outcome tells.
    pub(super) fn of(&self, test: &PlainTest) -> Routes {
        let settings = &test.settings;
        let evaluation =
            (!settings.requires.is_empty()).then(|| evaluate(&settings.requires, &Here));
        let needs_kvm = needs_kvm(&settings.needs());
        let may = |route: &&Route| {
            let place = &self.names[route.place];
            let is_user = match (settings.user, &evaluation) {
                (Some(user), _) => route.user == user,
                (None, Some(_)) if place != HERE => route.user == UserKind::Root,
                (None, _) if self.spread == Spread::Everywhere => route.user == UserKind::current(),
                (None, _) => [UserKind::current(), UserKind::Root].contains(&route.user),
            };
            let is_met = evaluation
                .as_ref()
                .is_none_or(|evaluation| place != HERE || evaluation.status == Status::Met);
            let is_place = settings
                .places
                .as_ref()
                .is_none_or(|names| names.iter().any(|name| is_meant(name, place)));
            let is_for_it = needs_kvm || !self.is_for_kvm[route.place];
            is_user && is_met && is_place && is_for_it
        };
        let routes: VecDeque<Route> = self.order.iter().filter(may).copied().collect();
        let alternatives = match self.spread {
            _ if routes.is_empty() => Vec::new(),
            Spread::First => vec![routes],
            Spread::Everywhere => first_of_each_place(routes),
        };
        Routes {
            alternatives,
            unmet: evaluation.map_or(Vec::new(), |evaluation| evaluation.reasons),
        }
    }
}

/// Splits routes: in each place as the user that comes first there.
fn first_of_each_place(routes: VecDeque<Route>) -> Vec<VecDeque<Route>> {
    let mut seen = BTreeSet::new();
    let first = routes.into_iter().filter(|route| seen.insert(route.place));
    first.map(|route| [route].into()).collect()
}

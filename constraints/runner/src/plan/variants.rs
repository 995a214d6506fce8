//! Places that are made for tests which ask for more than a place has, such as larger VMs.

use std::collections::BTreeSet;

use super::needs_kvm;
use crate::CandidatePlace;
use kata_test_host::constraint::Demand;
use kata_test_host::reason::Reason;

/// Whether a place is for tests that ask for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It has that, or does not know.
    Fits,
    /// Another variant of it has that.
    ForOthers,
    /// No variant of it can have that.
    Lacks(Reason),
}

/// Adds behind each place its variants for tests with these constraints.
pub(super) fn add<'a>(
    candidates: &mut Vec<CandidatePlace>,
    tests: impl Iterator<Item = (&'a str, Demand)>,
) {
    let (mut with_kvm, mut others) = (BTreeSet::new(), BTreeSet::new());
    for (needs, demand) in tests.filter(|(_, demand)| *demand != Demand::default()) {
        match needs_kvm(needs) {
            true => with_kvm.insert(demand),
            false => others.insert(demand),
        };
    }
    let places = std::mem::take(candidates);
    for candidate in places {
        let mut variants = Vec::new();
        if let CandidatePlace::Place(place) = &candidate {
            let demands = match place.is_for_kvm() {
                true => &with_kvm,
                false => &others,
            };
            variants = place.variants(&demands.iter().collect::<Vec<_>>());
        }
        candidates.push(candidate);
        candidates.extend(variants.into_iter().map(CandidatePlace::Place));
    }
}

//! What a ledger tells that no single outcome does.

use std::collections::{BTreeMap, BTreeSet};

use super::{Ledger, LedgerPlace, PlaceOutcome, TestEntry};
use crate::{Outcome, TestId};
use kata_test_host::reason::Reason;

/// What a ledger tells that no single outcome does. Each list may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Findings {
    /// Tests that ran in no place.
    pub nowhere: Vec<UnrunTest>,
    /// Constraints that kept tests from running in every place that looked at them.
    pub shared: Vec<SharedConstraint>,
    /// Issues that skipped tests cite.
    pub cited: Vec<CitedIssue>,
    /// Places that ran nothing.
    pub unused: Vec<UnusedPlace>,
    /// Tests that pass without what they say they need, as a run with `KATA_TEST_UNSKIP` has shown.
    pub stale: Vec<StaleConstraint>,
    /// Tests that took more than one attempt.
    pub retried: Vec<RetriedTest>,
}

/// A test that ran in no place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnrunTest {
    /// Which test.
    pub test: TestId,
    /// The issue it cites.
    pub issue: Option<String>,
    /// What is missing, and the names of the places where.
    pub missing: Vec<(Reason, Vec<String>)>,
    /// Places that could run it, and left it to others: shards of unlike machines.
    pub left_by: Vec<String>,
}

/// A constraint that kept tests from running in every place that looked at them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedConstraint {
    /// The constraint.
    pub constraint: String,
    /// The tests.
    pub tests: Vec<TestId>,
}

/// An issue that skipped tests cite.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CitedIssue {
    /// The issue.
    pub issue: String,
    /// The tests with the number of places that skipped each, and whether another ran it.
    pub tests: Vec<(TestId, usize, bool)>,
}

/// A place that ran nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnusedPlace {
    /// The place.
    pub place: LedgerPlace,
    /// How many tests were skipped there.
    pub skipped: usize,
}

/// A test that passes without what it says it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StaleConstraint {
    /// Which test.
    pub test: TestId,
    /// What it does not need, with what was seen.
    pub unmet: Vec<Reason>,
    /// Where it passed.
    pub place: String,
}

/// A test that took more than one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetriedTest {
    /// Which test.
    pub test: TestId,
    /// Where.
    pub place: String,
    /// What became of each attempt.
    pub attempts: Vec<Outcome>,
}

impl UnrunTest {
    /// Whether two tests have the same cause.
    pub(crate) fn lacks_what(&self, other: &Self) -> bool {
        let what = |one: &Self| (one.missing.clone(), one.issue.clone(), one.left_by.clone());
        what(self) == what(other)
    }
}

impl Ledger {
    /// What it tells that no single outcome does.
    #[must_use]
    pub fn findings(&self) -> Findings {
        Findings {
            nowhere: self.nowhere(),
            shared: self.shared(),
            cited: self.cited(),
            unused: self.unused(),
            stale: self.each(stale),
            retried: self.each(retried),
        }
    }

    fn nowhere(&self) -> Vec<UnrunTest> {
        let nowhere = self.tests.iter().filter(|test| test.ran_nowhere());
        let tell = |test: &TestEntry| UnrunTest {
            test: test.id.clone(),
            issue: test.outcome.as_ref().and_then(|one| one.issue.clone()),
            missing: self.missing(test),
            left_by: self.names(test.listed.iter().copied()),
        };
        nowhere.map(tell).collect()
    }

    /// What a test lacks: the same in several places is said once. A runner that knew of no place has
    /// told it already.
    fn missing(&self, test: &TestEntry) -> Vec<(Reason, Vec<String>)> {
        let mut missing: Vec<(Reason, Vec<usize>)> = Vec::new();
        for (place, outcome) in test.skipped() {
            for reason in &outcome.reasons {
                match missing.iter_mut().find(|(known, _)| known == reason) {
                    Some((_, places)) => places.push(place),
                    None => missing.push((reason.clone(), vec![place])),
                }
            }
        }
        if missing.is_empty() {
            let reasons = test.outcome.iter().flat_map(|outcome| &outcome.reasons);
            return reasons.map(|reason| (reason.clone(), Vec::new())).collect();
        }
        let named = |(reason, places): (Reason, Vec<usize>)| (reason, self.names(places));
        missing.into_iter().map(named).collect()
    }

    fn shared(&self) -> Vec<SharedConstraint> {
        let mut shared: BTreeMap<&str, Vec<TestId>> = BTreeMap::new();
        for test in self.tests.iter().filter(|test| test.ran_nowhere()) {
            let needs = test.skipped().map(|(_, outcome)| {
                let needs = outcome
                    .reasons
                    .iter()
                    .filter(|reason| reason.is_constraint());
                needs
                    .map(|reason| reason.constraint.as_str())
                    .collect::<BTreeSet<_>>()
            });
            let everywhere = needs.reduce(|all, here| &all & &here).unwrap_or_default();
            for constraint in everywhere {
                shared.entry(constraint).or_default().push(test.id.clone());
            }
        }
        let shared_constraint = |(constraint, tests): (&str, Vec<TestId>)| SharedConstraint {
            constraint: constraint.to_owned(),
            tests,
        };
        let mut shared: Vec<SharedConstraint> = shared.into_iter().map(shared_constraint).collect();
        shared.sort_by_key(|shared| std::cmp::Reverse(shared.tests.len()));
        shared
    }

    fn cited(&self) -> Vec<CitedIssue> {
        let mut cited: BTreeMap<&str, Vec<(TestId, usize, bool)>> = BTreeMap::new();
        for test in &self.tests {
            let Some(issue) = test.outcome.as_ref().and_then(|one| one.issue.as_deref()) else {
                continue;
            };
            let skipped = test.skipped().count();
            if skipped > 0 || test.ran_nowhere() {
                let ran = !test.ran_nowhere();
                let cited = cited.entry(issue).or_default();
                cited.push((test.id.clone(), skipped, ran));
            }
        }
        let cited_issue = |(issue, tests): (&str, _)| CitedIssue {
            issue: issue.to_owned(),
            tests,
        };
        cited.into_iter().map(cited_issue).collect()
    }

    fn unused(&self) -> Vec<UnusedPlace> {
        let places = self.places.iter().enumerate();
        let if_unused = |(at, place): (usize, &LedgerPlace)| {
            let seen = self.tests.iter().filter_map(|test| test.seen[at].as_ref());
            let mut skipped = 0;
            for seen in seen {
                match seen.outcome.outcome {
                    Outcome::Skipped => skipped += 1,
                    Outcome::Ignored => {}
                    _ => return None,
                }
            }
            let place = place.clone();
            Some(UnusedPlace { place, skipped })
        };
        places.filter_map(if_unused).collect()
    }

    /// Collects a finding of each test in each place.
    fn each<T>(&self, find: fn(&TestId, &str, &PlaceOutcome) -> Option<T>) -> Vec<T> {
        let of_test = |test: &TestEntry| {
            let seen = self.places.iter().zip(&test.seen);
            let findings =
                seen.filter_map(|(place, seen)| find(&test.id, &place.name, seen.as_ref()?));
            findings.collect::<Vec<_>>()
        };
        self.tests.iter().flat_map(of_test).collect()
    }

    fn names(&self, places: impl IntoIterator<Item = usize>) -> Vec<String> {
        let names = places.into_iter().map(|at| self.places[at].name.clone());
        names.collect()
    }
}

fn stale(test: &TestId, place: &str, seen: &PlaceOutcome) -> Option<StaleConstraint> {
    let needs = seen
        .outcome
        .reasons
        .iter()
        .filter(|one| one.is_constraint());
    let unmet: Vec<Reason> = needs.cloned().collect();
    let is_stale = seen.outcome.outcome == Outcome::Passed && !unmet.is_empty();
    is_stale.then(|| StaleConstraint {
        test: test.clone(),
        unmet,
        place: place.to_owned(),
    })
}

fn retried(test: &TestId, place: &str, seen: &PlaceOutcome) -> Option<RetriedTest> {
    // Tests that are repeated pass again and again.
    let is_retried = seen.attempts.len() > 1 && seen.attempts.iter().any(|one| one.is_failure());
    is_retried.then(|| RetriedTest {
        test: test.clone(),
        place: place.to_owned(),
        attempts: seen.attempts.clone(),
    })
}

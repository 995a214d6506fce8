//! One plain test in a run: where it has run, and where it may still run.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::PlainTest;
use super::result::PlainResult;
use crate::ledger::NOWHERE;
use crate::{
    Artifacts, Eligibility, KernelLog, Outcome, ProcessEnd, Record, Run, RunnerError, UserKind,
};
use kata_test::__runner::{HERE, Phase};
use kata_test_host::constraint::Status;
use kata_test_host::reason::Reason;

/// A place, by its index, and the user there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Route {
    pub(super) place: usize,
    pub(super) user: UserKind,
}

/// A test whose process has ended.
#[derive(Clone)]
pub(super) struct Ended {
    /// `None` if the process could not be started.
    pub(super) end: Option<ProcessEnd>,
    pub(super) output: String,
    pub(super) result: PlainResult,
    pub(super) took: Duration,
    pub(super) uid: u32,
    pub(super) kernel_log: KernelLog,
    pub(super) artifacts: Option<Artifacts>,
}

/// A test, and the places left to try.
pub(super) struct Task<'a> {
    pub(super) test: &'a PlainTest,
    pub(super) routes: VecDeque<Route>,
    /// Where it runs if it lacks KVM on these.
    pub(super) for_lack_of_kvm: Vec<Route>,
    /// The verdicts on the constraints of its `expect-failure`.
    expectations: BTreeMap<Route, Eligibility>,
    /// The attempts by place.
    attempts: Vec<u32>,
    /// The records of its failures, if one was for lack of permission.
    failures: Vec<Record>,
    /// What it needs, and where it lacked that.
    lacks: Option<(String, String)>,
    has_run: bool,
    /// Whether it has failed in the place of the first route, and runs there again.
    is_repeated: bool,
    /// The last place that could not be used, and why.
    broken: Option<(String, String)>,
}

impl<'a> Task<'a> {
    pub(super) fn new(
        test: &'a PlainTest,
        routes: VecDeque<Route>,
        expectations: BTreeMap<Route, Eligibility>,
        places: usize,
    ) -> Self {
        Self {
            test,
            routes,
            for_lack_of_kvm: Vec::new(),
            expectations,
            attempts: vec![0; places],
            failures: Vec::new(),
            lacks: None,
            has_run: false,
            is_repeated: false,
            broken: None,
        }
    }

    /// The verdict on the constraints of its `expect-failure` on the first route.
    pub(super) fn expectation(&self) -> Option<&Eligibility> {
        self.expectations.get(self.routes.front()?)
    }

    /// Records that an attempt begins.
    pub(super) fn begin(&mut self, run: &Run, place: &str) -> Result<(), RunnerError> {
        let mut record = Record::of(run.id(), &self.test.id, place);
        record.attempt = self.next_attempt();
        run.write(&record)
    }

    /// Takes in the result of an attempt at the first route, and records it. If the test `is_repeated`, the
    /// route stays.
    pub(super) fn learn(
        &mut self,
        ended: &Ended,
        run: &Run,
        place: &str,
        is_repeated: bool,
    ) -> Result<(), RunnerError> {
        let result = &ended.result;
        self.has_run = true;
        let mut record = Record::of(run.id(), &self.test.id, place);
        record.attempt = self.next_attempt();
        let at = self.place();
        self.attempts[at] += 1;
        record.as_uid = ended.uid;
        record.outcome = result.outcome;
        record.reasons.clone_from(&result.reasons);
        record.signal.clone_from(&result.signal);
        record.suspect.clone_from(&result.suspect);
        record.kernel_messages = ended.kernel_log.messages_for(result.outcome);
        record.artifacts.clone_from(&ended.artifacts);
        record.duration_ms = ended.took.as_secs_f64() * 1e3;
        record.issue.clone_from(&result.issue);
        record.reason.clone_from(&result.reason);
        record.measures.clone_from(&result.measures);
        if result.outcome.is_failure() || result.outcome == Outcome::Unstable {
            record.output = Some(super::transcript::shortened(&ended.output));
        }
        if let (Outcome::Passed, Some((needs, lacking))) = (result.outcome, &self.lacks) {
            record.reasons.push(Reason::runtime_skip(needs, lacking));
        }
        if result.outcome == Outcome::Passed && self.is_repeated {
            let observed = "it failed at first, and passed when it ran again";
            record.reasons.push(Reason::infrastructure(observed, place));
        }
        run.write(&record)?;
        self.is_repeated = is_repeated && result.outcome.is_failure();
        if is_repeated {
            return Ok(());
        }
        self.routes.pop_front();
        match result.outcome {
            Outcome::Passed | Outcome::ExpectedFailure | Outcome::Unstable => {
                self.routes.clear();
                self.excuse(run)?;
            }
            kind if kind.is_failure() => {
                match (&result.lacks_kvm, &result.lacks) {
                    (Some(sign), _) => self.lack(format!("needs KVM: {sign}"), place),
                    (None, Some(line)) => self.lack(format!("needs privileges: {line}"), place),
                    // A failure of another kind is one, whatever lacked elsewhere.
                    (None, None) => self.routes.clear(),
                }
                self.failures.push(record);
            }
            // It may be that another place runs it, as the user that it needs.
            _ => {
                let needs = |name: &str| result.reasons.iter().any(|one| one.constraint == name);
                let is_unmet = |user| match user {
                    UserKind::Unprivileged => needs("root"),
                    UserKind::Root => needs("non_root"),
                };
                if result.outcome == Outcome::Skipped {
                    self.routes.retain(|route| !is_unmet(route.user));
                }
            }
        }
        Ok(())
    }

    fn lack(&mut self, needs: String, place: &str) {
        self.lacks.get_or_insert((needs, place.to_owned()));
    }

    /// Leaves only the routes for a test that lacks KVM.
    pub(super) fn restrict_to_kvm(&mut self) {
        self.routes = self.for_lack_of_kvm.iter().copied().collect();
    }

    /// Takes in that the place of the first route cannot be used.
    pub(super) fn learn_broken(&mut self, place: &str, why: &str) {
        self.routes.pop_front();
        self.broken = Some((place.to_owned(), why.to_owned()));
    }

    /// The test has ended as it may where it is permitted to: its failures elsewhere were those of the places.
    fn excuse(&mut self, run: &Run) -> Result<(), RunnerError> {
        for mut record in std::mem::take(&mut self.failures) {
            record.outcome = Outcome::Skipped;
            let needs = self.lacks.as_ref().map_or("", |(needs, _)| needs);
            record.reasons = vec![Reason::runtime_skip(needs, "output")];
            record.signal = None;
            run.write(&record)?;
        }
        Ok(())
    }

    /// Records what became of a test that ran in no place.
    pub(super) fn settle(&self, run: &Run) -> Result<(), RunnerError> {
        let id = &self.test.id;
        match &self.broken {
            _ if self.has_run || !self.routes.is_empty() => Ok(()),
            Some((place, why)) => {
                let reason = Reason::infrastructure(why, place);
                run.record_failure(place, id, reason, None)
            }
            None => Ok(()),
        }
    }

    /// The number of the next attempt in the place of the first route, from 1.
    pub(super) fn next_attempt(&self) -> u32 {
        self.attempts[self.place()] + 1
    }

    /// The place of the first route.
    fn place(&self) -> usize {
        self.routes.front().map_or(0, |route| route.place)
    }
}

/// Records that a test is marked `#[ignore]`.
pub(super) fn record_ignored(run: &Run, test: &PlainTest, place: &str) -> Result<(), RunnerError> {
    let mut record = Record::of(run.id(), &test.id, place);
    record.phase = Phase::List;
    record.outcome = Outcome::Ignored;
    record.reason = test.ignored.clone().filter(|reason| !reason.is_empty());
    run.write(&record)
}

/// Records that no place takes a test. If this host is the only place, its verdict is the outcome.
pub(super) fn record_nowhere(
    run: &Run,
    test: &PlainTest,
    unmet: BTreeMap<usize, Eligibility>,
    is_here_only: bool,
) -> Result<(), RunnerError> {
    let is_unmet = unmet.values().any(|one| one.status == Status::Unmet);
    let (place, outcome) = match (is_here_only && !unmet.is_empty(), is_unmet) {
        (true, true) => (HERE, Outcome::Skipped),
        (true, false) => (HERE, Outcome::Undetermined),
        (false, _) => (NOWHERE, Outcome::Nowhere),
    };
    let mut why: Vec<Reason> = unmet.into_values().flat_map(|one| one.reasons).collect();
    if why.is_empty() {
        let observed = match test.settings.user {
            Some(user) => format!("no place runs it as {user}"),
            None => "none of the places may run it".to_owned(),
        };
        why.push(Reason::infrastructure(observed, "the configuration"));
    }
    record_unrun(run, test, place, outcome, why)
}

/// Records the outcome of a test that does not run in a place.
pub(super) fn record_unrun(
    run: &Run,
    test: &PlainTest,
    place: &str,
    outcome: Outcome,
    why: Vec<Reason>,
) -> Result<(), RunnerError> {
    let mut record = Record::of(run.id(), &test.id, place);
    record.phase = Phase::List;
    record.outcome = outcome;
    record.reasons = why;
    run.write(&record)
}

#[cfg(test)]
mod tests {
    //! Scope: what a test's attempts add up to.

    use super::*;
    use crate::{TestId, TestSettings};

    const ROUTES: [Route; 3] = [
        Route {
            place: 0,
            user: UserKind::Unprivileged,
        },
        Route {
            place: 1,
            user: UserKind::Unprivileged,
        },
        Route {
            place: 1,
            user: UserKind::Root,
        },
    ];

    /// Runs a test with these results, one a route, and returns its outcome and how many routes were used.
    fn outcome_of(results: &[(Outcome, Option<&str>)]) -> (Outcome, usize) {
        let folder = tempfile::tempdir().expect("a folder");
        let run = Run::start(folder.path()).expect("a run");
        let test = PlainTest {
            id: TestId {
                binary: "p::it".into(),
                test: "t".into(),
            },
            ignored: None,
            runs: true,
            settings: TestSettings::default(),
        };
        let mut task = Task::new(&test, ROUTES.into(), BTreeMap::new(), 2);
        let mut used = 0;
        for ((outcome, lacks), place) in results.iter().zip(["here", "vm:a", "vm:a"]) {
            if task.routes.is_empty() {
                break;
            }
            used += 1;
            let mut result = PlainResult::infrastructure("made up", place);
            result.outcome = *outcome;
            result.lacks = lacks.map(str::to_owned);
            let ended = Ended {
                end: None,
                output: String::new(),
                result,
                took: Duration::ZERO,
                uid: 0,
                kernel_log: KernelLog::default(),
                artifacts: None,
            };
            task.begin(&run, place).expect("a record");
            task.learn(&ended, &run, place, false).expect("a record");
        }
        task.settle(&run).expect("a record");
        let mut outcomes = run.merge().expect("outcomes");
        (outcomes.remove(0).outcome, used)
    }

    #[test]
    fn only_a_lack_of_permission_is_excused_by_a_place_that_permits() {
        const LACKS: (Outcome, Option<&str>) = (Outcome::Failed, Some("EPERM"));
        const FAILS: (Outcome, Option<&str>) = (Outcome::Failed, None);
        const PASSES: (Outcome, Option<&str>) = (Outcome::Passed, None);
        assert_eq!(outcome_of(&[LACKS, LACKS, PASSES]), (Outcome::Passed, 3));
        assert_eq!(outcome_of(&[LACKS, LACKS, LACKS]), (Outcome::Failed, 3));
        assert_eq!(outcome_of(&[LACKS, FAILS, PASSES]), (Outcome::Failed, 2));
        assert_eq!(outcome_of(&[FAILS, PASSES]), (Outcome::Failed, 1));
        for outcome in [Outcome::ExpectedFailure, Outcome::Unstable] {
            assert_eq!(outcome_of(&[LACKS, (outcome, None)]), (outcome, 2));
        }
    }
}

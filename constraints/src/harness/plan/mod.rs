//! Decides about each test before it runs: run, skip or fail.

mod evaluations;

use std::fmt::Write;
use std::rc::Rc;

use super::caller::Caller;
use super::cli::{Format, Options, Which};
use super::print;
use super::select::Selected;
use super::user::{self, User};
use super::verdicts::recorded;
use crate::constraint::{Evaluation, Status};
use crate::contract::Contract;
use crate::facts::Host;
use crate::reason::{Reason, explain};
use crate::record::{Lines, Outcome, Phase, RecordLine, reasons_text};
use crate::registry::{Target, Test};
use crate::runner_env::{is_elsewhere, other_place};
use evaluations::Evaluations;

/// The command line and the environment of this process.
pub(super) struct Plan {
    pub(super) target: Target,
    pub(super) caller: Caller,
    pub(super) options: Options,
    pub(super) contract: Contract,
}

/// What to do with one test.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Run it, though these constraints are unmet (`KATA_TEST_UNSKIP`).
    Run(Vec<Reason>),
    /// Leave it out, since it is `#[ignore]`d for this reason.
    Ignore(&'static str),
    /// Leave it to the place of this name.
    Elsewhere(&'static str),
    /// Skip it, since constraints are unmet.
    Skip(Vec<Reason>),
    /// Fail it without running it, with this text.
    Fail {
        outcome: Outcome,
        reasons: Vec<Reason>,
        why: String,
    },
}

/// A test, the user to run it as if not as this process, and the decision.
pub(super) struct Decided {
    pub(super) test: &'static Test,
    pub(super) user: Option<User>,
    pub(super) decision: Decision,
    /// Which attempt comes next, from 1.
    pub(super) attempt: u32,
}

/// The verdict on a test's requirement, as the user that it would run as.
pub(super) struct Evaluated {
    pub(super) user: Option<User>,
    /// Shared by tests with equal requirements.
    pub(super) evaluation: Rc<Evaluation>,
}

impl Plan {
    /// Decides about tests.
    pub(super) fn decide(&self, tests: &[&'static Test], host: &dyn Host) -> Vec<Decided> {
        let evaluated = self.evaluate(tests, host);
        let binary = self.target.binary_id();
        let decide = |(test, evaluated): (&&'static Test, Option<Evaluated>)| {
            let test = *test;
            let decision = match (&evaluated, other_place(&binary, test.name())) {
                (None, _) => Decision::Ignore(test.ignore.unwrap_or_default()),
                (_, Some(place)) => Decision::Elsewhere(place),
                (Some(Evaluated { evaluation, .. }), None) => self.decide_one(test, evaluation),
            };
            let user = evaluated.and_then(|evaluated| evaluated.user);
            Decided {
                test,
                user,
                decision,
                attempt: 1,
            }
        };
        tests.iter().zip(evaluated).map(decide).collect()
    }

    fn decide_one(&self, test: &Test, evaluation: &Evaluation) -> Decision {
        let reasons = evaluation.reasons.clone();
        let explained = || explain(&reasons, test.issue, test.reason);
        let (outcome, why) = match evaluation.status {
            Status::Met => return Decision::Run(Vec::new()),
            Status::Unmet if self.contract.unskip => return Decision::Run(reasons),
            Status::Undetermined => (
                Outcome::Undetermined,
                format!("not run: its constraints are undetermined: {}", explained()),
            ),
            Status::Unmet => match self.forbids_skip(test, &reasons, false) {
                Some(why) => (Outcome::Failed, format!("not run: {}\n{why}", explained())),
                None => return Decision::Skip(reasons),
            },
        };
        Decision::Fail {
            outcome,
            reasons,
            why: why + "\n",
        }
    }

    /// Why a test that lacks this fails instead of being skipped, if it does. It may have run until
    /// it called `require!` or `skip!`.
    pub(super) fn forbids_skip(
        &self,
        test: &Test,
        reasons: &[Reason],
        ran: bool,
    ) -> Option<String> {
        if let Some(why) = self.contract.forbids(reasons) {
            return Some(why);
        }
        let why = match self.caller {
            Caller::NextestRun if ran => {
                "nextest would show this skip as a pass: it shows SKIP only for constraints of the \
                 test's attribute"
            }
            Caller::NextestRun => {
                "nextest would show this skip as a pass. Either the test was forced \
                 (--run-ignored), or it was listed in another environment than it runs in: wrappers \
                 and runners must apply to both phases"
            }
            _ if self.is_requested(test) => {
                "the test was requested by its full name, so it fails instead of being skipped"
            }
            _ => return None,
        };
        Some(why.to_owned())
    }

    /// How often a test is to run at most. nextest has retries of its own, and would show those of this
    /// process as a pass.
    pub(super) fn attempts(&self, test: &Test) -> u32 {
        match self.caller {
            Caller::NextestRun => 1,
            _ => self.options.attempts(test),
        }
    }

    /// Whether the command line names just this test. A runner that does so has other places to try.
    fn is_requested(&self, test: &Test) -> bool {
        !is_elsewhere() && self.options.filters.iter().any(|name| name == test.name())
    }

    /// Evaluates the constraints of tests; nothing for those that stay ignored. All tests that run as
    /// the same other user are evaluated in one child.
    pub(super) fn evaluate(
        &self,
        tests: &[&'static Test],
        host: &dyn Host,
    ) -> Vec<Option<Evaluated>> {
        let mut evaluated: Vec<Option<Evaluated>> = Vec::new();
        let mut evaluations = Evaluations::on(host);
        let mut as_others: Vec<(usize, User)> = Vec::new();
        for (index, test) in tests.iter().enumerate() {
            let is_ignored = test.ignore.is_some() && self.options.which == Which::NotIgnored;
            evaluated.push(match &self.contract.recorded {
                _ if is_ignored => None,
                Some(recorded) => Some(recorded::evaluate(test, recorded)),
                None => {
                    let user = if self.options.in_process {
                        Ok(None)
                    } else {
                        User::for_test(test)
                    };
                    let evaluation = match user {
                        Ok(None) => Some(evaluations.of(test.constraints)),
                        Err(problem) => Some(Rc::new(user::unknown_user(problem))),
                        // Below.
                        Ok(Some(user)) => {
                            as_others.push((index, user));
                            None
                        }
                    };
                    evaluation.map(|evaluation| Evaluated {
                        user: None,
                        evaluation,
                    })
                }
            });
        }
        while let Some((_, user)) = as_others.first().copied() {
            let (same, others): (Vec<_>, Vec<_>) =
                as_others.into_iter().partition(|(_, other)| *other == user);
            as_others = others;
            let of_them: Vec<&Test> = same.iter().map(|(index, _)| tests[*index]).collect();
            let evaluations = user::evaluate_as(user, &of_them);
            for ((index, _), evaluation) in same.into_iter().zip(evaluations) {
                evaluated[index] = Some(Evaluated {
                    user: Some(user),
                    evaluation: Rc::new(evaluation),
                });
            }
        }
        evaluated
    }

    /// Whether a person reads the list.
    pub(super) fn is_for_a_person(&self) -> bool {
        self.caller == Caller::Direct && self.options.format == Format::Pretty
    }

    /// The list, as libtest prints it. nextest is given unmet tests as ignored ones, which it shows as
    /// skipped; the reasons are in the record.
    pub(super) fn list(&self, tests: &[&'static Test], host: &dyn Host) -> String {
        let Selected { mut tests, .. } = self.select(tests);
        if self.is_for_nextest_to_skip() {
            let listed = self.listed(&tests, host);
            self.record_list(&listed);
            tests = skipped(&listed);
        }
        if self.options.format == Format::Json {
            return print::list_json(tests.iter().map(|test| (test.name(), test.ignore)));
        }
        let mut text = String::new();
        for test in &tests {
            let _ = writeln!(text, "{}: test", test.name());
        }
        if self.options.format == Format::Pretty {
            let count = tests.len();
            let plural = if count == 1 { "" } else { "s" };
            let space = if count == 0 { "" } else { "\n" };
            let _ = writeln!(text, "{space}{count} test{plural}, 0 benchmarks");
        }
        text
    }

    /// Whether nextest asks which tests it is to skip.
    fn is_for_nextest_to_skip(&self) -> bool {
        self.caller == Caller::NextestList && self.options.which == Which::OnlyIgnored
    }

    /// What is recorded of tests that are listed.
    fn listed(&self, tests: &[&'static Test], host: &dyn Host) -> Vec<Listed> {
        let listed = |(test, evaluated): (&&'static Test, Option<Evaluated>)| {
            let user = evaluated.as_ref().and_then(|evaluated| evaluated.user);
            let unmet = evaluated.map(|evaluated| evaluated.evaluation);
            let unmet = unmet.filter(|evaluation| {
                evaluation.status == Status::Unmet
                    && !self.contract.unskip
                    && self.contract.forbids(&evaluation.reasons).is_none()
            });
            Listed { test, user, unmet }
        };
        tests
            .iter()
            .zip(self.evaluate(tests, host))
            .map(listed)
            .collect()
    }

    /// Records each test, also those that are not skipped: a test that no shard runs is missed by that.
    fn record_list(&self, listed: &[Listed]) {
        let binary = self.target.binary_id();
        let mut lines = Lines::default();
        let mut texts: Vec<(*const Reason, String)> = Vec::new();
        for listed in listed {
            let (test, reasons) = (listed.test, listed.reasons());
            // Evaluations outlive this list, so an address names one list. Those of empty lists have one text.
            let known = texts.iter().position(|(of, _)| *of == reasons.as_ptr());
            let at = known.unwrap_or_else(|| {
                texts.push((reasons.as_ptr(), reasons_text(reasons)));
                texts.len() - 1
            });
            let record = RecordLine {
                phase: Phase::List,
                reasons,
                issue: test.issue,
                reason: test.reason,
                as_uid: listed.user.map(User::uid),
                ..RecordLine::new(&binary, test.name(), listed.outcome())
            };
            lines.add_with_reasons(&record, &texts[at].1);
        }
        lines.flush();
    }
}

/// A test in a list for nextest.
struct Listed {
    test: &'static Test,
    user: Option<User>,
    /// The evaluation for which it is skipped.
    unmet: Option<Rc<Evaluation>>,
}

impl Listed {
    /// What is recorded of it: that it is lost, unless it runs later or is skipped.
    fn outcome(&self) -> Outcome {
        match (&self.unmet, self.test.ignore) {
            (Some(_), _) => Outcome::Skipped,
            (None, Some(_)) => Outcome::Ignored,
            (None, None) => Outcome::Lost,
        }
    }

    fn reasons(&self) -> &[Reason] {
        self.unmet.as_ref().map_or(&[], |unmet| &unmet.reasons)
    }
}

/// The tests that nextest is to skip.
fn skipped(listed: &[Listed]) -> Vec<&'static Test> {
    let skipped = listed
        .iter()
        .filter(|listed| listed.outcome() != Outcome::Lost);
    skipped.map(|listed| listed.test).collect()
}

#[cfg(test)]
mod tests;

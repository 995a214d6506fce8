//! What to do with each test: run it, or say why not.

use std::borrow::Cow;
use std::fmt::Write;

use super::caller::Caller;
use super::cli::{Format, Options, Which};
use super::judged::Judged;
use super::print;
use super::select::{Selected, select};
use super::user::{self, User};
use super::verdicts::recorded;
use crate::constraint::{Judgement, Standing, judge};
use crate::contract::Contract;
use crate::elsewhere::{is_elsewhere, left_to};
use crate::facts::Host;
use crate::measure::Measures;
use crate::record::{self, Outcome, Phase, RecordLine};
use crate::registry::{Target, Test};
use crate::verdict::{Reason, join};

/// What this process was asked to do, and by whom.
pub(super) struct Plan {
    pub(super) target: Target,
    pub(super) caller: Caller,
    pub(super) options: Options,
    pub(super) contract: Contract,
}

/// What to do with one test.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Run,
    /// `#[ignore]`, with its reason.
    Ignored(&'static str),
    /// A runner runs it in the place of this name.
    Left(&'static str),
    /// Some constraints are unmet.
    Skip(Vec<Reason>),
    /// Some constraints are unmet, and a skip would not be honest.
    Refuse(Vec<Reason>, Refusal),
    /// Some constraints are unmet, and a skip for these is not allowed here.
    Forbid(Vec<Reason>, String),
    /// Some constraints could not be decided.
    Undetermined(Vec<Reason>),
}

/// Why a skip would not be honest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// nextest would show it as a pass.
    Nextest,
    /// Somebody asked for exactly this test.
    AskedFor,
}

/// A test, whom it runs as if not as this process, and what to do with it.
pub(super) struct Decided {
    pub(super) test: &'static Test,
    pub(super) user: Option<User>,
    pub(super) decision: Decision,
    /// What is unmet, though the test is to run.
    pub(super) unmet: Vec<Reason>,
}

impl Plan {
    /// Decides about tests that were selected. A test that is ignored anyway is not looked into.
    pub(super) fn decide(&self, tests: &[&'static Test], host: &dyn Host) -> Vec<Decided> {
        let judged = self.judge(tests, host);
        let binary = self.target.binary_id();
        let decide = |(test, judged): (&&'static Test, Judged)| {
            let left = left_to(&binary, test.name());
            let (user, decision, unmet) = match judged {
                Judged::Ignored(reason) => (None, Decision::Ignored(reason), Vec::new()),
                Judged::As(user, judgement) => match left {
                    Some(place) => (None, Decision::Left(place), Vec::new()),
                    None if judgement.standing == Standing::Unmet && self.contract.unskip => {
                        (user, Decision::Run, judgement.reasons)
                    }
                    None => (user, self.follow(test, judgement), Vec::new()),
                },
            };
            Decided {
                test,
                user,
                decision,
                unmet,
            }
        };
        tests.iter().zip(judged).map(decide).collect()
    }

    fn follow(&self, test: &Test, judgement: Judgement) -> Decision {
        let Judgement { standing, reasons } = judgement;
        match standing {
            Standing::Met => Decision::Run,
            Standing::Undetermined => Decision::Undetermined(reasons),
            Standing::Unmet => self.skip(test, reasons),
        }
    }

    /// A skip for these reasons, if it is allowed and honest.
    pub(super) fn skip(&self, test: &Test, reasons: Vec<Reason>) -> Decision {
        if let Some(why) = self.contract.forbids(&reasons) {
            Decision::Forbid(reasons, why)
        } else if self.caller == Caller::NextestRun {
            Decision::Refuse(reasons, Refusal::Nextest)
        } else if self.is_asked_for(test) {
            Decision::Refuse(reasons, Refusal::AskedFor)
        } else {
            Decision::Skip(reasons)
        }
    }

    /// Says whether a person asked for just this test. A runner that asks has other places to try.
    fn is_asked_for(&self, test: &Test) -> bool {
        !is_elsewhere() && self.options.filters.iter().any(|name| name == test.name())
    }

    /// Judges tests, those that are given another user all at once in one child.
    pub(super) fn judge(&self, tests: &[&'static Test], host: &dyn Host) -> Vec<Judged> {
        let mut judged: Vec<Option<Judged>> = Vec::new();
        let mut elsewhere: Vec<(usize, User)> = Vec::new();
        let own_users = !self.options.in_process && self.contract.recorded.is_none();
        for (index, test) in tests.iter().enumerate() {
            let user = || match own_users {
                true => User::for_test(test),
                false => Ok(None),
            };
            judged.push(match (test.ignore, &self.contract.recorded) {
                (Some(reason), _) if self.options.which == Which::NotIgnored => {
                    Some(Judged::Ignored(reason))
                }
                (_, Some(recorded)) => Some(recorded::judge(test, recorded)),
                (_, None) => match user() {
                    Ok(Some(user)) => {
                        elsewhere.push((index, user));
                        None
                    }
                    Ok(None) => Some(Judged::As(None, judge(test.constraints, host))),
                    Err(problem) => Some(Judged::As(None, user::unknown_user(&problem))),
                },
            });
        }
        while let Some((_, user)) = elsewhere.first().copied() {
            let (theirs, others): (Vec<_>, Vec<_>) =
                elsewhere.into_iter().partition(|(_, other)| *other == user);
            elsewhere = others;
            let of_them: Vec<&Test> = theirs.iter().map(|(index, _)| tests[*index]).collect();
            let judgements = user::judge_all(user, &of_them);
            for ((index, user), judgement) in theirs.into_iter().zip(judgements) {
                judged[index] = Some(Judged::As(Some(user), judgement));
            }
        }
        judged.into_iter().flatten().collect()
    }

    /// Says whether a list is read by a person, to whom more can be said than names.
    pub(super) fn is_for_a_person(&self) -> bool {
        self.caller == Caller::Direct && self.options.format == Format::Pretty
    }

    /// The tests that the command line asks for.
    pub(super) fn select(&self, tests: &[&'static Test]) -> Selected {
        select(tests, &self.options, self.caller)
    }

    /// The list, as libtest prints it. To nextest an unmet test is an ignored one, which it shows as
    /// skipped; the reasons go to the record.
    pub(super) fn list(&self, tests: &[&'static Test], host: &dyn Host) -> String {
        let Selected { mut tests, .. } = self.select(tests);
        if self.caller == Caller::NextestList && self.options.which == Which::OnlyIgnored {
            let mut listed = self.ignored_or_unmet(&tests, host).into_iter();
            tests.retain(|_| listed.next().unwrap_or_default());
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

    /// Says of each test whether nextest is to leave it out, and writes down what is known of it:
    /// also that a test is here at all, so that one which no shard runs can be missed.
    fn ignored_or_unmet(&self, tests: &[&'static Test], host: &dyn Host) -> Vec<bool> {
        let binary = self.target.binary_id();
        let ignores: Vec<_> = tests.iter().map(|test| test.ignore).collect();
        let judged = self.judge(tests, host);
        let mut lines = Vec::new();
        let mut left_out = Vec::new();
        for ((test, ignore), judged) in tests.iter().zip(ignores).zip(&judged) {
            let (user, standing, reasons) = match judged {
                Judged::As(user, judgement) => (*user, judgement.standing, &judgement.reasons[..]),
                Judged::Ignored(_) => (None, Standing::Met, &[][..]),
            };
            let is_skipped = standing == Standing::Unmet
                && !self.contract.unskip
                && self.contract.forbids(reasons).is_none();
            let outcome = match (is_skipped, ignore) {
                (true, _) => Outcome::Skipped,
                (_, Some(_)) => Outcome::Ignored,
                (_, None) => Outcome::Lost,
            };
            left_out.push(outcome != Outcome::Lost);
            let reasons = if outcome == Outcome::Skipped {
                reasons
            } else {
                &[]
            };
            lines.push(RecordLine {
                binary: &binary,
                test: test.name(),
                phase: Phase::List,
                outcome,
                reasons,
                issue: test.issue,
                reason: test.reason,
                signal: None,
                as_uid: user.map(User::uid),
                duration_ms: 0.0,
                measures: const { &Measures::new() },
            });
        }
        record::write_all(&lines);
        left_out
    }
}

impl Decision {
    /// The reasons that stand in the record.
    pub(super) fn reasons(&self) -> &[Reason] {
        match self {
            Self::Run | Self::Ignored(_) | Self::Left(_) => &[],
            Self::Skip(reasons)
            | Self::Refuse(reasons, _)
            | Self::Forbid(reasons, _)
            | Self::Undetermined(reasons) => reasons,
        }
    }

    /// What the reason field of the record says: why the test has its constraints, or is ignored.
    pub(super) fn note(&self, test: &Test) -> Option<Cow<'static, str>> {
        match self {
            Self::Ignored(reason) if !reason.is_empty() => Some(Cow::Borrowed(reason)),
            _ => test.reason.map(Cow::Borrowed),
        }
    }
}

impl Refusal {
    /// Why a test was not run and fails.
    pub(super) fn text(self, reasons: &[Reason]) -> String {
        let why = match self {
            Self::Nextest => {
                "nextest would show a skip in this phase as a pass. Either the test was forced \
                 (--run-ignored), or it was listed in another environment than it runs in: let \
                 wrappers and runners act on both."
            }
            Self::AskedFor => {
                "it was asked for by its whole name, so a skip would not be what was asked for."
            }
        };
        format!("not run: {}\n{why}\n", join(reasons))
    }

    /// Why a test that stopped half-way fails.
    pub(super) fn text_half_way(self) -> &'static str {
        match self {
            Self::Nextest => {
                "nextest would show this skip as a pass: only what stands in the test's attribute \
                 is decided in time for it to show SKIP."
            }
            Self::AskedFor => {
                "it was asked for by its whole name, so a skip would not be what was asked for."
            }
        }
    }
}

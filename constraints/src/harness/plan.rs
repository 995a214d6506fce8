//! What to do with each test: run it, or say why not.

use std::borrow::Cow;
use std::fmt::Write;

use super::caller::Caller;
use super::cli::{Format, Options, Which};
use super::select::{Selected, select};
use crate::constraint::{Standing, judge};
use crate::facts::Host;
use crate::measure::Measures;
use crate::record::{self, Ending, Phase, Record};
use crate::registry::{Target, Test};
use crate::verdict::Reason;

/// What this process was asked to do, and by whom.
pub(super) struct Plan {
    pub(super) target: Target,
    pub(super) caller: Caller,
    pub(super) options: Options,
}

/// What to do with one test.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Run,
    /// `#[ignore]`, with its reason.
    Ignored(&'static str),
    /// Some constraints are unmet.
    Skip(Vec<Reason>),
    /// Some constraints are unmet, and a skip would look like a pass to the caller.
    Refuse(Vec<Reason>),
    /// Some constraints could not be decided.
    Undetermined(Vec<Reason>),
}

impl Plan {
    /// Decides about a test that was selected. A test that is ignored anyway is not looked into.
    pub(super) fn decide(&self, test: &Test, host: &dyn Host) -> Decision {
        if let Some(reason) = test.ignore
            && self.options.which == Which::NotIgnored
        {
            return Decision::Ignored(reason);
        }
        let judgement = judge(test.constraints, host);
        match judgement.standing {
            Standing::Met => Decision::Run,
            Standing::Undetermined => Decision::Undetermined(judgement.reasons),
            Standing::Unmet if self.caller == Caller::NextestRun => {
                Decision::Refuse(judgement.reasons)
            }
            Standing::Unmet => Decision::Skip(judgement.reasons),
        }
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
            let binary = self.target.binary_id();
            tests.retain(|test| test.ignore.is_some() || self.unmet(test, host, &binary));
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

    /// Says whether a test is unmet, and writes that down.
    fn unmet(&self, test: &Test, host: &dyn Host, binary: &str) -> bool {
        let judgement = judge(test.constraints, host);
        let unmet = judgement.standing == Standing::Unmet;
        if unmet {
            record::write(&Record {
                binary,
                test: test.name(),
                phase: Phase::List,
                ending: Ending::Skipped,
                reasons: &judgement.reasons,
                issue: test.issue,
                reason: test.reason,
                signal: None,
                duration_ms: 0.0,
                measures: &Measures::new(),
            });
        }
        unmet
    }
}

impl Decision {
    /// The reasons that stand in the record.
    pub(super) fn reasons(&self) -> &[Reason] {
        match self {
            Self::Run | Self::Ignored(_) => &[],
            Self::Skip(reasons) | Self::Refuse(reasons) | Self::Undetermined(reasons) => reasons,
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

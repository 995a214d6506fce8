//! What to do with each test: run it, or say why not.

use std::borrow::Cow;
use std::fmt::Write;

use super::caller::Caller;
use super::cli::{Format, Options, Which};
use super::select::{Selected, select};
use crate::constraint::{Standing, judge};
use crate::contract::Contract;
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
    pub(super) contract: Contract,
}

/// What to do with one test.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Run,
    /// Some constraints are unmet, and unmet tests are to run too.
    RunUnmet(Vec<Reason>),
    /// `#[ignore]`, with its reason.
    Ignored(&'static str),
    /// Some constraints are unmet.
    Skip(Vec<Reason>),
    /// Some constraints are unmet, and a skip would look like a pass to the caller.
    Refuse(Vec<Reason>),
    /// Some constraints are unmet, and a skip for these is not allowed here.
    Forbid(Vec<Reason>, String),
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
            Standing::Unmet => self.unmet(judgement.reasons),
        }
    }

    fn unmet(&self, reasons: Vec<Reason>) -> Decision {
        if self.contract.unskip {
            return Decision::RunUnmet(reasons);
        }
        match self.contract.forbids(&reasons) {
            Some(why) => Decision::Forbid(reasons, why),
            None if self.caller == Caller::NextestRun => Decision::Refuse(reasons),
            None => Decision::Skip(reasons),
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
            tests.retain(|test| test.ignore.is_some() || self.is_skipped(test, host, &binary));
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

    /// Says whether a test is to be skipped, and writes that down.
    fn is_skipped(&self, test: &Test, host: &dyn Host, binary: &str) -> bool {
        let judgement = judge(test.constraints, host);
        if judgement.standing != Standing::Unmet {
            return false;
        }
        let decision = self.unmet(judgement.reasons);
        let skipped = matches!(decision, Decision::Skip(_));
        if skipped {
            record::write(&Record {
                binary,
                test: test.name(),
                phase: Phase::List,
                ending: Ending::Skipped,
                reasons: decision.reasons(),
                issue: test.issue,
                reason: test.reason,
                signal: None,
                duration_ms: 0.0,
                measures: &Measures::new(),
            });
        }
        skipped
    }
}

impl Decision {
    /// The reasons that stand in the record.
    pub(super) fn reasons(&self) -> &[Reason] {
        match self {
            Self::Run | Self::Ignored(_) => &[],
            Self::RunUnmet(reasons)
            | Self::Skip(reasons)
            | Self::Refuse(reasons)
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

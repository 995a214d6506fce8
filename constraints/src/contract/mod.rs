//! The contract (`KATA_TEST_EXPECT`) and the allowance (`KATA_TEST_MAY_SKIP`).
//!
//! A skip is honest only if a degraded host is noticed. So a host can be checked against constraints
//! that it promises, and skips can be limited to known constraints.

mod allowance;
mod recorded;
mod settings;

pub(crate) use allowance::Allowance;
pub(crate) use recorded::Recorded;
pub use settings::{EXPECT, FACTS, MAY_SKIP};
pub(crate) use settings::{UNSKIP, unskip};

use std::ffi::OsString;

use crate::constraint::{Constraint, Status, evaluate};
use crate::facts::{Here, Host};
use crate::reason::{Reason, join};

/// The settings that hold for every test of this process.
#[derive(Debug, Default)]
pub(crate) struct Contract {
    /// The constraints that this host promises, with their text.
    expect: Option<(String, Vec<Constraint>)>,
    may_skip: Option<Allowance>,
    /// Whether unmet tests are run as well.
    pub(crate) unskip: bool,
    /// The recorded host to evaluate instead of this one.
    pub(crate) recorded: Option<Recorded>,
}

impl Contract {
    /// Reads the environment of this process.
    pub(crate) fn here() -> Result<Self, String> {
        Self::read(|name| std::env::var_os(name))
    }

    fn read(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, String> {
        let text = |name| settings::text(name, variable(name));
        let expect = text(EXPECT)?.filter(|text| !text.trim().is_empty());
        let expect = expect
            .map(|text| settings::constraints(EXPECT, &text).map(|of| (text, of)))
            .transpose()?;
        let may_skip = text(MAY_SKIP)?.map(Allowance::read);
        Ok(Self {
            expect,
            may_skip: may_skip.transpose()?,
            unskip: settings::switch(UNSKIP, text(UNSKIP)?.as_deref())?,
            recorded: variable(FACTS)
                .filter(|path| !path.is_empty())
                .map(|path| Recorded::read(path.as_ref()))
                .transpose()?,
        })
    }

    /// A contract with this allowance only.
    #[cfg(test)]
    pub(crate) fn with_allowance(text: &str) -> Self {
        Self {
            may_skip: Some(Allowance::read(text.to_owned()).expect("an allowance")),
            ..Self::default()
        }
    }

    /// The host to evaluate: this one, or a recorded one.
    pub(crate) fn host(&self) -> &dyn Host {
        match &self.recorded {
            Some(recorded) => recorded,
            None => &Here,
        }
    }

    /// Returns an error if the host is a recorded one.
    pub(crate) fn may_run(&self) -> Result<(), String> {
        match self.recorded {
            None => Ok(()),
            Some(_) => Err(format!(
                "{FACTS} applies to lists (--list) only: unset it to run tests"
            )),
        }
    }

    /// Checks a host against the contract; the error lists every unmet constraint.
    pub(crate) fn check(&self, host: &dyn Host) -> Result<(), String> {
        let Some((text, expected)) = &self.expect else {
            return Ok(());
        };
        let evaluation = evaluate(expected, host);
        let what = match evaluation.status {
            Status::Met => return Ok(()),
            Status::Unmet => "does not meet",
            Status::Undetermined => "cannot be shown to meet",
        };
        Err(format!(
            "this host {what} {EXPECT} ({text}), so no test was run: {}\n\
             fix the host or relax {EXPECT}",
            join(&evaluation.reasons)
        ))
    }

    /// Why a skip for these reasons is not allowed, if it is not.
    pub(crate) fn forbids(&self, reasons: &[Reason]) -> Option<String> {
        self.may_skip.as_ref()?.forbids(reasons)
    }
}

#[cfg(test)]
mod tests;

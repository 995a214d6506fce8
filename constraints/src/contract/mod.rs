//! What the runner promises about this host, and what it allows: read from the environment.
//!
//! A skip is honest only if somebody would notice that a host has rotted. So a host can be held to
//! constraints that it promises, and skips can be confined to constraints that are known.

mod allowance;
mod json;
mod recorded;
mod settings;

pub(crate) use allowance::Allowance;
pub(crate) use recorded::Recorded;
pub use settings::{EXPECT, FACTS, MAY_SKIP};
pub(crate) use settings::{UNSKIP, unskip};

use std::ffi::OsString;

use crate::constraint::{Constraint, Standing, judge};
use crate::facts::{Here, Host};
use crate::verdict::{Reason, join};

/// What holds for every test of this process.
#[derive(Debug, Default)]
pub(crate) struct Contract {
    /// What this host promises, as it was written and as it is meant.
    expect: Option<(String, Vec<Constraint>)>,
    may_skip: Option<Allowance>,
    /// Whether unmet tests are run as well.
    pub(crate) unskip: bool,
    /// The host to judge instead of this one.
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

    /// The host that is judged: this one, or a recorded one.
    pub(crate) fn host(&self) -> &dyn Host {
        match &self.recorded {
            Some(recorded) => recorded,
            None => &Here,
        }
    }

    /// Refuses to run anything where a recorded host is judged.
    pub(crate) fn may_run(&self) -> Result<(), String> {
        match self.recorded {
            None => Ok(()),
            Some(_) => Err(format!(
                "{FACTS} is for lists (--list), and tests run on this host: unset it to run them"
            )),
        }
    }

    /// Holds a host to what it promises; the error says all that it does not keep.
    pub(crate) fn hold(&self, host: &dyn Host) -> Result<(), String> {
        let Some((text, expected)) = &self.expect else {
            return Ok(());
        };
        let judgement = judge(expected, host);
        let what = match judgement.standing {
            Standing::Met => return Ok(()),
            Standing::Unmet => "does not keep",
            Standing::Undetermined => "cannot be shown to keep",
        };
        Err(format!(
            "this host {what} what {EXPECT} promises ({text}), so no test was run: {}\n\
             mend the host, or promise less",
            join(&judgement.reasons)
        ))
    }

    /// Says why a skip for these reasons is not allowed, if it is not.
    pub(crate) fn forbids(&self, reasons: &[Reason]) -> Option<String> {
        self.may_skip.as_ref()?.forbids(reasons)
    }
}

#[cfg(test)]
mod tests;

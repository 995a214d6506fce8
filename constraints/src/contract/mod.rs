//! What the runner promises about this host, and what it allows: read from the environment.
//!
//! A skip is honest only if somebody would notice that a host has rotted. So a host can be held to
//! constraints that it promises, and skips can be confined to constraints that are known.

mod allowance;
mod settings;

pub(crate) use allowance::Allowance;
pub(crate) use settings::{EXPECT, MAY_SKIP, UNSKIP, unskip};

use std::ffi::OsString;

use crate::constraint::{Constraint, Standing, judge};
use crate::facts::Host;
use crate::verdict::{Reason, join};

/// What holds for every test of this process.
#[derive(Debug, Default)]
pub(crate) struct Contract {
    /// What this host promises, as it was written and as it is meant.
    expect: Option<(String, Vec<Constraint>)>,
    may_skip: Option<Allowance>,
    /// Whether unmet tests are run as well.
    pub(crate) unskip: bool,
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
        let may_skip = text(MAY_SKIP)?
            .map(|text| settings::constraints(MAY_SKIP, &text).map(|of| Allowance::new(text, &of)));
        Ok(Self {
            expect,
            may_skip: may_skip.transpose()?,
            unskip: settings::switch(UNSKIP, text(UNSKIP)?.as_deref())?,
        })
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

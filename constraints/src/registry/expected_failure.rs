//! `expect_failure`, as the attribute registers it.

use std::fmt;

use crate::constraint::Constraint;

/// How a test fails, and when.
#[derive(Debug)]
pub struct ExpectedFailure {
    /// The failure is expected while these are met.
    pub constraints: &'static [Constraint],
    /// The issue that explains it.
    pub issue: Option<&'static str>,
    /// What the text of the failure has to contain.
    pub message: Option<&'static str>,
    /// The end of its process by a signal or an exit counts too.
    pub crash: bool,
    /// Exceeding its timeout counts too.
    pub timeout: bool,
    /// It may also pass.
    pub sometimes: bool,
}

impl ExpectedFailure {
    /// Any failure of an assertion, error or panic, always.
    pub const ANY: Self = Self {
        constraints: &[],
        issue: None,
        message: None,
        crash: false,
        timeout: false,
        sometimes: false,
    };

    /// Whether a failure with this text is the expected one.
    pub(crate) fn is_by(&self, text: &str) -> bool {
        self.message.is_none_or(|message| text.contains(message))
    }

    /// When it is expected: `kernel < 6.5, arch = x86_64`; empty if always.
    pub(crate) fn condition(&self) -> String {
        let constraints = self.constraints.iter().map(Constraint::to_string);
        constraints.collect::<Vec<_>>().join(", ")
    }

    /// Its condition and its issue; may be empty.
    pub(crate) fn why(&self) -> String {
        let issue = self.issue.map(|issue| format!("issue {issue}"));
        let why = [self.condition()].into_iter().chain(issue);
        let why: Vec<String> = why.filter(|text| !text.is_empty()).collect();
        why.join(", ")
    }
}

/// Writes `a failure is expected (kernel < 6.5, issue owner/project#1)`.
impl fmt::Display for ExpectedFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a failure is expected")?;
        match self.why().as_str() {
            "" => Ok(()),
            why => write!(f, " ({why})"),
        }
    }
}

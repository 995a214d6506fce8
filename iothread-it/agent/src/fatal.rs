//! What the agent cannot go on from.

use std::fmt;

/// The reason for which the guest powers off.
#[derive(Debug)]
pub(crate) struct Fatal(String);

impl Fatal {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Makes an error fatal by saying what was tried.
pub(crate) trait OrFatal<T> {
    /// Turns an error into "cannot `what`: error".
    fn or_fatal(self, what: impl FnOnce() -> String) -> Result<T, Fatal>;
}

impl<T, E: fmt::Display> OrFatal<T> for Result<T, E> {
    fn or_fatal(self, what: impl FnOnce() -> String) -> Result<T, Fatal> {
        self.map_err(|error| Fatal(format!("cannot {}: {error}", what())))
    }
}

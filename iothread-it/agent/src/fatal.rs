//! Fatal errors of the agent.

use std::fmt;

/// An error that powers the guest off.
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

/// Converts errors to [`Fatal`].
pub(crate) trait OrFatal<T> {
    /// Converts an error to "cannot `what`: error".
    fn or_fatal(self, what: impl FnOnce() -> String) -> Result<T, Fatal>;
}

impl<T, E: fmt::Display> OrFatal<T> for Result<T, E> {
    fn or_fatal(self, what: impl FnOnce() -> String) -> Result<T, Fatal> {
        self.map_err(|error| Fatal(format!("cannot {}: {error}", what())))
    }
}

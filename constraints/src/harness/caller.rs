//! Who started this binary: a person or cargo, or nextest in one of its two phases.

use std::env;

/// The caller, as far as it changes what is honest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// A person, cargo, or an editor: they read what is printed.
    Direct,
    /// nextest asks which tests there are, and which of them are ignored.
    NextestList,
    /// nextest runs one test and looks at the exit code alone.
    NextestRun,
}

impl Caller {
    pub(crate) fn here(list: bool) -> Self {
        if env::var_os("NEXTEST").is_none_or(|nextest| nextest != "1") {
            return Self::Direct;
        }
        // A test that itself starts a test binary hands its environment down, so that what nextest
        // says about its own phase does not fit what this binary was asked to do: then the
        // arguments count.
        if list {
            Self::NextestList
        } else {
            Self::NextestRun
        }
    }
}

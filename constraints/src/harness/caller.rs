//! The caller of this binary: a person or cargo, or nextest in one of its two phases.

use std::env;

/// The caller, which decides how a skip can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// A person, cargo, or an editor, which show what is printed.
    Direct,
    /// nextest lists the tests.
    NextestList,
    /// nextest runs one test, of which it sees only the exit code.
    NextestRun,
}

impl Caller {
    pub(crate) fn here(list: bool) -> Self {
        if env::var_os("NEXTEST").is_none_or(|nextest| nextest != "1") {
            return Self::Direct;
        }
        // The arguments and not nextest's variable for its phase: a test that starts another test
        // binary passes that on.
        if list {
            Self::NextestList
        } else {
            Self::NextestRun
        }
    }
}

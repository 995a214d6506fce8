//! Selects the tests of the command line.

use super::caller::Caller;
use super::cli::{Options, Which};
use super::plan::Plan;
use crate::registry::{ShouldPanic, Test};

/// The selected tests, and the number of the others.
pub(super) struct Selected {
    pub(super) tests: Vec<&'static Test>,
    pub(super) filtered_out: usize,
}

impl Plan {
    /// Selects among tests.
    pub(super) fn select(&self, tests: &[&'static Test]) -> Selected {
        let Self {
            options, caller, ..
        } = self;
        let wanted =
            |test: &&&'static Test| named(test.name(), options) && of_kind(test, options, *caller);
        let chosen: Vec<_> = tests.iter().filter(wanted).copied().collect();
        Selected {
            filtered_out: tests.len() - chosen.len(),
            tests: chosen,
        }
    }
}

fn named(name: &str, options: &Options) -> bool {
    let matches = |filter: &String| {
        if options.exact {
            name == filter
        } else {
            name.contains(filter.as_str())
        }
    };
    (options.filters.is_empty() || options.filters.iter().any(matches))
        && !options.skip.iter().any(matches)
}

fn of_kind(test: &Test, options: &Options, caller: Caller) -> bool {
    if options.exclude_should_panic && test.should_panic != ShouldPanic::No {
        return false;
    }
    match options.which {
        // nextest is given unmet tests as ignored ones. They are found later: a test that is left out
        // here would be a run of no test that exits with success.
        Which::OnlyIgnored => test.ignore.is_some() || caller != Caller::Direct,
        Which::NotIgnored | Which::All => true,
    }
}

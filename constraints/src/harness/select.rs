//! Which tests the command line asks for.

use super::caller::Caller;
use super::cli::{Options, Which};
use crate::registry::{ShouldPanic, Test};

/// The tests asked for, and how many were not.
pub(super) struct Selected {
    pub(super) tests: Vec<&'static Test>,
    pub(super) filtered_out: usize,
}

pub(super) fn select(tests: &[&'static Test], options: &Options, caller: Caller) -> Selected {
    let wanted =
        |test: &&&'static Test| named(test.name(), options) && of_kind(test, options, caller);
    let chosen: Vec<_> = tests.iter().filter(wanted).copied().collect();
    Selected {
        filtered_out: tests.len() - chosen.len(),
        tests: chosen,
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
        // To nextest an unmet test is an ignored one: which tests are unmet is decided later, and
        // dropping one here would be a run of nothing that exits with success.
        Which::OnlyIgnored => test.ignore.is_some() || caller != Caller::Direct,
        Which::NotIgnored | Which::All => true,
    }
}

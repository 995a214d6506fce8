//! Skips of plain `#[test]` functions, for the macros of katatestutils, which skip by `return` and
//! `continue`.
//!
//! libtest shows such a test as passed. So the skip is printed past its capture, counted at the end of the
//! process and recorded; a runner of plain tests is given the record on standard error. Under nextest, which
//! would hide all of that, the test fails. Inside of a test of kata-test it is skipped as by `require!`.

use std::fmt;

use crate::constraint::{Constraint, Status, evaluate};
use crate::facts::Here;
use crate::libtest::{announce, announce_iteration, contract, under_nextest};
use crate::reason::{Reason, join};
use crate::record::{self, Outcome, RecordLine};
use crate::registry::Target;
use crate::runner_env;
use crate::runtime_skip;

/// Where a macro is used.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// The target.
    pub target: Target,
    /// `module_path!()`.
    pub module: &'static str,
}

/// Returns whether the running test is to return, since these constraints are unmet.
///
/// # Panics
///
/// If they are undetermined, or if a skip is not allowed or cannot be shown.
#[track_caller]
pub fn skips_test(needs: &[Constraint], site: Site) -> bool {
    if runtime_skip::is_in_a_test() {
        runtime_skip::require(needs);
        return false;
    }
    let Some(reasons) = unmet(needs, site) else {
        return false;
    };
    let test = CurrentTest::of(site);
    if !test.record(Outcome::Skipped, &reasons) {
        announce(&test.name, &reasons, None, None);
    }
    true
}

/// Returns whether the running test is to leave out this iteration of its loop, since these constraints are
/// unmet. The rest of the test goes on, but it does not count as passed.
///
/// # Panics
///
/// If they are undetermined, or if a skip is not allowed or cannot be shown.
#[track_caller]
pub fn skips_iteration(needs: &[Constraint], site: Site, iteration: fmt::Arguments<'_>) -> bool {
    if runtime_skip::is_in_a_test() {
        return runtime_skip::skip_iteration(needs, iteration);
    }
    let Some(mut reasons) = unmet(needs, site) else {
        return false;
    };
    let test = CurrentTest::of(site);
    if runner_env::prints_record_of(&test.name) {
        runtime_skip::name_iteration(&mut reasons, iteration);
        test.record(Outcome::SuspectedSkip, &reasons);
    } else {
        // Whether the other iterations pass is not known yet, so there is no record.
        announce_iteration(&test.name, iteration, &reasons);
    }
    true
}

/// The reasons of constraints that are unmet, where the test may be skipped for them.
#[track_caller]
fn unmet(needs: &[Constraint], site: Site) -> Option<Vec<Reason>> {
    let contract = contract(&site.target).unwrap_or_else(|problem| panic!("{problem}"));
    let evaluation = evaluate(needs, &Here);
    let reasons = evaluation.reasons;
    match evaluation.status {
        Status::Met => return None,
        Status::Unmet if contract.unskip => return None,
        Status::Unmet => {}
        Status::Undetermined => panic!("a constraint is undetermined: {}", join(&reasons)),
    }
    if let Some(forbidden) = contract.forbids(&reasons) {
        panic!("skipped: {}\n{forbidden}", join(&reasons));
    }
    assert!(
        !under_nextest(),
        "skipped: {}\nRust's own harness cannot show nextest a skip. State the requirement in the \
         attribute of kata-test, in a target with `harness = false`, or exclude the test.",
        join(&reasons)
    );
    Some(reasons)
}

/// The plain test that this thread runs.
struct CurrentTest {
    name: String,
    site: Site,
}

impl CurrentTest {
    /// libtest names the thread of a test by it. Threads that a test starts have other names, or none.
    fn of(site: Site) -> Self {
        let is_path = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
        let thread = std::thread::current();
        let of_thread = thread.name().map(str::to_owned);
        let of_thread = of_thread.filter(|name| *name != "main" && name.chars().all(is_path));
        let name = of_thread.or_else(runner_env::only_test);
        let name = name.unwrap_or_else(|| {
            let module = site.module.split_once("::");
            module.map_or(site.module, |(_, module)| module).to_owned()
        });
        Self { name, site }
    }

    /// Returns whether a runner gets the record.
    fn record(&self, outcome: Outcome, reasons: &[Reason]) -> bool {
        record::print_or_write(&RecordLine {
            reasons,
            ..RecordLine::new(&self.site.target.binary_id(), &self.name, outcome)
        })
    }
}

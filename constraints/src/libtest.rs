//! Tests under Rust's own harness, libtest, which cannot skip a test at run time.
//!
//! Under plain `cargo test` a skip is printed past libtest's capture, recorded, and counted in a line
//! at the end. nextest hides the output of a passing test and would show a pass, so there a skip is a
//! failure whose message has the remedy.

use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use crate::constraint::{Status, evaluate};
use crate::contract::Contract;
use crate::facts::Here;
use crate::harness::{TestEnd, UnmetCounts, run_body, serial_lock};
use crate::measure::{self, Measures};
use crate::names::Names;
use crate::reason::{Reason, explain, join};
use crate::record::opt_ins;
use crate::record::{self, Outcome, RecordLine};
use crate::registry::{self, ExpectedFailure, Target, Test};
use crate::runtime_skip;
use crate::sys::{at_exit, in_thread_within, stderr};

/// The function that the `#[test]` function made by the attribute calls.
///
/// # Panics
///
/// If the test fails.
pub fn libtest(path: &str, target: Target) {
    let test = Test::find(path).expect("the attribute registers every test that it makes");
    assert!(
        begins(test.path),
        "{} runs twice, since it is a test twice: remove the `#[test]` above the attribute of kata-test",
        test.name()
    );
    let contract = contract(&target).unwrap_or_else(|problem| panic!("{problem}"));
    let case = Case {
        test,
        target,
        contract,
    };
    let evaluation = evaluate(test.constraints, &Here);
    let reasons = evaluation.reasons;
    match evaluation.status {
        Status::Met => case.run(Vec::new()),
        Status::Undetermined => {
            case.write(Outcome::Undetermined, &reasons, 0.0, &Measures::new());
            panic!(
                "not run: its constraints are undetermined: {}",
                join(&reasons)
            );
        }
        Status::Unmet if contract.unskip => case.run(reasons),
        Status::Unmet => case.skip(&reasons, "not run", 0.0, &Measures::new()),
    }
}

/// The contract of this process; the host is checked against it once.
pub(crate) fn contract(target: &Target) -> Result<&'static Contract, &'static str> {
    static CONTRACT: OnceLock<Result<Contract, String>> = OnceLock::new();
    let contract = CONTRACT.get_or_init(|| {
        opt_ins::declare(&target.binary_id(), &registry::opt_ins());
        let contract = Contract::here()?;
        contract.may_run()?;
        contract.check(&Here)?;
        Ok(contract)
    });
    contract.as_ref().map_err(String::as_str)
}

/// A test that is about to run.
#[derive(Clone, Copy)]
struct Case {
    test: &'static Test,
    target: Target,
    contract: &'static Contract,
}

impl Case {
    /// Runs the test, although these constraints are unmet.
    fn run(self, mut unmet: Vec<Reason>) {
        let lock = self.test.serial.map(serial_lock).transpose();
        let _lock = lock.unwrap_or_else(|problem| {
            self.write(Outcome::Failed, &[], 0.0, &Measures::new());
            panic!("cannot start this test: {problem}")
        });
        self.write(Outcome::Lost, &[], 0.0, &Measures::new());
        let start = Instant::now();
        let finished = run_within(self.test);
        let millis = start.elapsed().as_secs_f64() * 1000.0;
        let expected = ExpectedFailure::of(self.test, &Here).ok().flatten();
        let expected = expected.map(|index| &self.test.expect_failure[index]);
        let Some(((end, waived), measures)) = finished else {
            if let Some(expected) = expected.filter(|expected| expected.timeout) {
                return self.fail_as_expected(Some(expected), millis, &Measures::new());
            }
            self.write(Outcome::TimedOut, &unmet, millis, &Measures::new());
            panic!(
                "timed out after {:?}",
                self.test.time_limit().unwrap_or_default()
            );
        };
        unmet.extend(waived);
        if !unmet.is_empty() && end != TestEnd::UnexpectedPass {
            return self.end_unmet(&end, &unmet, millis, &measures);
        }
        match end {
            TestEnd::Passed => self.write(Outcome::Passed, &[], millis, &measures),
            TestEnd::ExpectedFailure => self.fail_as_expected(expected, millis, &measures),
            TestEnd::UnexpectedPass => {
                self.write(Outcome::UnexpectedPass, &[], millis, &measures);
                let why = expected.map_or(String::new(), ToString::to_string);
                panic!(
                    "the test passed, but {why}: remove its `expect_failure`, or state when the test \
                     still fails"
                );
            }
            TestEnd::Skipped(skip) if skip.status == Status::Undetermined => {
                let reasons = skip.reasons;
                self.write(Outcome::Undetermined, &reasons, millis, &measures);
                panic!("a constraint is undetermined: {}", join(&reasons));
            }
            TestEnd::Skipped(skip) => {
                self.skip(&skip.reasons, "skipped at run time", millis, &measures);
            }
            TestEnd::Failed(Some(why)) => {
                self.write(Outcome::Failed, &[], millis, &measures);
                panic!("{why}");
            }
            _ => {
                self.write(Outcome::Failed, &[], millis, &measures);
                // The panic hook has printed the panic of the test.
                std::panic::resume_unwind(Box::new("the test panicked"));
            }
        }
    }

    /// Ends a test that failed as it is expected to. libtest prints it as "ok", as it does for a test that
    /// should panic.
    fn fail_as_expected(
        self,
        expected: Option<&ExpectedFailure>,
        millis: f64,
        measures: &Measures,
    ) {
        let condition = expected.map(ExpectedFailure::condition);
        let condition = condition.filter(|condition| !condition.is_empty());
        let issue = expected.and_then(|expected| expected.issue);
        let (binary, name) = (self.target.binary_id(), self.test.name());
        record::print_or_write(&RecordLine {
            issue: issue.or(self.test.issue),
            reason: condition.as_deref().or(self.test.reason),
            duration_ms: millis,
            measures,
            ..RecordLine::new(&binary, name, Outcome::ExpectedFailure)
        });
        let why = expected.map(ExpectedFailure::why).unwrap_or_default();
        let colon = if why.is_empty() { "" } else { ": " };
        stderr(&format!(
            "test {name} FAILED as expected (libtest prints it as \"ok\"){colon}{why}\n"
        ));
    }

    /// Ends a test that ran although it is unmet.
    fn end_unmet(self, end: &TestEnd, unmet: &[Reason], millis: f64, measures: &Measures) {
        match end {
            TestEnd::Passed => {
                self.write(Outcome::Passed, unmet, millis, measures);
                let (name, unmet) = (self.test.name(), join(unmet));
                stderr(&format!(
                    "test {name} passed with a stale constraint: {unmet}\n"
                ));
                return;
            }
            TestEnd::Failed(Some(why)) => stderr(&format!("note: {why}\n")),
            _ => {}
        }
        self.skip(unmet, "ran anyway and failed", millis, measures);
    }

    /// Skips the test as far as this harness can: with a line on the terminal, or, where that would be
    /// hidden or is not allowed, with a failure.
    fn skip(self, reasons: &[Reason], what: &str, millis: f64, measures: &Measures) {
        let forbidden = self.contract.forbids(reasons);
        if let Some(forbidden) = forbidden.filter(|_| !self.contract.unskip) {
            self.write(Outcome::Failed, reasons, millis, measures);
            panic!("{what}: {}\n{forbidden}", join(reasons));
        }
        if under_nextest() {
            self.write(Outcome::Failed, reasons, millis, measures);
            panic!(
                "{what}: {}\nRust's own harness cannot show nextest a skip. Set `harness = false` \
                 for this target in Cargo.toml and write `kata_test::main!();` at its root.",
                join(reasons)
            );
        }
        self.write(Outcome::Skipped, reasons, millis, measures);
        announce(self.test.name(), reasons, self.test.issue, self.test.reason);
    }

    fn write(self, outcome: Outcome, reasons: &[Reason], duration_ms: f64, measures: &Measures) {
        record::print_or_write(&RecordLine {
            reasons,
            issue: self.test.issue,
            reason: self.test.reason,
            duration_ms,
            measures,
            ..RecordLine::new(&self.target.binary_id(), self.test.name(), outcome)
        });
    }
}

/// Whether a test begins for the first time in this process. The attribute cannot see a `#[test]` above
/// it, which the compiler has already expanded.
fn begins(path: &'static str) -> bool {
    static BEGUN: Mutex<Names<'static>> = Mutex::new(Names::new());
    let mut begun = BEGUN.lock().unwrap_or_else(PoisonError::into_inner);
    begun.insert(path)
}

pub(crate) fn under_nextest() -> bool {
    std::env::var_os("NEXTEST").is_some_and(|nextest| nextest == "1")
}

/// How the test ended, its waived constraints, and its measures.
type Finished = ((TestEnd, Vec<Reason>), Measures);

/// Runs the body; `None` if it timed out. Its thread then goes on, since threads cannot be killed.
fn run_within(test: &'static Test) -> Option<Finished> {
    let work = move || measure::collect(|| (run_body(test, |_| ()), runtime_skip::take_waived()));
    let Some(timeout) = test.time_limit() else {
        return Some(work());
    };
    in_thread_within(test.name(), timeout, work).expect("a thread for a test with a timeout")
}

/// What libtest has reported as "ok" although it was skipped.
struct Skipped {
    tests: usize,
    iterations: usize,
    unmet: UnmetCounts,
}

static SKIPPED: Mutex<Skipped> = Mutex::new(Skipped {
    tests: 0,
    iterations: 0,
    unmet: UnmetCounts::new(),
});

/// Prints that a test is skipped, and at the end of the process how many were.
pub(crate) fn announce(test: &str, reasons: &[Reason], issue: Option<&str>, reason: Option<&str>) {
    count(|skipped| {
        skipped.tests += 1;
        skipped.unmet.count(reasons);
    });
    let why = explain(reasons, issue, reason);
    stderr(&format!(
        "test {test} was SKIPPED (libtest prints it as \"ok\"): {why}\n"
    ));
}

/// Prints that an iteration of a test's loop is skipped, and at the end of the process how many were.
pub(crate) fn announce_iteration(test: &str, iteration: fmt::Arguments<'_>, reasons: &[Reason]) {
    count(|skipped| skipped.iterations += 1);
    let why = join(reasons);
    stderr(&format!(
        "iteration {iteration} of test {test} was SKIPPED: {why}\n"
    ));
}

fn count(add: impl FnOnce(&mut Skipped)) {
    let mut skipped = SKIPPED.lock().unwrap_or_else(PoisonError::into_inner);
    if skipped.tests + skipped.iterations == 0 {
        at_exit(announce_all);
    }
    add(&mut skipped);
}

extern "C" fn announce_all() {
    // It is locked only if the process ended while a thread had it.
    let Ok(skipped) = SKIPPED.try_lock() else {
        return;
    };
    if skipped.tests > 0 {
        let what = plural(
            skipped.tests,
            "test reported as \"ok\"",
            "tests reported as \"ok\"",
        );
        let unmet = skipped.unmet.line();
        let unmet = unmet.map(|unmet| format!("; unmet requirements: {unmet}"));
        let unmet = unmet.unwrap_or_default();
        stderr(&format!("{what} skipped{unmet}\n"));
    }
    if skipped.iterations > 0 {
        let what = plural(skipped.iterations, "iteration", "iterations");
        stderr(&format!(
            "{what} skipped, of tests that libtest prints as \"ok\" nevertheless\n"
        ));
    }
}

fn plural(count: usize, one: &str, many: &str) -> String {
    match count {
        1 => format!("1 {one} was"),
        _ => format!("{count} {many} were"),
    }
}

//! The same tests under Rust's own harness, which knows no skip at run time.
//!
//! Under plain `cargo test` a skip is printed past libtest's capture, recorded, and counted in one
//! line at the end. Under nextest, which hides what a passing test prints and would show a pass, it
//! is a failure that says what to set.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use crate::constraint::{Standing, judge};
use crate::contract::Contract;
use crate::facts::Here;
use crate::halt;
use crate::harness::{Ended, Missing, run_body, serial_lock};
use crate::measure::{self, Measures};
use crate::names::Names;
use crate::record::opt_ins;
use crate::record::{self, Outcome, Phase, RecordLine};
use crate::registry::{self, Target, Test};
use crate::sys::{at_exit, in_thread_within, stderr};
use crate::verdict::{Reason, explain, join};

/// What the `#[test]` shim of the attribute calls.
///
/// # Panics
///
/// If the test fails: that is how libtest is told.
pub fn libtest(path: &str, target: Target) {
    let test = Test::find(path).expect("the attribute registers every test that it makes");
    assert!(
        begins(test.path),
        "{} is run twice, since it is made a test twice: remove the `#[test]` above our attribute",
        test.name()
    );
    let contract = contract(&target).unwrap_or_else(|problem| panic!("{problem}"));
    let case = Case {
        test,
        target,
        contract,
    };
    let judgement = judge(test.constraints, &Here);
    let reasons = &judgement.reasons;
    match judgement.standing {
        Standing::Met => case.run(Vec::new()),
        Standing::Undetermined => {
            case.write(Outcome::Undetermined, reasons, 0.0, &Measures::new());
            panic!("not run, since it is undetermined: {}", join(reasons));
        }
        Standing::Unmet if contract.unskip => case.run(judgement.reasons),
        Standing::Unmet => case.skip(reasons, "not run", 0.0, &Measures::new()),
    }
}

/// The contract of this process, to which its host is held once.
fn contract(target: &Target) -> Result<&'static Contract, &'static str> {
    static CONTRACT: OnceLock<Result<Contract, String>> = OnceLock::new();
    let contract = CONTRACT.get_or_init(|| {
        opt_ins::declare(&target.binary_id(), &registry::opt_ins());
        let contract = Contract::here()?;
        contract.may_run()?;
        contract.hold(&Here)?;
        Ok(contract)
    });
    contract.as_ref().map_err(String::as_str)
}

/// A test about to run here.
#[derive(Clone, Copy)]
struct Case {
    test: &'static Test,
    target: Target,
    contract: &'static Contract,
}

impl Case {
    /// Runs the test, though these reasons speak against it.
    fn run(self, mut unmet: Vec<Reason>) {
        let lock = self.test.serial.map(serial_lock).transpose();
        let _lock = lock.unwrap_or_else(|problem| {
            self.write(Outcome::Failed, &[], 0.0, &Measures::new());
            panic!("not run: {problem}")
        });
        self.write(Outcome::Lost, &[], 0.0, &Measures::new());
        let start = Instant::now();
        let finished = run_within(self.test);
        let millis = start.elapsed().as_secs_f64() * 1000.0;
        let Some(((ended, waived), measures)) = finished else {
            self.write(Outcome::TimedOut, &unmet, millis, &Measures::new());
            panic!(
                "timed out after {:?}",
                self.test.time_limit().unwrap_or_default()
            );
        };
        unmet.extend(waived);
        if !unmet.is_empty() {
            return self.end_unmet(&ended, &unmet, millis, &measures);
        }
        match &ended {
            Ended::Halted(halt) if !halt.undetermined => {
                return self.skip(&halt.reasons, "stopped half-way", millis, &measures);
            }
            _ => {}
        }
        let (outcome, reasons) = match &ended {
            Ended::Passed => (Outcome::Passed, &[][..]),
            Ended::Failed(_) | Ended::Panicked(_) => (Outcome::Failed, &[][..]),
            Ended::Halted(halt) => (Outcome::Undetermined, &halt.reasons[..]),
        };
        self.write(outcome, reasons, millis, &measures);
        match ended {
            Ended::Passed => {}
            Ended::Failed(why) => panic!("{why}"),
            // The panic hook has printed this one already.
            Ended::Panicked(payload) => std::panic::resume_unwind(payload),
            Ended::Halted(_) => panic!("stopped, since it is undetermined: {}", join(reasons)),
        }
    }

    /// Ends a test that was run though it is unmet.
    fn end_unmet(self, ended: &Ended, unmet: &[Reason], millis: f64, measures: &Measures) {
        if matches!(ended, Ended::Passed) {
            self.write(Outcome::Passed, unmet, millis, measures);
            stderr(&format!(
                "test {} passed with a stale constraint: {}\n",
                self.test.name(),
                join(unmet)
            ));
            return;
        }
        if let Ended::Failed(why) = ended {
            stderr(&format!("note: {why}\n"));
        }
        self.skip(unmet, "run all the same, it did not pass", millis, measures);
    }

    /// Skips the test as well as this harness can: by an announcement, or, where that would be
    /// hidden or is not allowed, by a failure.
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
        announce(self.test, reasons);
    }

    fn write(self, outcome: Outcome, reasons: &[Reason], duration_ms: f64, measures: &Measures) {
        record::write(&RecordLine {
            binary: &self.target.binary_id(),
            test: self.test.name(),
            phase: Phase::Run,
            outcome,
            reasons,
            issue: self.test.issue,
            reason: self.test.reason,
            signal: None,
            as_uid: None,
            duration_ms,
            measures,
        });
    }
}

/// Says whether this is the first time that a test begins in this process. The compiler has already
/// taken a `#[test]` above the attribute, which therefore cannot see it.
fn begins(path: &'static str) -> bool {
    static BEGUN: Mutex<Names<'static>> = Mutex::new(Names::new());
    let mut begun = BEGUN.lock().unwrap_or_else(PoisonError::into_inner);
    begun.insert(path)
}

fn under_nextest() -> bool {
    std::env::var_os("NEXTEST").is_some_and(|nextest| nextest == "1")
}

/// How a body ended, what was waived meanwhile, and what it measured.
type Finished = ((Ended, Vec<Reason>), Measures);

/// Runs the body; nothing if its time was up. A thread cannot be killed, so that one then goes on.
fn run_within(test: &'static Test) -> Option<Finished> {
    let work = move || measure::collect(|| (run_body(test), halt::take_waived()));
    let Some(timeout) = test.time_limit() else {
        return Some(work());
    };
    in_thread_within(test.name(), timeout, work).expect("a thread for a test with a timeout")
}

static MISSING: Mutex<(usize, Missing)> = Mutex::new((0, Missing::new()));

/// Says now that a test is skipped, and at the end of the process how many were.
fn announce(test: &Test, reasons: &[Reason]) {
    let mut missing = MISSING.lock().unwrap_or_else(PoisonError::into_inner);
    if missing.0 == 0 {
        at_exit(announce_all);
    }
    missing.0 += 1;
    missing.1.count(reasons);
    stderr(&format!(
        "test {} is SKIPPED, whatever the line above or below says: {}\n",
        test.name(),
        explain(reasons, test.issue, test.reason)
    ));
}

extern "C" fn announce_all() {
    // The lock is free unless a thread was cut off while it held it; then the lines above it stand.
    let Ok(counted) = MISSING.try_lock() else {
        return;
    };
    let (tests, needs) = &*counted;
    let what = if *tests == 1 {
        "test shown as ok was"
    } else {
        "tests shown as ok were"
    };
    let needs = needs
        .line()
        .map(|needs| format!("; needed and missing: {needs}"));
    stderr(&format!(
        "{tests} {what} skipped{}\n",
        needs.unwrap_or_default()
    ));
}

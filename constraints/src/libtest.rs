//! The same tests under Rust's own harness, which knows no skip at run time.
//!
//! Under plain `cargo test` a skip is printed past libtest's capture, recorded, and counted in one
//! line at the end. Under nextest, which hides what a passing test prints and would show a pass, it
//! is a failure that says what to set.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Instant;

use crate::constraint::{Standing, judge};
use crate::facts::Here;
use crate::harness::{Ended, count, missing, run_body, serial_lock};
use crate::measure::{self, Measures};
use crate::record::{self, Ending, Phase, Record};
use crate::registry::{Target, Test};
use crate::sys::{at_exit, stderr};
use crate::verdict::{Reason, join};

/// What the `#[test]` shim of the attribute calls.
///
/// # Panics
///
/// If the test fails: that is how libtest is told.
pub fn libtest(path: &str, target: Target) {
    let test = Test::find(path).expect("the attribute registers every test that it makes");
    assert!(
        begins(path),
        "{} is run twice, since it is made a test twice: remove the `#[test]` above our attribute",
        test.name()
    );
    let judgement = judge(test.constraints, &Here);
    match judgement.standing {
        Standing::Met => run(test, target),
        Standing::Undetermined => {
            write(
                test,
                target,
                Ending::Undetermined,
                &judgement.reasons,
                0.0,
                &Measures::new(),
            );
            panic!(
                "not run, since it is undetermined: {}",
                join(&judgement.reasons)
            );
        }
        Standing::Unmet => skip(
            test,
            target,
            &judgement.reasons,
            "not run",
            0.0,
            &Measures::new(),
        ),
    }
}

/// Skips a test as well as this harness can: by an announcement, or, where that would be hidden, by
/// a failure.
fn skip(
    test: &Test,
    target: Target,
    reasons: &[Reason],
    what: &str,
    millis: f64,
    measures: &Measures,
) {
    if under_nextest() {
        write(test, target, Ending::Failed, reasons, millis, measures);
        panic!(
            "{what}: {}\nRust's own harness cannot show nextest a skip. Set `harness = false` for \
             this target in Cargo.toml and write `kata_test::main!();` at its root.",
            join(reasons)
        );
    }
    write(test, target, Ending::Skipped, reasons, millis, measures);
    announce(test, reasons);
}

/// Says whether this is the first time that a test begins in this process. The compiler has already
/// taken a `#[test]` above the attribute, which therefore cannot see it.
fn begins(path: &str) -> bool {
    static BEGUN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut begun = BEGUN.lock().unwrap_or_else(PoisonError::into_inner);
    begun.insert(path.to_owned())
}

fn under_nextest() -> bool {
    std::env::var_os("NEXTEST").is_some_and(|nextest| nextest == "1")
}

fn run(test: &'static Test, target: Target) {
    let lock = test.serial.map(serial_lock).transpose();
    let _lock = match lock {
        Ok(lock) => lock,
        Err(problem) => {
            write(test, target, Ending::Failed, &[], 0.0, &Measures::new());
            panic!("not run: {problem}");
        }
    };
    write(test, target, Ending::Lost, &[], 0.0, &Measures::new());
    let start = Instant::now();
    let finished = run_within(test);
    let millis = start.elapsed().as_secs_f64() * 1000.0;
    let Some((ended, measures)) = finished else {
        write(
            test,
            target,
            Ending::TimedOut,
            &[],
            millis,
            &Measures::new(),
        );
        panic!("timed out after {:?}", test.timeout.unwrap_or_default());
    };
    if let Ended::Halted(halt) = ended {
        if !halt.undetermined {
            return skip(
                test,
                target,
                &halt.reasons,
                "stopped half-way",
                millis,
                &measures,
            );
        }
        let reasons = &halt.reasons;
        write(
            test,
            target,
            Ending::Undetermined,
            reasons,
            millis,
            &measures,
        );
        panic!("stopped, since it is undetermined: {}", join(reasons));
    }
    let ending = if matches!(ended, Ended::Passed) {
        Ending::Passed
    } else {
        Ending::Failed
    };
    write(test, target, ending, &[], millis, &measures);
    match ended {
        Ended::Passed => {}
        Ended::Failed(why) => panic!("{why}"),
        // The panic hook has printed this one already.
        Ended::Panicked(payload) => std::panic::resume_unwind(payload),
        Ended::Halted(_) => unreachable!("it has returned above"),
    }
}

/// Runs the body; nothing if its time was up. A thread cannot be killed, so that one then goes on.
fn run_within(test: &'static Test) -> Option<(Ended, Measures)> {
    let work = move || measure::collect(|| run_body(test));
    let Some(timeout) = test.timeout else {
        return Some(work());
    };
    let (sender, receiver) = mpsc::channel();
    let send = move || drop(sender.send(work()));
    let thread = thread::Builder::new().name(test.name().to_owned());
    thread
        .spawn(send)
        .expect("a thread for a test with a timeout");
    receiver.recv_timeout(timeout).ok()
}

static MISSING: Mutex<(usize, BTreeMap<String, usize>)> = Mutex::new((0, BTreeMap::new()));

/// Says now that a test is skipped, and at the end of the process how many were.
fn announce(test: &Test, reasons: &[Reason]) {
    let mut missing = MISSING.lock().unwrap_or_else(PoisonError::into_inner);
    if missing.0 == 0 {
        at_exit(announce_all);
    }
    missing.0 += 1;
    count(&mut missing.1, reasons);
    stderr(&format!(
        "test {} is SKIPPED, whatever the line above or below says: {}\n",
        test.name(),
        join(reasons)
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
    let needs = missing(needs).map(|needs| format!("; needed and missing: {needs}"));
    stderr(&format!(
        "{tests} {what} skipped{}\n",
        needs.unwrap_or_default()
    ));
}

fn write(
    test: &Test,
    target: Target,
    ending: Ending,
    reasons: &[Reason],
    duration_ms: f64,
    measures: &Measures,
) {
    record::write(&Record {
        binary: &target.binary_id(),
        test: test.name(),
        phase: Phase::Run,
        ending,
        reasons,
        issue: test.issue,
        reason: test.reason,
        signal: None,
        as_uid: None,
        duration_ms,
        measures,
    });
}

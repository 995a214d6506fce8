//! Scope: plain tests in several instances of a made-up place at the same time. `tests/places/` of
//! cargo-kata-test has VMs.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::{
    Binary, CandidatePlace, Job, Place, PlaceError, PlainOptions, PlainRun, PlainTest, ProcessEnd,
    Record, Reporter, Run, Session, SessionCommand, StopToken, TestId, TestSettings, UserKind, Vms,
    run_plain,
};

/// How long tests wait for each other, if they do not run at the same time.
const AMPLE: Duration = Duration::from_secs(60);

/// What all instances have seen.
#[derive(Default)]
struct Log {
    sessions: usize,
    /// The sessions of each test's attempts, and how many tests had run in that session before.
    attempts: BTreeMap<String, Vec<(usize, usize)>>,
    running: usize,
    /// The most that ran at the same time as each test.
    most: BTreeMap<String, usize>,
    /// The tests whose guests were saved, each with its session.
    saved: Vec<(String, usize)>,
    /// Tests that wait for another.
    met: usize,
    /// Sessions that are opened, or were.
    opening: usize,
}

#[derive(Default)]
struct Shared(Mutex<Log>, Condvar);

/// An instance of a place. Only the first comes up, unless all do.
pub(crate) struct Instance {
    shared: Arc<Shared>,
    all_come_up: bool,
    has_started: bool,
    is_first: bool,
}

impl Instance {
    pub(crate) fn first(all_come_up: bool, has_started: bool) -> Self {
        Self {
            shared: Arc::default(),
            all_come_up,
            has_started,
            is_first: true,
        }
    }
}

impl Place for Instance {
    fn name(&self) -> &str {
        "vm:a"
    }

    fn about(&self) -> String {
        "made up".to_owned()
    }

    fn cost(&self) -> Duration {
        Duration::ZERO
    }

    fn key(&self) -> Option<String> {
        None
    }

    fn list(&mut self, _: &Binary, _: &[String], _: StopToken<'_>) -> Result<String, PlaceError> {
        panic!("the tests are made up too")
    }

    fn run(&mut self, _: &Job<'_>, _: &mut dyn FnMut(&[u8])) -> Result<(), PlaceError> {
        assert!(self.is_first, "a bug of another instance");
        Ok(())
    }

    fn another(&self) -> Option<Box<dyn Place>> {
        Some(Box::new(Self {
            shared: Arc::clone(&self.shared),
            is_first: false,
            all_come_up: self.all_come_up,
            has_started: self.has_started,
        }))
    }

    fn has_started(&self) -> bool {
        self.has_started
    }

    fn open<'a>(
        &'a mut self,
        _: &'a Binary,
        _: UserKind,
        _: StopToken<'a>,
    ) -> Result<Box<dyn Session + 'a>, PlaceError> {
        if !self.is_first && !self.all_come_up {
            return Err("too little memory".into());
        }
        let Shared(log, changed) = &*self.shared;
        let mut log = log.lock().unwrap();
        log.opening += 1;
        changed.notify_all();
        if self.has_started {
            let (waited, timeout) = changed
                .wait_timeout_while(log, AMPLE, |log| log.opening < 2)
                .unwrap();
            if timeout.timed_out() {
                return Err("one session is opened after the other".into());
            }
            log = waited;
        }
        log.sessions += 1;
        Ok(Box::new(MadeUpSession {
            number: log.sessions,
            shared: Arc::clone(&self.shared),
            ran: 0,
            is_clean: true,
        }))
    }
}

struct MadeUpSession {
    number: usize,
    shared: Arc<Shared>,
    ran: usize,
    is_clean: bool,
}

impl Session for MadeUpSession {
    /// Tests named `meets` wait for each other, `flaky` ones fail at first, and `dirty` ones leave something
    /// behind.
    fn run(
        &mut self,
        command: &SessionCommand<'_>,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<ProcessEnd, PlaceError> {
        let test = command.arguments[1].to_str().expect("a name").to_owned();
        assert!(self.is_clean, "{test} runs where something was left");
        let Shared(log, changed) = &*self.shared;
        let mut log = log.lock().unwrap();
        log.running += 1;
        let running = log.running;
        let most = log.most.entry(test.clone()).or_default();
        *most = running.max(*most);
        let attempts = log.attempts.entry(test.clone()).or_default();
        attempts.push((self.number, self.ran));
        let is_first = attempts.len() == 1;
        self.ran += 1;
        if test.starts_with("meets") {
            log.met += 1;
            changed.notify_all();
            let (waited, timeout) = changed
                .wait_timeout_while(log, AMPLE, |log| log.met < 2)
                .unwrap();
            assert!(!timeout.timed_out(), "{test} runs alone");
            log = waited;
        }
        log.running -= 1;
        self.is_clean = !test.starts_with("dirty");
        if test.starts_with("fails") || test.starts_with("flaky") && is_first {
            return Ok(ProcessEnd::Exited(101));
        }
        output(b"test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured\n");
        Ok(ProcessEnd::Exited(0))
    }

    fn save(&mut self, run: &Run, test: &TestId) -> Option<String> {
        assert!(run.claim_saved_guest());
        self.is_clean = false;
        let saved = (test.test.clone(), self.number);
        self.shared.0.lock().unwrap().saved.push(saved);
        Some(format!("saved {}", test.test))
    }

    fn is_clean(&mut self) -> bool {
        self.is_clean
    }

    fn uid(&self) -> u32 {
        0
    }
}

/// Runs tests in two instances. Returns the outcomes, what the instances have seen, and the progress.
fn run(tests: &[&str], all_come_up: bool) -> (BTreeMap<String, String>, Log, String) {
    run_in(tests, all_come_up, false)
}

fn run_in(
    tests: &[&str],
    all_come_up: bool,
    has_started: bool,
) -> (BTreeMap<String, String>, Log, String) {
    let root = tempfile::tempdir().expect("a folder");
    let mut run = Run::start(root.path()).expect("a run");
    run.save_guests(1);
    let test = |name: &&str| PlainTest {
        id: TestId {
            binary: "p::it".to_owned(),
            test: (*name).to_owned(),
        },
        ignored: None,
        runs: true,
        settings: TestSettings {
            alone: name.starts_with("alone"),
            ..TestSettings::default()
        },
    };
    let tests: Vec<PlainTest> = tests.iter().map(test).collect();
    let options = PlainOptions {
        vms: Vms::new(NonZeroUsize::new(2)),
        ..PlainOptions::default()
    };
    let binary = Binary {
        id: "p::it".to_owned(),
        ..Binary::default()
    };
    let plain = PlainRun {
        binaries: &[binary],
        tests: &tests,
        run: &run,
        options: &options,
        program: None,
    };
    let first = Instance::first(all_come_up, has_started);
    let shared = Arc::clone(&first.shared);
    let place = CandidatePlace::Place(Box::new(first));
    let mut told = String::new();
    let mut reporter = Reporter {
        progress: &mut |text| told += &format!("{text}\n"),
        output: &mut |_| {},
        stop: StopToken::NEVER,
    };
    run_plain(&plain, &mut [place], &mut reporter).expect("records");
    let outcomes = run.merge().expect("outcomes").into_iter();
    let text = |one: Record| (one.test, one.outcome.to_string());
    let log = std::mem::take(&mut *shared.0.lock().unwrap());
    (outcomes.map(text).collect(), log, told)
}

#[test]
fn tests_run_at_the_same_time_but_for_those_that_must_not() {
    let tests = ["meets a", "meets b", "x", "y", "alone a", "alone b"];
    let (outcomes, log, _) = run(&tests, true);
    assert_eq!(outcomes.len(), tests.len());
    assert!(
        outcomes.values().all(|outcome| outcome == "passed"),
        "{outcomes:?}"
    );
    assert_eq!((log.most["alone a"], log.most["alone b"]), (1, 1));
}

#[test]
fn instances_of_a_place_that_came_up_before_start_at_the_same_time() {
    let (outcomes, log, _) = run_in(&["a", "b"], true, true);
    assert_eq!((outcomes.len(), log.sessions), (2, 2));
}

#[test]
fn a_failed_test_runs_again_in_a_fresh_session_and_once() {
    let tests = [
        "a", "b", "flaky c", "fails d", "e", "dirty f", "g", "dirty h", "i",
    ];
    let (outcomes, log, told) = run(&tests, true);
    let last = log.attempts["fails d"][1].0;
    assert_eq!(log.saved, [("fails d".to_owned(), last)]);
    assert!(told.contains("saved fails d\n"), "{told}");
    for (test, outcome) in &outcomes {
        let expected = match test.as_str() {
            "fails d" => "failed",
            "flaky c" => "flaky",
            _ => "passed",
        };
        let attempts = &log.attempts[test];
        assert_eq!(outcome, expected, "{test}");
        let is_repeated = test.starts_with("flaky") || test.starts_with("fails");
        assert_eq!(attempts.len(), if is_repeated { 2 } else { 1 }, "{test}");
        if is_repeated {
            assert_ne!(attempts[0].0, attempts[1].0, "{test}: another session");
            assert_eq!(attempts[1].1, 0, "{test}: nothing has run in it");
        }
    }
    assert_eq!(outcomes.len(), tests.len());
}

#[test]
fn the_first_instance_runs_what_others_cannot() {
    let tests = ["a", "flaky b", "c", "dirty d", "e"];
    let (outcomes, _, told) = run(&tests, false);
    assert_eq!(outcomes.len(), tests.len());
    for (test, outcome) in &outcomes {
        let expected = match test.as_str() {
            "flaky b" => "flaky",
            _ => "passed",
        };
        assert_eq!(outcome, expected, "{test}");
    }
    let expected = "vm:a runs fewer tests at the same time: too little memory";
    assert!(told.contains(expected), "{told}");
}

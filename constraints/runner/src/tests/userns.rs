//! Scope: plain tests and a place whose root is root in a user namespace, with made-up places.

use std::time::Duration;

use crate::{
    Binary, CandidatePlace, Job, Outcome, Place, PlaceError, PlainOptions, PlainRun, PlainTest,
    ProcessEnd, Reporter, Run, Session, SessionCommand, Spread, StopToken, TestId, TestSettings,
    UserKind, run_plain,
};
use kata_test_host::constraint::parse;

/// A VM, or a user namespace, where each test fails.
struct MadeUp {
    is_user_namespace: bool,
}

impl Place for MadeUp {
    fn name(&self) -> &'static str {
        match self.is_user_namespace {
            true => "userns",
            false => "vm:a",
        }
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

    fn is_user_namespace(&self) -> bool {
        self.is_user_namespace
    }

    fn list(&mut self, _: &Binary, _: &[String], _: StopToken<'_>) -> Result<String, PlaceError> {
        panic!("there are plain tests only")
    }

    fn run(&mut self, _: &Job<'_>, _: &mut dyn FnMut(&[u8])) -> Result<(), PlaceError> {
        panic!("there are plain tests only")
    }

    fn runs_as(&self, user: UserKind) -> bool {
        user == UserKind::Root || !self.is_user_namespace
    }

    fn open<'a>(
        &'a mut self,
        _: &'a Binary,
        _: UserKind,
        _: StopToken<'a>,
    ) -> Result<Box<dyn Session + 'a>, PlaceError> {
        Ok(Box::new(MadeUpSession(self.is_user_namespace)))
    }
}

struct MadeUpSession(bool);

impl Session for MadeUpSession {
    fn run(
        &mut self,
        _: &SessionCommand<'_>,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<ProcessEnd, PlaceError> {
        if self.0 {
            output(b"chown: Invalid argument\n");
            return Ok(ProcessEnd::Exited(101));
        }
        output(b"test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured\n");
        Ok(ProcessEnd::Exited(0))
    }

    fn uid(&self) -> u32 {
        0
    }
}

/// Runs a test, and returns its place and how often it ran in the user namespace.
fn places_of(settings: TestSettings) -> (String, usize) {
    let root = tempfile::tempdir().expect("a folder");
    let run = Run::start(root.path()).expect("a run");
    let test = PlainTest {
        id: TestId {
            binary: "p::it".to_owned(),
            test: "t".to_owned(),
        },
        ignored: None,
        runs: true,
        settings,
    };
    let place = |is_user_namespace| CandidatePlace::Place(Box::new(MadeUp { is_user_namespace }));
    let options = PlainOptions {
        spread: Spread::First,
        ..PlainOptions::default()
    };
    let plain = PlainRun {
        binaries: &[Binary {
            id: "p::it".to_owned(),
            ..Binary::default()
        }],
        tests: &[test],
        run: &run,
        options: &options,
        program: None,
    };
    let mut shown = String::new();
    let mut reporter = Reporter {
        progress: &mut |_| {},
        output: &mut |bytes| shown += &String::from_utf8_lossy(bytes),
        stop: StopToken::NEVER,
    };
    // The VM comes first in the list, and is tried last.
    let mut places = [place(false), place(true)];
    run_plain(&plain, &mut places, &mut reporter).expect("records");
    let mut outcomes = run.merge().expect("outcomes");
    let outcome = outcomes.remove(0);
    assert_eq!(outcome.outcome, Outcome::Passed, "{outcome:?}");
    (outcome.place, shown.matches("FAIL").count())
}

#[test]
fn what_fails_as_root_in_a_user_namespace_is_tried_elsewhere_once() {
    assert_eq!(places_of(TestSettings::default()), ("vm:a".to_owned(), 1));
}

#[test]
fn a_test_that_needs_root_runs_there_only_if_that_is_configured() {
    let needs_root = |user, requires: &str, root_in_userns| TestSettings {
        user,
        requires: parse(requires).expect("constraints"),
        root_in_userns,
        ..TestSettings::default()
    };
    let tries = |settings| places_of(settings).1;
    assert_eq!(tries(needs_root(Some(UserKind::Root), "", false)), 0);
    assert_eq!(tries(needs_root(Some(UserKind::Root), "", true)), 1);
    // Without a program, whether they are met is not known.
    assert_eq!(tries(needs_root(None, "root", false)), 0);
    assert_eq!(tries(needs_root(None, "root", true)), 1);
}

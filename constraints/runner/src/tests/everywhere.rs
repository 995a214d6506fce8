//! Scope: tests that run in every place, with made-up places. Real ones are in `tests/places/` of
//! cargo-kata-test.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::{
    Binary, CandidatePlace, Eligibility, Job, Outcome, Place, PlaceError, PlainOptions, PlainRun,
    PlainTest, Plan, PlannedPlace, PlannedTest, ProcessEnd, Reason, Record, Reporter, Run, Session,
    SessionCommand, Spread, StopToken, TestId, TestSettings, UserKind, run_plain,
};
use kata_test_host::constraint::Status;

/// A place where tests with these names fail: always, or at their first attempt.
struct MadeUp {
    name: &'static str,
    fails: &'static [&'static str],
    /// Those that are left to fail.
    flaky: BTreeSet<&'static str>,
    comes_up: bool,
}

fn made_up(name: &'static str, fails: &'static [&'static str], flaky: &[&'static str]) -> MadeUp {
    MadeUp {
        name,
        fails,
        flaky: flaky.iter().copied().collect(),
        comes_up: true,
    }
}

fn broken(name: &'static str) -> MadeUp {
    MadeUp {
        comes_up: false,
        ..made_up(name, &[], &[])
    }
}

impl MadeUp {
    fn passes(&mut self, test: &str) -> bool {
        !self.flaky.remove(test) && !self.fails.contains(&test)
    }
}

impl Place for MadeUp {
    fn name(&self) -> &str {
        self.name
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
        panic!("the plan is made up too")
    }

    fn run(&mut self, job: &Job<'_>, _: &mut dyn FnMut(&[u8])) -> Result<(), PlaceError> {
        if !self.comes_up {
            return Err("it does not boot".into());
        }
        for test in &job.tests {
            let passes = self.passes(&test.name);
            job.run.write(&Record {
                outcome: match (passes, test.name.starts_with("skips")) {
                    (_, true) => Outcome::Skipped,
                    (true, _) => Outcome::Passed,
                    (false, _) => Outcome::Failed,
                },
                ..Record::of(job.run.id(), &id(&test.name), self.name)
            })?;
        }
        Ok(())
    }

    fn open<'a>(
        &'a mut self,
        _: &'a Binary,
        user: UserKind,
        _: StopToken<'a>,
    ) -> Result<Box<dyn Session + 'a>, PlaceError> {
        match self.comes_up {
            true => Ok(Box::new(MadeUpSession { place: self, user })),
            false => Err("it does not boot".into()),
        }
    }
}

struct MadeUpSession<'a> {
    place: &'a mut MadeUp,
    user: UserKind,
}

impl Session for MadeUpSession<'_> {
    fn run(
        &mut self,
        command: &SessionCommand<'_>,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<ProcessEnd, PlaceError> {
        let test = command.arguments[1].to_str().expect("a name");
        match test {
            "suspect" => output(b"skipping: no such file\n"),
            "lacks" => output(b"mount: Operation not permitted (os error 1)\n"),
            _ => {}
        }
        let passes = self.place.passes(test) && test != "lacks";
        if passes {
            output(b"test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured\n");
        }
        Ok(ProcessEnd::Exited(if passes { 0 } else { 101 }))
    }

    fn uid(&self) -> u32 {
        match self.user {
            UserKind::Root => 0,
            UserKind::Unprivileged => 1000,
        }
    }
}

fn id(test: &str) -> TestId {
    TestId {
        binary: "p::it".to_owned(),
        test: test.to_owned(),
    }
}

fn binary() -> Binary {
    Binary {
        id: "p::it".to_owned(),
        ..Binary::default()
    }
}

fn places(places: impl IntoIterator<Item = MadeUp>) -> Vec<CandidatePlace> {
    let place = |place| CandidatePlace::Place(Box::new(place));
    places.into_iter().map(place).collect()
}

/// A run, as one in which each test runs everywhere or not.
fn start(root: &std::path::Path, spread: Spread) -> Run {
    let run = Run::start(root).expect("a run");
    let noted = run.update_info(|about| about.everywhere = spread == Spread::Everywhere);
    noted.expect("a note");
    run
}

fn reporter(report: impl FnOnce(&mut Reporter<'_>)) {
    report(&mut Reporter {
        progress: &mut |_| {},
        output: &mut |_| {},
        stop: StopToken::NEVER,
    });
}

/// The outcomes by test: `a passed, b failed`.
fn by_test(outcomes: &[Record]) -> BTreeMap<&str, String> {
    let mut by_test: BTreeMap<&str, String> = BTreeMap::new();
    for one in outcomes {
        let text = by_test.entry(&one.test).or_default();
        let comma = if text.is_empty() { "" } else { ", " };
        *text += &format!("{comma}{} {}", one.place, one.outcome);
    }
    by_test
}

/// Runs plain tests in three places.
fn plain(tests: &[&str], spread: Spread, candidates: &mut [CandidatePlace]) -> Vec<Record> {
    let root = tempfile::tempdir().expect("a folder");
    let run = start(root.path(), spread);
    let test = |name: &&str| PlainTest {
        id: id(name),
        ignored: None,
        runs: true,
        settings: TestSettings::default(),
    };
    let tests: Vec<PlainTest> = tests.iter().map(test).collect();
    let options = PlainOptions {
        spread,
        ..PlainOptions::default()
    };
    let plain = PlainRun {
        binaries: &[binary()],
        tests: &tests,
        run: &run,
        options: &options,
        program: None,
    };
    reporter(|reporter| run_plain(&plain, candidates, reporter).expect("records"));
    run.merge().expect("outcomes")
}

#[test]
fn a_plain_test_runs_in_every_place_as_the_same_kind_of_user() {
    let tests = ["differs", "lacks", "passes", "suspect"];
    let three = [
        made_up("a", &["differs"], &[]),
        made_up("b", &[], &[]),
        broken("c"),
    ];
    let outcomes = plain(&tests, Spread::Everywhere, &mut places(three));
    let found: Vec<(&str, String)> = by_test(&outcomes).into_iter().collect();
    let expected = [
        ("differs", "a failed, b passed, c failed"),
        ("lacks", "a failed, b failed, c failed"),
        ("passes", "a passed, b passed, c failed"),
        ("suspect", "a suspected skip, b suspected skip, c failed"),
    ];
    assert_eq!(found, expected.map(|(test, text)| (test, text.to_owned())));
    let current = match UserKind::current() {
        UserKind::Root => 0,
        UserKind::Unprivileged => 1000,
    };
    let ran = outcomes.iter().filter(|one| one.place != "c");
    assert!(ran.map(|one| one.as_uid).all(|uid| uid == current));
    let why = &outcomes[2].reasons[0];
    assert_eq!(why.observed, "it does not boot");
}

#[test]
fn a_plain_test_that_fails_first_and_then_passes_has_failed_in_that_place() {
    let two = || places([made_up("a", &[], &["flaky"]), made_up("b", &[], &[])]);
    let outcomes = plain(&["flaky"], Spread::First, &mut two());
    assert_eq!(by_test(&outcomes)["flaky"], "a flaky");
    let outcomes = plain(&["flaky"], Spread::Everywhere, &mut two());
    assert_eq!(by_test(&outcomes)["flaky"], "a failed, b passed");
}

/// Runs tests with made-up verdicts: `m`et, `u`nmet, `o`pen, or undetermined.
fn annotated(tests: &[(&str, &str)], candidates: &mut [CandidatePlace]) -> Vec<Record> {
    let root = tempfile::tempdir().expect("a folder");
    let run = start(root.path(), Spread::Everywhere);
    let verdict = |letter| Eligibility {
        status: match letter {
            'm' => Status::Met,
            'u' => Status::Unmet,
            _ => Status::Undetermined,
        },
        is_open: letter == 'o',
        reasons: match letter {
            'u' => vec![Reason::constraint(
                "kernel >= 6.1",
                "kernel is 5.10",
                "uname",
            )],
            _ => Vec::new(),
        },
    };
    let test = |(name, verdicts): &(&str, &str)| PlannedTest {
        id: id(name),
        needs: String::new(),
        demand: kata_test_host::constraint::Demand::default(),
        issue: None,
        reason: None,
        limit: None,
        retries: 0,
        own_machine: false,
        ignored: false,
        eligibilities: verdicts.chars().map(verdict).collect(),
    };
    let place = |place: &CandidatePlace| PlannedPlace {
        name: place.name().to_owned(),
        is_variant: false,
        about: place.about(),
        kernel: place.kernel(),
        cost: place.cost(),
    };
    let plan = Plan {
        places: candidates.iter().map(place).collect(),
        tests: tests.iter().map(test).collect(),
        spread: Spread::Everywhere,
        binaries: BTreeMap::new(),
        vms: crate::Vms::default(),
        opaque: Vec::new(),
    };
    plan.record(&run).expect("notes");
    plan.exclude_elsewhere(candidates, &run).expect("a list");
    reporter(|reporter| {
        let ran = plan.run_in_places(&[binary()], candidates, &run, reporter);
        ran.expect("records");
    });
    run.merge().expect("outcomes")
}

#[test]
fn a_test_runs_in_every_place_that_takes_it() {
    let three = [
        made_up("a", &["fails_in_a"], &[]),
        made_up("b", &[], &[]),
        broken("c"),
    ];
    let tests = [
        ("fails_in_a", "mmu"),
        ("needs_b", "umu"),
        ("needs_c", "uum"),
        ("skips", "oou"),
        ("undetermined", "xmu"),
        ("unmet", "uuu"),
    ];
    let outcomes = annotated(&tests, &mut places(three));
    let found: Vec<(&str, String)> = by_test(&outcomes).into_iter().collect();
    let expected = [
        ("fails_in_a", "a failed, b passed, c skipped"),
        ("needs_b", "a skipped, b passed, c skipped"),
        ("needs_c", "a skipped, b skipped, c failed"),
        // No place turned out to take it.
        ("skips", "nowhere nowhere"),
        ("undetermined", "a passed, b passed, c skipped"),
        ("unmet", "nowhere nowhere"),
    ];
    assert_eq!(found, expected.map(|(test, text)| (test, text.to_owned())));
}

#[test]
fn what_runs_here_is_left_to_no_other_place() {
    let root = tempfile::tempdir().expect("a folder");
    let run = start(root.path(), Spread::Everywhere);
    let met = |met| Eligibility {
        status: if met { Status::Met } else { Status::Unmet },
        is_open: false,
        reasons: Vec::new(),
    };
    let test = |name: &str, here| PlannedTest {
        id: id(name),
        needs: String::new(),
        demand: kata_test_host::constraint::Demand::default(),
        issue: None,
        reason: None,
        limit: None,
        retries: 0,
        own_machine: false,
        ignored: false,
        eligibilities: vec![met(here), met(true), met(true)],
    };
    let mut candidates = vec![CandidatePlace::Here];
    candidates.extend(places([made_up("a", &[], &[]), made_up("b", &[], &[])]));
    let place = |place: &CandidatePlace| PlannedPlace {
        name: place.name().to_owned(),
        is_variant: false,
        about: String::new(),
        kernel: None,
        cost: None,
    };
    let plan = Plan {
        places: candidates.iter().map(place).collect(),
        tests: vec![test("both", true), test("elsewhere", false)],
        spread: Spread::Everywhere,
        binaries: BTreeMap::new(),
        vms: crate::Vms::default(),
        opaque: Vec::new(),
    };
    let (_, file) = plan.exclude_elsewhere(&candidates, &run).expect("a list");
    let excluded = std::fs::read_to_string(file).expect("a list");
    assert_eq!(excluded, "p::it\telsewhere\ta\n");
    // Nothing has run: the runner was killed.
    let outcomes = run.merge().expect("outcomes");
    let found = by_test(&outcomes);
    assert_eq!(found["both"], "here lost, a lost, b lost");
    assert_eq!(found["elsewhere"], "a lost, b lost");
}

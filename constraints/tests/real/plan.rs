//! Plans for the sample binaries: nothing runs, and each place evaluates no more than necessary.

use std::fs::{self, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kata_test::constraint::Status;
use kata_test::kata_test;
use kata_test_runner::{
    Binary, CandidatePlace, Eligibility, Job, LIST_ARGUMENTS, Outcome, Place, PlaceError, Plan,
    PlanInput, PlannedTest, RecordedHost, Reporter, Run, RunnerError, StopToken, plan,
};

use crate::run::{Finished, Sample, copy, is_root};

fn binary(sample: &Sample, id: &str) -> Binary {
    let command = sample.command(&[]);
    let executable = PathBuf::from(command.get_program());
    Binary {
        id: id.to_owned(),
        folder: executable.parent().expect("a folder").to_owned(),
        executable,
        ..Binary::default()
    }
}

fn planned(binaries: &[Binary], candidates: &mut Vec<CandidatePlace>, records: &Path) -> Plan {
    let print = &mut |text: &str| println!("{text}");
    plan(PlanInput::new(binaries, records), candidates, print).expect("a plan")
}

fn eligibility<'a>(plan: &'a Plan, test: &str, place: usize) -> &'a Eligibility {
    let found = plan.tests.iter().find(|planned| planned.id.test == test);
    &found
        .unwrap_or_else(|| panic!("no {test} in {plan:?}"))
        .eligibilities[place]
}

#[test]
fn what_a_recorded_host_lacks_is_unknown() {
    let sample = Sample::build("sample");
    let records = tempfile::tempdir().expect("a folder");
    let facts = records.path().join("far-away.json");
    let fact = |question, text| {
        format!(r#"{{"question":"{question}","finding":"is","text":"{text}","source":"x"}}"#)
    };
    let lines = [fact("kernel release", "99.2.0"), fact("effective uid", "0")];
    fs::write(&facts, lines.join("\n")).expect("facts");
    let mut candidates = vec![
        CandidatePlace::Here,
        CandidatePlace::Recorded(RecordedHost::new(&facts)),
    ];
    let plan = planned(
        &[binary(&sample, "p::sample")],
        &mut candidates,
        records.path(),
    );

    assert_eq!(plan.places[1].name, "far-away");
    let there = |test| eligibility(&plan, test, 1);
    assert_eq!(
        there("cases::passes::under_the_other_name").status,
        Status::Met
    );
    assert_eq!(there("cases::needs::root").status, Status::Met);
    // Root can drop privileges.
    assert_eq!(there("cases::needs::non_root").status, Status::Met);
    for test in ["cases::needs::much", "cases::needs::a_probe"] {
        assert!(there(test).is_open, "{test}: {:?}", there(test));
        assert!(
            eligibility(&plan, test, 0).status == Status::Unmet,
            "{test}"
        );
    }
    let ignored = |test: &&PlannedTest| test.id.test == "cases::ignored::plainly";
    let ignored = plan.tests.iter().find(ignored).expect("a test");
    assert!(ignored.ignored && ignored.chosen().is_none());
    let root = plan
        .tests
        .iter()
        .find(|test| test.id.test == "cases::needs::root");
    let expected = if is_root() { 0 } else { 1 };
    assert_eq!(root.expect("a test").chosen(), Some(expected));
}

#[test]
fn the_report_has_the_verdicts_of_the_plan() {
    let sample = Sample::build("sample");
    let records = tempfile::tempdir().expect("a folder");
    let facts = records.path().join("far-away.json");
    let uid = r#"{"question":"effective uid","finding":"is","text":"0","source":"x"}"#;
    fs::write(&facts, uid).expect("facts");
    let mut candidates = vec![
        CandidatePlace::Here,
        CandidatePlace::Recorded(RecordedHost::new(&facts)),
    ];
    let plan = planned(
        &[binary(&sample, "p::sample")],
        &mut candidates,
        records.path(),
    );
    let run = Run::start(records.path()).expect("a run");
    plan.record(&run).expect("notes");
    plan.exclude_elsewhere(&candidates, &run).expect("a list");
    let outcomes = run.merge().expect("outcomes");

    let much = outcomes.iter().find(|one| one.test == "cases::needs::much");
    let much = much.expect("an outcome");
    assert_eq!(
        (much.outcome, much.place.as_str()),
        (Outcome::Skipped, "here")
    );
    assert_eq!(much.reasons.len(), 2);
    let summary = fs::read_to_string(run.dir().join("summary.md")).expect("a summary");
    assert!(summary.contains("\n- far-away: 0 skipped\n"), "{summary}");
}

/// This host, as if it were another.
struct Elsewhere {
    asked: Arc<AtomicUsize>,
}

impl Place for Elsewhere {
    fn name(&self) -> &'static str {
        "elsewhere"
    }

    fn about(&self) -> String {
        "a place".to_owned()
    }

    fn cost(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn key(&self) -> Option<String> {
        Some("elsewhere".to_owned())
    }

    fn list(
        &mut self,
        binary: &Binary,
        wishes: &[String],
        _: StopToken<'_>,
    ) -> Result<String, PlaceError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        assert!(
            wishes.iter().any(|wish| wish.starts_with("opt-in ")),
            "{wishes:?}"
        );
        let mut command = Command::new(&binary.executable);
        command.args(LIST_ARGUMENTS);
        Ok(Finished::by(command).stdout)
    }

    fn run(&mut self, _: &Job<'_>, _: &mut dyn FnMut(&[u8])) -> Result<(), PlaceError> {
        panic!("a plan runs nothing")
    }
}

#[test]
fn a_place_lists_a_binary_once() {
    let wishes = Sample::build("opt_ins");
    let records = tempfile::tempdir().expect("a folder");
    let asked = Arc::<AtomicUsize>::default();
    let elsewhere = Elsewhere {
        asked: Arc::clone(&asked),
    };
    let mut candidates = vec![CandidatePlace::Place(Box::new(elsewhere))];
    let binary = binary(&wishes, "p::wishes");
    for _ in 0..2 {
        let plan = planned(
            std::slice::from_ref(&binary),
            &mut candidates,
            records.path(),
        );
        assert_eq!(
            eligibility(&plan, "breaks_things", 0).status,
            Status::Unmet,
            "{plan:?}"
        );
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }
    // Another build of the binary has no new questions, so the cached answers of the place suffice.
    let new = binary.executable.with_extension("new");
    copy(&binary.executable, &new);
    fs::rename(&new, &binary.executable).expect("a new build");
    planned(
        std::slice::from_ref(&binary),
        &mut candidates,
        records.path(),
    );
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

/// The sample needs root.
#[kata_test(root)]
fn tests_that_can_run_here_are_not_listed_elsewhere() {
    let sample = Sample::build("privileged");
    let records = tempfile::tempdir().expect("a folder");
    let asked = Arc::<AtomicUsize>::default();
    let elsewhere = Elsewhere {
        asked: Arc::clone(&asked),
    };
    let plan = planned(
        &[binary(&sample, "p::privileged")],
        &mut vec![
            CandidatePlace::Here,
            CandidatePlace::Place(Box::new(elsewhere)),
        ],
        records.path(),
    );
    assert_eq!(asked.load(Ordering::Relaxed), 0, "{plan:?}");
}

#[test]
fn another_harness_is_opaque_and_an_unmet_contract_stops_the_plan() {
    let records = tempfile::tempdir().expect("a folder");
    let [plain, wishes] = ["plain", "opt_ins"].map(Sample::build);
    let plain = binary(&plain, "p::plain");
    let plan = planned(&[plain], &mut vec![CandidatePlace::Here], records.path());
    assert_eq!(
        (plan.opaque, plan.tests.len()),
        (vec!["p::plain".to_owned()], 0)
    );

    let mut broken = binary(&wishes, "p::wishes");
    broken
        .env
        .push(("KATA_TEST_EXPECT".into(), "kernel_ge = \"99\"".into()));
    let candidates = &mut vec![CandidatePlace::Here];
    let print = &mut |_: &str| {};
    let broken = [broken];
    let input = PlanInput::new(&broken, records.path());
    let error = kata_test_runner::plan(input, candidates, print);
    let error = error.expect_err("a broken promise").to_string();
    assert!(
        error.contains("p::wishes") && error.contains("KATA_TEST_EXPECT"),
        "{error}"
    );
}

fn another_main(folder: &Path, script: &str) -> Binary {
    let executable = folder.join("main");
    fs::write(&executable, script).expect("a script");
    fs::set_permissions(&executable, Permissions::from_mode(0o755)).expect("chmod");
    Binary {
        id: "p::foreign".to_owned(),
        folder: folder.to_owned(),
        executable,
        ..Binary::default()
    }
}

/// A `main` that ignores its arguments would run its tests instead of listing them.
#[test]
fn a_foreign_main_is_not_started_by_a_plan() {
    let records = tempfile::tempdir().expect("a folder");
    let trace = records.path().join("trace");
    let script = format!("#!/bin/sh\necho started >> {}\n", trace.display());
    let foreign = another_main(records.path(), &script);
    let taken = Sample::build("adopted");
    let plan = planned(
        &[foreign, binary(&taken, "p::taken")],
        &mut vec![CandidatePlace::Here],
        records.path(),
    );
    assert_eq!(plan.opaque, ["p::foreign"]);
    assert!(!plan.tests.is_empty(), "the others are planned");
    assert!(!trace.exists(), "it was started");
}

#[test]
fn a_foreign_main_runs_nowhere_if_this_host_is_left_out() {
    let records = tempfile::tempdir().expect("a folder");
    let binaries = [another_main(records.path(), "#!/bin/sh\n")];
    let elsewhere = || {
        CandidatePlace::Place(Box::new(Elsewhere {
            asked: Arc::default(),
        }))
    };
    for (mut candidates, count) in [
        (vec![CandidatePlace::Here, elsewhere()], 0),
        (vec![elsewhere()], 1),
    ] {
        let plan = planned(&binaries, &mut candidates, records.path());
        let run = Run::start(records.path()).expect("a run");
        let mut reporter = Reporter {
            progress: &mut |_| {},
            output: &mut |_| {},
            stop: StopToken::NEVER,
        };
        plan.run_in_places(&binaries, &mut candidates, &run, &mut reporter)
            .expect("records");
        let outcomes = run.merge().expect("outcomes");
        assert_eq!(outcomes.len(), count, "{outcomes:#?}");
        for outcome in outcomes {
            assert_eq!(outcome.outcome, Outcome::Nowhere);
            assert_eq!((&*outcome.binary, &*outcome.test), ("p::foreign", "main"));
        }
    }
}

#[test]
fn a_stop_ends_the_binary_that_lists_its_tests() {
    let wishes = Sample::build("opt_ins");
    let records = tempfile::tempdir().expect("a folder");
    let mut binary = binary(&wishes, "p::wishes");
    let fifo = records.path().join("wait");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    // Opening it for reading lasts until another opens it for writing: nothing does.
    binary.env.push(("KATA_TEST_FACTS".into(), fifo.into()));
    let (asked, write) = std::io::pipe().expect("a pipe");
    drop(write);
    let stop = StopToken::when_readable(asked.as_fd());
    let began = std::time::Instant::now();
    let binaries = [binary];
    let input = PlanInput {
        stop,
        ..PlanInput::new(&binaries, records.path())
    };
    let stopped = plan(input, &mut vec![CandidatePlace::Here], &mut |_| {});
    assert!(matches!(stopped, Err(RunnerError::Stopped)), "{stopped:?}");
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
}

//! Scope: reports and shards over records as a harness writes them. Settling is tested in `merge`,
//! and that harnesses write such records in `tests/`.

mod everywhere;
mod fail_fast;
mod requirements;
mod userns;
mod variants;
pub(crate) mod vms;

use std::fs;
use std::path::Path;

use crate::{Outcome, Run, RunStatus, RunnerError, Shards, run_status};
use kata_test::__runner::Measures;
use kata_test::__runner::{Phase, RecordLine};
use kata_test_host::reason::Reason;

fn line(test: &str, phase: Phase, outcome: Outcome) -> String {
    let unmet = Reason::constraint(
        "kernel >= 6.12",
        "kernel is <6.1> & \"old\" | older",
        "uname",
    );
    let left = Reason::leak("process 7 (sleep 60), killed", "/proc");
    let reasons = match (outcome, test) {
        (Outcome::Skipped, _) => vec![unmet],
        (Outcome::Passed, "leaks") => vec![left],
        _ => Vec::new(),
    };
    let record = RecordLine {
        binary: "pkg::it",
        test,
        phase,
        attempt: 1,
        outcome,
        reasons: &reasons,
        issue: (outcome == Outcome::Skipped).then_some("x/1"),
        reason: (outcome == Outcome::Ignored).then_some("takes a week"),
        signal: (outcome == Outcome::Failed).then_some("SIGSEGV"),
        as_uid: None,
        duration_ms: 1500.0,
        measures: &Measures::from([("attach_ms".to_owned(), 12.5)]),
        artifacts: None,
    };
    record.to_line("run", "here", 1000)
}

const ALL: [(&str, Outcome); 11] = [
    ("passes", Outcome::Passed),
    ("leaks", Outcome::Passed),
    ("crashes", Outcome::Failed),
    ("hangs", Outcome::TimedOut),
    ("vanishes", Outcome::Lost),
    ("needs_much", Outcome::Skipped),
    ("is_ignored", Outcome::Ignored),
    ("fails_so", Outcome::ExpectedFailure),
    ("passes_now", Outcome::UnexpectedPass),
    ("is_unstable", Outcome::Unstable),
    ("is_flaky", Outcome::Flaky),
];

#[test]
fn reports_have_every_outcome_with_its_reason() {
    let root = tempfile::tempdir().expect("a folder");
    let run = Run::start(root.path()).expect("a run");
    let lines: String = ALL
        .iter()
        .map(|(test, outcome)| line(test, Phase::Run, *outcome))
        .collect();
    fs::write(run.dir().join("pkg-1.jsonl"), lines).expect("a file");
    run.merge().expect("outcomes");
    let read = |name: &str| fs::read_to_string(run.dir().join(name)).expect("a report");
    insta::assert_snapshot!("junit", read("junit.xml"));
    insta::assert_snapshot!("summary", read("summary.md"));
}

#[test]
fn a_run_in_which_nothing_ran_is_no_good_run() {
    let concluded = |outcomes: &[Outcome]| {
        let root = tempfile::tempdir().expect("a folder");
        let run = Run::start(root.path()).expect("a run");
        let lines = outcomes.iter().enumerate();
        let lines: String = lines
            .map(|(at, outcome)| line(&at.to_string(), Phase::Run, *outcome))
            .collect();
        fs::write(run.dir().join("pkg-1.jsonl"), lines).expect("a file");
        run_status(&run.merge().expect("outcomes"))
    };
    assert_eq!(concluded(&[]), RunStatus::NothingRan);
    assert_eq!(
        concluded(&[Outcome::Skipped, Outcome::Ignored]),
        RunStatus::NothingRan
    );
    assert_eq!(
        concluded(&[Outcome::Skipped, Outcome::Passed]),
        RunStatus::Passed
    );
    let bad = [
        Outcome::Failed,
        Outcome::TimedOut,
        Outcome::Lost,
        Outcome::Undetermined,
        Outcome::Passed,
    ];
    assert_eq!(concluded(&bad), RunStatus::Failed(4));
}

/// A shard's folder, with what it lists and what it runs.
fn shard(root: &Path, name: &str, listed: &[(&str, Outcome)], ran: &[(&str, Outcome)]) {
    let folder = root.join(name).join("runs/7-8");
    fs::create_dir_all(&folder).expect("a folder");
    for (file, phase, tests) in [("list", Phase::List, listed), ("run", Phase::Run, ran)] {
        let lines: String = tests
            .iter()
            .map(|(test, outcome)| line(test, phase, *outcome))
            .collect();
        fs::write(folder.join(format!("pkg-{file}.jsonl")), lines).expect("a file");
    }
    let latest = root.join(name).join("latest");
    std::os::unix::fs::symlink("runs/7-8", latest).expect("a link");
}

#[test]
fn shards_are_joined_and_what_fell_between_them_is_named() {
    let (runnable, skipped, passed) = (Outcome::Lost, Outcome::Skipped, Outcome::Passed);
    let root = tempfile::tempdir().expect("a folder");
    let all = [
        ("a", runnable),
        ("b", runnable),
        ("c", runnable),
        ("d", skipped),
        ("e", runnable),
    ];
    shard(
        root.path(),
        "one",
        &all,
        &[("a", passed), ("c", passed), ("e", Outcome::Failed)],
    );
    shard(root.path(), "two", &all, &[("c", passed), ("e", passed)]);
    // Merging twice changes nothing: what was written before is no record.
    for _ in 0..2 {
        let shards = Shards::merge(root.path()).expect("shards");
        assert_eq!(shards.folders.len(), 2);
        let names =
            |ids: &[super::TestId]| ids.iter().map(|id| id.test.clone()).collect::<Vec<_>>();
        assert_eq!(names(&shards.lost), ["b"]);
        let repeated: Vec<_> = shards
            .repeated
            .iter()
            .map(|(id, times)| (id.test.as_str(), *times))
            .collect();
        assert_eq!(repeated, [("c", 2), ("e", 2)]);
        let outcomes: Vec<_> = shards
            .outcomes
            .iter()
            .map(|o| (o.test.as_str(), o.outcome))
            .collect();
        assert_eq!(
            outcomes,
            [
                ("a", Outcome::Passed),
                ("b", Outcome::Lost),
                ("c", Outcome::Passed),
                ("d", Outcome::Skipped),
                ("e", Outcome::Failed),
            ]
        );
    }
    assert!(root.path().join("junit.xml").is_file());
}

#[test]
fn what_ran_on_several_machines_is_told_from_what_one_repeats() {
    let root = tempfile::tempdir().expect("a folder");
    let passed = |tests: &[&'static str]| {
        tests
            .iter()
            .map(|test| (*test, Outcome::Passed))
            .collect::<Vec<_>>()
    };
    shard(root.path(), "old/1", &[], &passed(&["a", "twice"]));
    shard(root.path(), "old/2", &[], &passed(&["b", "twice"]));
    shard(root.path(), "new/1", &[], &passed(&["a", "b"]));
    // An archiver that follows links leaves a copy.
    let latest = root.path().join("new/1/latest");
    fs::remove_file(&latest).expect("a link");
    fs::create_dir(&latest).expect("a folder");
    fs::copy(
        root.path().join("new/1/runs/7-8/pkg-run.jsonl"),
        latest.join("pkg-run.jsonl"),
    )
    .expect("a copy");
    let shards = Shards::merge(root.path()).expect("shards");
    let names = |of: &[(super::TestId, usize)]| {
        of.iter()
            .map(|(id, times)| (id.test.clone(), *times))
            .collect::<Vec<_>>()
    };
    let twice = |test: &str| (test.to_owned(), 2);
    assert_eq!(
        names(&shards.repeated),
        [twice("a"), twice("b"), twice("twice")]
    );
    assert_eq!(names(&shards.repeated_on_one), [twice("twice")]);
    let places: Vec<&str> = shards
        .ledger
        .places
        .iter()
        .map(|place| place.name.as_str())
        .collect();
    assert_eq!(places, ["new/1", "old/1", "old/2"]);
}

#[test]
fn a_folder_without_records_is_an_error() {
    let root = tempfile::tempdir().expect("a folder");
    assert!(matches!(
        Shards::merge(root.path()),
        Err(RunnerError::NoRecords(_))
    ));
}

/// What a test has written may be named like a record.
#[test]
fn files_of_a_shards_tests_are_linked_and_not_read() {
    let root = tempfile::tempdir().expect("a folder");
    shard(root.path(), "one", &[], &[]);
    let run = root.path().join("one/runs/7-8");
    let folder = "artifacts/here/pkg~~it/a,1";
    fs::create_dir_all(run.join(folder)).expect("a folder");
    fs::write(run.join(folder).join("log.jsonl"), "no record\n").expect("a file");
    let record = line("a", Phase::Run, Outcome::Passed);
    let record = record.trim_end().trim_end_matches('}').to_owned();
    let artifacts = format!("{{\"folder\":\"{folder}\",\"files\":1,\"bytes\":10}}");
    let record = format!("{record}}},\"artifacts\":{artifacts}}}\n");
    fs::write(run.join("pkg-run.jsonl"), record).expect("a file");
    let shards = Shards::merge(root.path()).expect("shards");
    let artifacts = shards.outcomes[0].artifacts.as_ref().expect("files");
    assert_eq!(artifacts.folder, format!("one/runs/7-8/{folder}"));
    let page = fs::read_to_string(root.path().join("report.html")).expect("a page");
    assert!(page.contains("href=\"./one/runs/7-8/artifacts/here/pkg~~it/a%2C1\""));
}

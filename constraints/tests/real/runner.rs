//! A run as xtask makes it: several binaries, one merge.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};

use kata_test_runner::{Outcome, Run};
use nix::sys::prctl::set_child_subreaper;

use crate::harness::{is_alive, start_hanging};
use crate::run::{Finished, Sample};

#[test]
fn records_of_both_harnesses_are_merged() {
    let root = tempfile::tempdir().expect("a folder");
    let run = Run::start(root.path()).expect("a run");
    let [sample, plain] = ["sample", "plain"].map(Sample::build);
    for (sample, mode) in [(&sample, ""), (&plain, "fail")] {
        let mut command = sample.command(&["needs::", "passes::with_measures", "by_panicking"]);
        command.envs(run.env()).env("SAMPLE", mode);
        Finished::by(command);
    }

    let outcomes = run.merge().expect("outcomes");
    let of: BTreeMap<(&str, &str), _> = outcomes
        .iter()
        .map(|outcome| ((outcome.binary.as_str(), outcome.test.as_str()), outcome))
        .collect();
    assert_eq!(of.len(), outcomes.len());
    let kind = |binary, test| of[&(binary, test)].outcome;
    assert_eq!(
        kind("kata-test::sample", "cases::needs::much"),
        Outcome::Skipped
    );
    assert_eq!(
        kind("kata-test::plain", "cases::needs::much"),
        Outcome::Skipped
    );
    assert_eq!(
        kind("kata-test::sample", "cases::fails::by_panicking"),
        Outcome::Passed
    );
    assert_eq!(
        kind("kata-test::plain", "cases::fails::by_panicking"),
        Outcome::Failed
    );
    assert_eq!(
        kind("kata-test::plain", "cases::needs::a_broken_probe"),
        Outcome::Undetermined
    );

    let measured = of[&("kata-test::sample", "cases::passes::with_measures")];
    let expected = BTreeMap::from([("attach_ms".to_owned(), 12.5), ("count".to_owned(), 3.0)]);
    assert_eq!(measured.measures, expected);
    assert!(measured.duration_ms > 0.0);
    let much = of[&("kata-test::sample", "cases::needs::much")];
    assert_eq!(much.issue.as_deref(), Some("x/1"));
    assert_eq!(much.reasons.len(), 2);

    let merged = root.path().join("latest/outcomes.jsonl");
    let lines = fs::read_to_string(merged).expect("the merged file");
    assert_eq!(lines.lines().count(), outcomes.len());
}

/// Between a runner and a harness stands cargo, here a shell, which hands no signal on.
#[test]
fn the_end_of_the_runner_ends_the_harness_below_others() {
    set_child_subreaper(true).expect("orphans");
    let sample = Sample::build("sample");
    let root = tempfile::tempdir().expect("a folder");
    let run = Run::start(root.path()).expect("a run");
    let harness = sample.command(&[]);
    let mut shell = Command::new("sh");
    shell
        .args([
            "-c",
            "\"$0\" --exact cases::fails::by_hanging --nocapture; echo $?",
        ])
        .arg(harness.get_program())
        .env("SAMPLE", "hang")
        .envs(run.env())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let (mut shell, test) = start_hanging(shell);
    // What the kernel does with the pipe when a runner is killed.
    drop(run);
    let mut out = String::new();
    let mut stdout = shell.stdout.take().expect("a pipe");
    stdout.read_to_string(&mut out).expect("text");
    assert!(shell.wait().expect("an end").success());
    assert!(
        out.contains("interrupted by SIGHUP") && out.ends_with("129\n"),
        "{out}"
    );
    assert!(!is_alive(test), "process {test} is still there");
}

/// Each binary declares its opt-ins; one that none of them declares is a typing error.
#[test]
fn an_unknown_opt_in_is_reported() {
    const ALLOWED: &str = "slow, gentel,holiday";
    let root = tempfile::tempdir().expect("a folder");
    let run = Run::start(root.path()).expect("a run");
    let wishes = Sample::build("opt_ins");
    let mut command = wishes.command(&[]);
    command.envs(run.env()).env("KATA_TEST_ALLOW", ALLOWED);
    let out = Finished::by(command);
    assert_eq!(out.line("takes_a_while"), "test takes_a_while ... ok");

    let unknown = run.unknown_opt_ins(ALLOWED).expect("declarations");
    let messages: Vec<String> = unknown.iter().map(ToString::to_string).collect();
    assert_eq!(
        messages,
        [
            "KATA_TEST_ALLOW has \"gentel\", which no test requires; did you mean \"gentle\"?",
            "KATA_TEST_ALLOW has \"holiday\", which no test requires",
        ]
    );
    assert_eq!(
        run.unknown_opt_ins("destructive").expect("declarations"),
        []
    );
}

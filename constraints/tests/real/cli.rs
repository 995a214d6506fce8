//! libtest's command line: each option has its effect.

use std::fs;
use std::sync::LazyLock;

use crate::run::{Finished, Sample};

static SAMPLE: LazyLock<Sample> = LazyLock::new(|| Sample::build("sample"));

/// A sample that fails where it can.
fn failing(args: &[&str]) -> Finished {
    let mut command = SAMPLE.command(args);
    command.env("SAMPLE", "fail");
    Finished::by(command)
}

#[test]
fn json_is_libtests_and_has_the_reason() {
    let out = failing(&[
        "needs::much",
        "by_a_result",
        "with_a_result",
        "--format=json",
        "--report-time",
        "--shuffle-seed=3",
    ]);
    assert_eq!(out.code, Some(101));
    let events: Vec<serde_json::Value> = out
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON and nothing else"))
        .collect();
    let about = |name: &str, event: &str| {
        let mut of = events
            .iter()
            .filter(|e| e["name"] == format!("cases::{name}") && e["event"] == event);
        let found = of
            .next()
            .unwrap_or_else(|| panic!("no {event} of {name} in {events:?}"));
        assert!(of.next().is_none());
        found
    };
    assert_eq!(
        (
            &events[0]["event"],
            &events[0]["test_count"],
            &events[0]["shuffle_seed"]
        ),
        (&"started".into(), &3.into(), &3.into())
    );
    let much = about("needs::much", "ignored");
    assert!(
        much["message"]
            .as_str()
            .expect("text")
            .starts_with("needs kernel >= 99.1: ")
    );
    let failed = about("fails::by_a_result", "failed");
    assert!(
        failed["stdout"]
            .as_str()
            .expect("text")
            .contains("the error's own text")
    );
    assert!(failed["exec_time"].as_f64().expect("a number") > 0.0);
    for event in ["started", "ok"] {
        assert_eq!(about("passes::with_a_result", event)["type"], "test");
    }
    let end = events.last().expect("an end");
    let counts = ["passed", "failed", "ignored", "filtered_out"]
        .map(|key| end[key].as_u64().expect("a count"));
    assert_eq!(
        (end["event"].as_str(), counts),
        (Some("failed"), [1, 1, 1, 18])
    );
}

#[test]
fn a_list_in_json() {
    let out = SAMPLE.run(&["--list", "--format=json", "ignored::"]);
    let events: Vec<serde_json::Value> = out
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let names: Vec<_> = events
        .iter()
        .filter_map(|event| event["name"].as_str())
        .collect();
    assert_eq!(
        names,
        [
            "cases::ignored::plainly",
            "cases::ignored::with_a_reason_and_unmet"
        ]
    );
    assert_eq!(events[2]["ignore_message"], "takes a week");
    assert_eq!(events[3]["total"], 2);
}

/// The order of the lines when one test runs at a time.
fn order(args: &[&str]) -> Vec<String> {
    let out = SAMPLE.run(&[args, &["passes::", "fails::", "--test-threads=1"]].concat());
    let lines = out
        .stdout
        .lines()
        .filter(|line| line.starts_with("test cases::"));
    lines.map(str::to_owned).collect()
}

#[test]
fn a_seed_gives_one_shuffled_order() {
    let (sorted, seventh, eighth) = (
        order(&[]),
        order(&["--shuffle-seed=7"]),
        order(&["--shuffle-seed=8"]),
    );
    assert!(sorted.is_sorted());
    assert_ne!(seventh, sorted);
    assert_ne!(seventh, eighth);
    assert_eq!(seventh, order(&["--shuffle", "--shuffle-seed=7"]));
    let out = SAMPLE.run(&["passes::", "--shuffle"]);
    assert!(
        out.stdout.contains("running 5 tests (shuffle seed: "),
        "{}",
        out.stdout
    );
    let mut command = SAMPLE.command(&["passes::"]);
    command.env("RUST_TEST_SHUFFLE_SEED", "9");
    assert!(Finished::by(command).stdout.contains("(shuffle seed: 9)\n"));
}

#[test]
fn times_are_reported_on_request() {
    let test = "cases::passes::with_a_result";
    let out = SAMPLE.run(&[test, "--report-time", "-Zunstable-options"]);
    let line = out.line(test);
    let (_, time) = line
        .split_once("ok <")
        .unwrap_or_else(|| panic!("no time in {line}"));
    let seconds: f64 = time.trim_end_matches("s>").parse().expect("seconds");
    assert!(seconds < 10.0);
    assert!(!SAMPLE.run(&[test]).line(test).contains('<'));
}

#[test]
fn the_log_has_a_line_for_each_test() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let option = format!("--logfile={}", log.display());
    failing(&[
        "needs::much",
        "by_a_result",
        "with_a_result",
        "--test-threads=1",
        &option,
    ]);
    assert_eq!(
        fs::read_to_string(&log).expect("a log"),
        "failed cases::fails::by_a_result\nignored cases::needs::much\nok cases::passes::with_a_result\n"
    );
    let out = SAMPLE.run(&["--logfile=/proc/no/such"]);
    assert_eq!(out.code, Some(101));
    assert!(
        out.stderr
            .starts_with("error: cannot write /proc/no/such: "),
        "{}",
        out.stderr
    );
}

#[test]
fn fail_fast_starts_no_test_after_a_failure() {
    let out = failing(&["fails::", "--fail-fast", "--test-threads=1"]);
    assert!(out.stdout.contains("0 passed; 1 failed"), "{}", out.stdout);
}

#[test]
fn plain_tests_run_with_one_added_line() {
    let out = Sample::build("adopted").run(&["--test-threads=1"]);
    assert_eq!(out.code, Some(0), "{out:?}");
    for (test, shown) in [
        ("plainly", "ok"),
        ("ignored", "ignored, to be seen"),
        ("inside::a_macro", "ok"),
    ] {
        assert_eq!(out.line(test), format!("test {test} ... {shown}"));
    }
    let panics = "test by_panicking - should panic ... ok";
    assert!(out.stdout.contains(panics), "{}", out.stdout);
}

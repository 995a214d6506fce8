//! Runtime skips, under both harnesses.

use std::sync::LazyLock;

use crate::run::{Finished, Sample};

static OURS: LazyLock<Sample> = LazyLock::new(|| Sample::build("runtime_skips"));
static PLAIN: LazyLock<Sample> = LazyLock::new(|| Sample::build("runtime_skips_libtest"));

fn on_stage(sample: &Sample, args: &[&str]) -> Finished {
    let mut command = sample.command(args);
    command.env("SAMPLE", "fail");
    Finished::by(command)
}

/// The last record of a test.
fn last<'a>(recorded: &'a str, test: &str) -> &'a str {
    let name = format!("\"test\":\"{test}\"");
    let line = recorded.lines().rfind(|line| line.contains(&name));
    line.unwrap_or_else(|| panic!("no record of {test} in {recorded}"))
}

#[test]
fn runtime_skips_are_ignored_with_every_reason() {
    let sample = Sample::build("runtime_skips");
    let out = sample.run(&["--skip", "users::"]);
    assert_eq!(out.code, Some(0), "{out:?}");
    let by_needs = out.line("cases::skips::by_needs");
    assert!(
        by_needs.contains(" ... ignored, needs kernel >= 99.1: kernel is ")
            && by_needs.ends_with(
                "; needs command no-such-command: no executable file no-such-command found (PATH)"
            ),
        "{by_needs}"
    );
    let by_a_reason = out.line("cases::skips::by_a_reason");
    assert!(
        by_a_reason.contains(" ... ignored, 0 disks\tof 3 GiB (")
            && by_a_reason.contains("cases.rs:"),
        "{by_a_reason}"
    );
    for test in ["in_a_helper", "where_a_panic_is_due", "and_cleans_up"] {
        for args in [&[test][..], &[test, "--in-process"]] {
            let text = sample.run(args).stdout;
            assert!(text.contains("0 passed; 0 failed; 1 ignored"), "{text}");
        }
    }
    assert!(
        out.stdout
            .contains("unmet requirements: command no-such-command (2), kernel >= 99.1 (1)\n")
            && out.stdout.contains("7 passed; 0 failed; 5 ignored"),
        "{}",
        out.stdout
    );

    let recorded = sample.recorded();
    let by_needs = last(&recorded, "cases::skips::by_needs");
    for part in [
        "\"phase\":\"run\"",
        "\"outcome\":\"skipped\"",
        "{\"kind\":\"constraint\",\"constraint\":\"kernel >= 99.1\",",
        "{\"kind\":\"constraint\",\"constraint\":\"command no-such-command\",",
        "\"issue\":\"x/1\"",
        "\"measures\":{\"before\":1}",
    ] {
        assert!(by_needs.contains(part), "{part} is missing in {by_needs}");
    }
    let by_a_reason = last(&recorded, "cases::skips::by_a_reason");
    assert!(
        by_a_reason.contains(
            "\"kind\":\"runtime_skip\",\"constraint\":null,\"observed\":\"0 disks\\tof\\n3 GiB\"",
        ),
        "{by_a_reason}"
    );
}

#[test]
fn a_runtime_skip_runs_destructors_and_prints_no_panic() {
    let out = OURS.run(&["and_cleans_up", "--nocapture"]);
    assert!(out.stdout.contains("the disk is given back"), "{out:?}");
    assert_eq!(out.stderr, "");
}

#[test]
fn a_skip_that_is_caught_or_undetermined_fails() {
    let sample = Sample::build("runtime_skips");
    let out = on_stage(&sample, &["fails::"]);
    assert_eq!(out.code, Some(101));
    assert!(out.stdout.contains("0 passed; 4 failed"), "{}", out.stdout);
    let undetermined = out.line("cases::fails::by_what_cannot_be_told");
    assert!(
        undetermined.ends_with("FAILED (undetermined)"),
        "{undetermined}"
    );
    for text in [
        "a constraint is undetermined: needs when broken: the probe panicked: the probe broke",
        "something caught the unwinding",
        "from another thread (",
        "exited with code 3 before the test had ended",
    ] {
        assert!(
            out.stdout.contains(text),
            "{text:?} is missing in {}",
            out.stdout
        );
    }
    let recorded = sample.recorded();
    let undetermined = last(&recorded, "cases::fails::by_what_cannot_be_told");
    assert!(
        undetermined.contains("\"outcome\":\"undetermined\"")
            && undetermined.contains("\"constraint\":\"when broken\""),
        "{undetermined}"
    );
}

/// nextest looks at the exit code alone, and would take a skip in this phase for a pass.
#[test]
fn a_runtime_skip_fails_under_nextest() {
    for sample in ["runtime_skips", "runtime_skips_libtest"].map(Sample::build) {
        let mut command = sample.command(&["--exact", "cases::skips::by_needs", "--nocapture"]);
        command.env("NEXTEST", "1");
        let out = Finished::by(command);
        assert_eq!(out.code, Some(101), "{out:?}");
        let text = out.stdout + &out.stderr;
        assert!(
            text.contains("skipped at run time: needs kernel >= 99.1: "),
            "{text}"
        );
        let recorded = sample.recorded();
        let record = last(&recorded, "cases::skips::by_needs");
        assert!(
            record.contains("\"outcome\":\"failed\"") && record.contains("kernel >= 99.1"),
            "{record}"
        );
    }
}

#[test]
fn libtest_announces_and_counts_runtime_skips() {
    let sample = Sample::build("runtime_skips_libtest");
    let out = sample.run(&["cases::", "--skip", "users::"]);
    assert_eq!(out.code, Some(0), "{out:?}");
    let announced = out
        .stderr
        .matches("was SKIPPED (libtest prints it as \"ok\")")
        .count();
    assert_eq!(announced, 5, "{}", out.stderr);
    assert!(
        out.stderr.ends_with(
            "5 tests reported as \"ok\" were skipped; unmet requirements: command no-such-command \
             (2), kernel >= 99.1 (1)\n"
        ),
        "{}",
        out.stderr
    );
    let recorded = sample.recorded();
    assert_eq!(recorded.matches("\"outcome\":\"skipped\"").count(), 5);
    let out = PLAIN.run(&["and_cleans_up"]);
    assert!(
        out.stderr
            .ends_with("1 test reported as \"ok\" was skipped\n"),
        "{}",
        out.stderr
    );

    let out = on_stage(
        &PLAIN,
        &["fails::by_what", "fails::by_catching", "fails::by_another"],
    );
    assert!(out.stdout.contains("0 passed; 3 failed"), "{}", out.stdout);
    assert!(out.stdout.contains("the probe broke"), "{}", out.stdout);
}

#[test]
fn a_function_with_both_attributes_runs_once() {
    let out = PLAIN.run(&["twice"]);
    assert!(out.stdout.contains("1 passed; 1 failed"), "{}", out.stdout);
    assert!(
        out.stdout
            .contains("remove the `#[test]` above the attribute"),
        "{}",
        out.stdout
    );
}

#[test]
fn a_runtime_skip_of_a_test_requested_by_name_fails() {
    let out = OURS.run(&["--exact", "cases::skips::in_a_helper"]);
    assert_eq!(out.code, Some(101));
    assert!(
        out.stdout
            .contains("skipped at run time: needs command no-such-command: ")
            && out
                .stdout
                .contains("the test was requested by its full name"),
        "{}",
        out.stdout
    );
}

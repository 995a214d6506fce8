//! Expected failures, flaky and unstable tests: lines, exit codes and records.

use std::sync::LazyLock;

use crate::run::{Finished, Sample};

static OURS: LazyLock<Sample> = LazyLock::new(|| Sample::build("outcomes"));
static PLAIN: LazyLock<Sample> = LazyLock::new(|| Sample::build("outcomes_libtest"));

fn with(sample: &Sample, state: &str, args: &[&str]) -> Finished {
    let mut command = sample.command(args);
    command.env("SAMPLE", state);
    Finished::by(command)
}

/// Runs tests that count their attempts.
fn counted(sample: &Sample, args: &[&str]) -> Finished {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = sample.command(args);
    command.env("ATTEMPTS", folder.path());
    Finished::by(command)
}

/// The outcomes of a test's attempts, in the order of the records; a start is no outcome.
fn recorded(sample: &Sample, test: &str) -> Vec<(u64, String)> {
    let read = |line: &str| -> serde_json::Value { serde_json::from_str(line).expect("JSON") };
    let records = sample.recorded();
    let records = records.lines().map(read);
    let of_test = records.filter(|one| one["test"] == test && one["outcome"] != "lost");
    let of_test = of_test.map(|one| {
        let outcome = one["outcome"].as_str().expect("a text");
        (
            one["attempt"].as_u64().expect("a number"),
            outcome.to_owned(),
        )
    });
    of_test.collect()
}

#[test]
fn a_test_fails_as_it_is_expected_to() {
    let sample = Sample::build("outcomes");
    let out = sample.run(&["cases::expected::"]);
    assert_eq!(out.code, Some(0), "{out:?}");
    for (test, line) in [
        ("always", "expected failure"),
        (
            "with_a_message",
            "expected failure, kernel >= 2.6, issue x/1",
        ),
        ("by_an_error", "expected failure"),
        (
            "by_the_second",
            "expected failure, kernel < 99.1, issue x/2",
        ),
        ("by_a_crash", "expected failure"),
        ("by_a_timeout", "expected failure"),
        ("sometimes", "expected failure"),
        ("elsewhere", "ok"),
    ] {
        let found = out.line(&format!("cases::expected::{test}"));
        assert_eq!(found, format!("test cases::expected::{test} ... {line}"));
    }
    assert!(
        out.stdout
            .contains("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured;")
            && out.stdout.contains("; 7 failed as expected; finished in"),
        "{}",
        out.stdout
    );
    let records = sample.recorded();
    let record = records
        .lines()
        .rfind(|line| line.contains("with_a_message"));
    let record = record.expect("a record");
    assert!(
        record.contains(
            r#""outcome":"expected_failure","reasons":[],"issue":"x/1","reason":"kernel >= 2.6""#
        ),
        "{record}"
    );
}

#[test]
fn a_test_that_passes_now_fails_the_run() {
    let out = with(&OURS, "mended", &["cases::expected::"]);
    assert_eq!(out.code, Some(101), "{out:?}");
    for test in [
        "always",
        "with_a_message",
        "by_an_error",
        "by_the_second",
        "by_a_crash",
        "by_a_timeout",
    ] {
        let line = out.line(&format!("cases::expected::{test}"));
        assert!(line.ends_with(" ... FAILED (unexpected pass)"), "{line}");
    }
    for test in ["sometimes", "elsewhere"] {
        let line = out.line(&format!("cases::expected::{test}"));
        assert!(line.ends_with(" ... ok"), "{line}");
    }
    assert!(
        out.stdout.contains(
            "note: the test passed, but a failure is expected (kernel >= 2.6, issue x/1): remove its \
             `expect_failure`, or state when the test still fails\n"
        ),
        "{}",
        out.stdout
    );
}

#[test]
fn another_failure_is_a_failure() {
    let out = OURS.run(&["cases::not_so::"]);
    assert_eq!(out.code, Some(101), "{out:?}");
    for (test, line, note) in [
        (
            "another_text",
            "FAILED",
            "a failure is expected, and it does not contain \"no disk\"",
        ),
        (
            "a_crash",
            "FAILED (SIGABRT)",
            "a failure is expected (issue x/1), and a crash counts only with `expect_failure(crash)`",
        ),
        (
            "a_timeout",
            "FAILED (timed out after 50ms)",
            "a failure is expected, and a timeout counts only with `expect_failure(timeout)`",
        ),
        ("undetermined", "FAILED (undetermined)", "nobody knows"),
        ("elsewhere", "FAILED", "it is not expected here"),
    ] {
        let name = format!("cases::not_so::{test}");
        assert_eq!(out.line(&name), format!("test {name} ... {line}"));
        let output = format!("---- {name} stdout ----\n");
        let (_, output) = out.stdout.split_once(&output).expect("its output");
        let output = output.split("\n----").next().unwrap_or_default();
        assert!(output.contains(note), "{output}");
    }
}

#[test]
fn programs_are_told_in_libtests_words() {
    let out = OURS.run(&[
        "--format=json",
        "expected::with_a_message",
        "unstable::fails",
    ]);
    assert_eq!(out.code, Some(0));
    for part in [
        r#""event":"ok","name":"cases::expected::with_a_message","message":"expected failure: kernel >= 2.6, issue x/1""#,
        r#""event":"failed","name":"cases::unstable::fails""#,
        r#""reason":"races with the kernel""#,
        r#""expected_failures":1,"unstable":1"#,
    ] {
        assert!(out.stdout.contains(part), "{part}: {}", out.stdout);
    }
}

#[test]
fn under_libtest_a_failure_is_expected_too() {
    let out = PLAIN.run(&["cases::expected::", "--skip", "by_a_crash"]);
    assert_eq!(out.code, Some(0), "{out:?}");
    let announced = out
        .stderr
        .matches(" FAILED as expected (libtest prints it as \"ok\")");
    assert_eq!(announced.count(), 6, "{}", out.stderr);
    let out = with(
        &PLAIN,
        "mended",
        &["expected::always", "expected::sometimes"],
    );
    assert_eq!(out.code, Some(101), "{out:?}");
    assert!(
        out.stdout
            .contains("the test passed, but a failure is expected"),
        "{}",
        out.stdout
    );
    assert!(out.line("cases::expected::sometimes").ends_with("ok"));
}

/// Its record is not that of the attempt before, nor does the attempt stay lost.
#[test]
fn an_attempt_that_cannot_start_has_failed() {
    let sample = Sample::build("outcomes");
    let name = "cases::attempts::keeps_the_second_from_starting";
    let out = sample.run_unprivileged(&["--ignored", "--exact", name]);
    assert_eq!(out.code, Some(101), "{out:?}");
    assert!(
        out.stdout
            .contains("--- attempt 2 ---\ncannot start this test: fork: "),
        "{}",
        out.stdout
    );
    let failed = |attempt| (attempt, "failed".to_owned());
    assert_eq!(recorded(&sample, name), [failed(1), failed(2)]);
}

#[test]
fn a_test_that_passes_at_a_later_attempt_is_flaky() {
    for extra in [&[][..], &["--in-process"]] {
        let sample = Sample::build("outcomes");
        let args = [&["passes_at_the_third", "--test-threads=1"][..], extra].concat();
        let out = counted(&sample, &args);
        let name = "cases::attempts::passes_at_the_third";
        assert_eq!(out.code, Some(0), "{out:?}");
        for line in [
            format!("test {name} ... FAILED at attempt 1 of 3, runs again\n"),
            format!("test {name} ... FAILED at attempt 2 of 3, runs again\n"),
            format!("test {name} ... flaky, passed at attempt 3 of 3\n"),
            "; 1 flaky; finished in".to_owned(),
        ] {
            assert!(out.stdout.contains(&line), "{line}: {}", out.stdout);
        }
        let words = ["failed", "failed", "flaky"].map(str::to_owned);
        let expected: Vec<_> = (1..).zip(words).collect();
        assert_eq!(recorded(&sample, name), expected);
        if extra.is_empty() {
            assert!(
                out.stdout.contains("attempt 2 is too early"),
                "{}",
                out.stdout
            );
        }
    }
}

#[test]
fn retries_are_those_of_the_command_line_or_the_test() {
    let test = "passes_at_the_third";
    assert_eq!(counted(&OURS, &[test, "--retries=1"]).code, Some(101));
    assert_eq!(counted(&OURS, &[test, "--retries=0"]).code, Some(101));
    let test = "passes_at_the_second";
    assert_eq!(counted(&OURS, &[test]).code, Some(101));
    assert_eq!(counted(&OURS, &[test, "--retries=1"]).code, Some(0));
}

#[test]
fn a_test_is_repeated_until_it_fails() {
    let sample = Sample::build("outcomes");
    let out = counted(&sample, &["fails_at_the_third", "--repeat=5"]);
    assert_eq!(out.code, Some(101), "{out:?}");
    let name = "cases::attempts::fails_at_the_third";
    assert_eq!(
        out.line(name),
        format!("test {name} ... FAILED (at run 3 of 5)")
    );
    let words = ["passed", "passed", "failed"].map(str::to_owned);
    let expected: Vec<_> = (1..).zip(words).collect();
    assert_eq!(recorded(&sample, name), expected);
    assert_eq!(
        counted(&OURS, &["fails_at_the_third", "--repeat=2"]).code,
        Some(0)
    );
    let both = counted(&OURS, &["--repeat=2", "--retries=1"]);
    assert_eq!(both.code, Some(101));
    assert!(
        both.stderr.contains("mutually exclusive"),
        "{}",
        both.stderr
    );
}

#[test]
fn an_unstable_failure_is_told_and_fails_no_run() {
    let sample = Sample::build("outcomes");
    let out = sample.run(&["cases::unstable::"]);
    assert_eq!(out.code, Some(0), "{out:?}");
    let name = "cases::unstable::fails";
    assert_eq!(
        out.line(name),
        format!("test {name} ... unstable, races with the kernel")
    );
    assert!(out.line("cases::unstable::passes").ends_with(" ... ok"));
    for part in ["it lost the race", "; 1 unstable; finished in"] {
        assert!(out.stdout.contains(part), "{part}: {}", out.stdout);
    }
    assert_eq!(recorded(&sample, name), [(1, "unstable".to_owned())]);
}

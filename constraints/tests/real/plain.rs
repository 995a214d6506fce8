//! The sample under Rust's own harness.

use std::sync::LazyLock;

use crate::run::{Finished, Sample};

static PLAIN: LazyLock<Sample> = LazyLock::new(|| Sample::build("plain"));

/// libtest captures what tests print; a skip has to get past that, and be counted.
#[test]
fn skips_are_announced_and_counted() {
    let sample = Sample::build("plain");
    let out = sample.run(&["needs::much", "needs::a_probe", "passes::"]);
    assert_eq!(out.code, Some(0));
    let announced = out
        .stderr
        .lines()
        .filter(|line| line.contains(" was SKIPPED (libtest prints it as \"ok\"): "))
        .count();
    assert_eq!(announced, 2, "{}", out.stderr);
    assert!(
        out.stderr.ends_with(
            "2 tests reported as \"ok\" were skipped; unmet requirements: command no-such-command \
             (1), kernel >= 99.1 (1), when hearsay (1)\n"
        ),
        "{}",
        out.stderr
    );
    let recorded = sample.recorded();
    assert_eq!(
        recorded.matches("\"outcome\":\"skipped\"").count(),
        2,
        "{recorded}"
    );
    assert_eq!(
        recorded.matches("\"binary\":\"kata-test::plain\"").count(),
        recorded.lines().count()
    );
    assert!(
        recorded.contains("\"measures\":{\"count\":3,\"attach_ms\":12.5}}")
            || recorded.contains("\"measures\":{\"attach_ms\":12.5,\"count\":3}}"),
        "{recorded}"
    );
}

#[test]
fn ignored_and_should_panic_are_libtests_own() {
    let out = PLAIN.run(&["ignored::", "passes::"]);
    let line = out.line("cases::ignored::with_a_reason_and_unmet");
    assert!(line.ends_with("... ignored, takes a week"), "{line}");
    assert!(out.line("cases::passes::by_panicking_so").ends_with("ok"));
    assert_eq!(out.code, Some(0));
}

#[test]
fn failures_are_failures() {
    let mut command = PLAIN.command(&[
        "fails::by_panicking",
        "fails::by_a_result",
        "by_not",
        "broken",
    ]);
    command.env("SAMPLE", "fail");
    let out = Finished::by(command);
    assert_eq!(out.code, Some(101));
    assert!(out.stdout.contains("0 passed; 5 failed"), "{}", out.stdout);
    for text in [
        "the panic's own text",
        "the error's own text",
        "panic did not contain expected string",
        "test did not panic as expected",
        "the probe panicked: the probe broke",
    ] {
        assert!(
            out.stdout.contains(text),
            "{text:?} is missing in {}",
            out.stdout
        );
    }
}

/// nextest shows nothing but pass or fail of these, so an unmet one has to fail and say what to do.
#[test]
fn under_nextest_a_skip_is_a_failure() {
    let mut command = PLAIN.command(&["--exact", "cases::needs::much", "--nocapture"]);
    command.env("NEXTEST", "1");
    let out = Finished::by(command);
    assert_eq!(out.code, Some(101));
    assert!(out.stderr.contains("needs kernel >= 99.1") && out.stderr.contains("harness = false"));
}

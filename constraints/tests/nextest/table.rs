//! What every kind of test is shown as: by `cargo test`, by nextest, and in nextest's JUnit.
//!
//! No cell shows a skip as a pass but those of Rust's own harness under `cargo test`, and there it is
//! announced.

use std::process::Output;

use kata_test::kata_test;

use crate::output::{AS_ALL_TESTS, Finished, cargo, nextest};

/// A row: the target, its `SAMPLE`, the test, and what is shown.
struct Row {
    target: &'static str,
    sample: &'static str,
    test: &'static str,
    /// What stands behind ` ... ` in the line of `cargo test`, as far as it is given here.
    cargo: &'static str,
    nextest: &'static str,
    /// The element inside nextest's test case.
    junit: Option<&'static str>,
}

#[rustfmt::skip]
const TABLE: [Row; 24] = [
    Row { target: "sample", sample: "", test: "passes::with_a_result", cargo: "ok", nextest: "PASS", junit: None },
    Row { target: "sample", sample: "", test: "needs::much", cargo: "ignored, needs kernel >= 99.1: ", nextest: "SKIP", junit: Some("skipped") },
    Row { target: "sample", sample: "", test: "needs::a_probe", cargo: "ignored, needs when hearsay: ", nextest: "SKIP", junit: Some("skipped") },
    Row { target: "sample", sample: "", test: "ignored::plainly", cargo: "ignored", nextest: "SKIP", junit: Some("skipped") },
    Row { target: "sample", sample: "", test: "ignored::with_a_reason_and_unmet", cargo: "ignored, takes a week", nextest: "SKIP", junit: Some("skipped") },
    Row { target: "sample", sample: "fail", test: "needs::a_broken_probe", cargo: "FAILED (undetermined)", nextest: "FAIL", junit: Some("failure") },
    Row { target: "sample", sample: "fail", test: "fails::by_a_result", cargo: "FAILED", nextest: "FAIL", junit: Some("failure") },
    Row { target: "runtime_skips", sample: "", test: "skips::by_needs", cargo: "ignored, needs kernel >= 99.1: ", nextest: "FAIL", junit: Some("failure") },
    Row { target: "plain", sample: "", test: "passes::with_a_result", cargo: "ok", nextest: "PASS", junit: None },
    // nextest knows no outcome between a pass and a failure, and Rust's own harness none but those.
    Row { target: "outcomes", sample: "", test: "expected::with_a_message", cargo: "expected failure, kernel >= 2.6, issue x/1", nextest: "PASS", junit: None },
    Row { target: "outcomes", sample: "", test: "expected::by_a_crash", cargo: "expected failure", nextest: "PASS", junit: None },
    Row { target: "outcomes", sample: "", test: "not_so::another_text", cargo: "FAILED", nextest: "FAIL", junit: Some("failure") },
    Row { target: "outcomes", sample: "", test: "not_so::a_crash", cargo: "FAILED (SIGABRT)", nextest: "FAIL", junit: Some("failure") },
    Row { target: "outcomes", sample: "", test: "unstable::fails", cargo: "unstable, races with the kernel", nextest: "FAIL", junit: Some("failure") },
    Row { target: "outcomes", sample: "mended", test: "expected::always", cargo: "FAILED (unexpected pass)", nextest: "FAIL", junit: Some("failure") },
    Row { target: "outcomes", sample: "mended", test: "unstable::fails", cargo: "ok", nextest: "PASS", junit: None },
    Row { target: "outcomes_libtest", sample: "", test: "expected::with_a_message", cargo: "ok", nextest: "PASS", junit: None },
    Row { target: "outcomes_libtest", sample: "", test: "not_so::another_text", cargo: "FAILED", nextest: "FAIL", junit: Some("failure") },
    Row { target: "outcomes_libtest", sample: "", test: "unstable::fails", cargo: "FAILED", nextest: "FAIL", junit: Some("failure") },
    Row { target: "outcomes_libtest", sample: "mended", test: "expected::always", cargo: "FAILED", nextest: "FAIL", junit: Some("failure") },
    Row { target: "outcomes_libtest", sample: "mended", test: "unstable::fails", cargo: "ok", nextest: "PASS", junit: None },
    // The only pass that is none; see below.
    Row { target: "plain", sample: "", test: "needs::much", cargo: "ok", nextest: "FAIL", junit: Some("failure") },
    Row { target: "plain", sample: "", test: "ignored::with_a_reason_and_unmet", cargo: "ignored, takes a week", nextest: "SKIP", junit: Some("skipped") },
    Row { target: "plain", sample: "fail", test: "needs::a_broken_probe", cargo: "FAILED", nextest: "FAIL", junit: Some("failure") },
];

/// Runs some of a sample's tests by `cargo test`.
fn cargo_test(target: &str, sample: &str, filters: &[&str]) -> (String, String) {
    let records = tempfile::tempdir().expect("a folder");
    let mut command = cargo(&["test", "--quiet", "--no-fail-fast"]);
    command
        .args(AS_ALL_TESTS)
        .args(["--test", target, "--", "--format=pretty"])
        .args(filters)
        .env("KATA_TEST_RECORD_DIR", records.path())
        .env("SAMPLE", sample);
    let Output { stdout, stderr, .. } = command.output().expect("cargo");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (text(stdout), text(stderr))
}

/// The element inside a test's case, if there is one.
fn junit_element<'a>(out: &'a Finished, test: &str) -> Option<&'a str> {
    let name = format!("name=\"cases::{test}\"");
    let case = out
        .junit
        .split("<testcase ")
        .find(|case| case.contains(&name));
    let case = case.unwrap_or_else(|| panic!("no case of {test} in {}", out.junit));
    let (_, inner) = case.split_once('>').expect("an element");
    ["skipped", "failure", "error"]
        .into_iter()
        .find(|element| inner.contains(&format!("<{element}")))
}

#[kata_test(command = "cargo-nextest")]
fn every_harness_and_runner_shows_each_outcome() {
    for (target, sample) in [
        ("sample", ""),
        ("sample", "fail"),
        ("runtime_skips", ""),
        ("plain", ""),
        ("plain", "fail"),
        ("outcomes", ""),
        ("outcomes", "mended"),
        ("outcomes_libtest", ""),
        ("outcomes_libtest", "mended"),
    ] {
        let rows: Vec<&Row> = TABLE
            .iter()
            .filter(|row| (row.target, row.sample) == (target, sample))
            .collect();
        // A part of the name: the whole one would be asking for exactly this test.
        let filters: Vec<&str> = rows.iter().map(|row| &row.test[1..]).collect();
        let (stdout, stderr) = cargo_test(target, sample, &filters);
        let out = nextest(target, sample, &filters);
        for row in rows {
            let start = format!("test cases::{} ... ", row.test);
            let line = stdout.lines().find_map(|line| line.strip_prefix(&start));
            let line = line.unwrap_or_else(|| panic!("no line about {} in {stdout}", row.test));
            let whole = !row.cargo.ends_with(": ");
            assert!(
                if whole {
                    line == row.cargo
                } else {
                    line.starts_with(row.cargo)
                },
                "{} {}: {line}",
                target,
                row.test
            );
            assert_eq!(out.word(row.test), row.nextest, "{target} {}", row.test);
            assert_eq!(
                junit_element(&out, row.test),
                row.junit,
                "{target} {}",
                row.test
            );
        }
        if (target, sample) == ("outcomes_libtest", "") {
            let announced = "test cases::expected::with_a_message FAILED as expected (libtest prints it as \"ok\"): kernel >= 2.6, issue x/1";
            assert!(stderr.contains(announced), "{stderr}");
        }
        if (target, sample) == ("plain", "") {
            assert!(stderr.contains("test cases::needs::much was SKIPPED (libtest prints it as \"ok\"): needs kernel >= 99.1"), "{stderr}");
            assert!(
                stderr.contains("1 test reported as \"ok\" was skipped"),
                "{stderr}"
            );
        }
    }
}

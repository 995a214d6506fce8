//! The sample under the real nextest, which reads a list and exit codes only.
//!
//! Where there is no nextest these tests are skipped, and say so: they stand under our own harness.

mod editor;
mod many;
mod output;
mod shards;
mod table;

use kata_test::kata_test;
use output::{nextest, nextest_with};

kata_test::main!();

#[kata_test(command = "cargo-nextest")]
fn unmet_tests_are_shown_as_skipped() {
    let out = nextest("sample", "", &[]);
    assert_eq!(out.code, Some(0), "{}", out.text);
    for skipped in ["needs::much", "needs::a_probe", "ignored::plainly"] {
        assert_eq!(out.word(skipped), "SKIP", "{skipped}");
    }
    for passed in [
        "passes::with_a_result",
        "passes::by_panicking_so",
        "needs::drift",
    ] {
        assert_eq!(out.word(passed), "PASS", "{passed}");
    }
    let is_root = nix::unistd::geteuid().is_root();
    let of_root = if is_root { "PASS" } else { "SKIP" };
    assert_eq!(out.word("needs::root"), of_root);
    // To root this is provided.
    assert_eq!(out.word("needs::non_root"), "PASS");

    let much = out.record("needs::much");
    assert!(
        much.contains("\"phase\":\"list\"") && much.contains("\"outcome\":\"skipped\""),
        "{much}"
    );
    assert!(much.contains("\"constraint\":\"kernel >= 99.1\""), "{much}");
    let passed = out.record("passes::with_measures");
    // The id that this crate works out is nextest's own.
    assert!(
        passed.contains("\"binary\":\"kata-test::sample\""),
        "{passed}"
    );
    assert!(passed.contains("\"attach_ms\":12.5"), "{passed}");
}

#[kata_test(command = "cargo-nextest")]
fn drift_between_list_and_run_is_a_failure() {
    let out = nextest("sample", "drift", &["drift"]);
    assert_eq!(out.code, Some(100), "{}", out.text);
    assert_eq!(out.word("needs::drift"), "FAIL");
    assert!(
        out.text.contains("needs when drifts: the phase is run"),
        "{}",
        out.text
    );
    assert!(
        out.record("needs::drift")
            .contains("\"outcome\":\"failed\"")
    );
}

#[kata_test(command = "cargo-nextest")]
fn a_forced_unmet_test_is_a_failure_with_its_reason() {
    for ignored in ["only", "all"] {
        let out = nextest(
            "sample",
            "",
            &["--run-ignored", ignored, "much", "with_a_result"],
        );
        assert_eq!(out.code, Some(100), "{}", out.text);
        assert_eq!(out.word("needs::much"), "FAIL");
        assert!(
            out.text.contains("needs command no-such-command"),
            "{}",
            out.text
        );
    }
}

#[kata_test(command = "cargo-nextest")]
fn a_forced_ignored_test_runs() {
    let out = nextest("sample", "", &["--run-ignored", "only", "ignored::plainly"]);
    assert_eq!(out.word("ignored::plainly"), "FAIL");
    assert!(
        out.text.contains("ignored tests can be forced"),
        "{}",
        out.text
    );
}

#[kata_test(command = "cargo-nextest")]
fn an_undetermined_test_is_a_failure() {
    let out = nextest("sample", "fail", &["broken"]);
    assert_eq!(out.word("needs::a_broken_probe"), "FAIL");
    assert!(
        out.text.contains("the probe panicked: the probe broke"),
        "{}",
        out.text
    );
}

#[kata_test(command = "cargo-nextest")]
fn under_libtest_no_skip_is_a_pass() {
    let out = nextest("plain", "", &["needs::much", "with_a_result"]);
    assert_eq!(out.word("needs::much"), "FAIL");
    assert_eq!(out.word("passes::with_a_result"), "PASS");
    assert!(out.text.contains("harness = false"), "{}", out.text);
}

#[kata_test(command = "cargo-nextest")]
fn a_runtime_skip_fails_with_its_reason() {
    let out = nextest("runtime_skips", "", &["skips::", "goes_on::"]);
    assert_eq!(out.code, Some(100), "{}", out.text);
    assert_eq!(out.word("skips::by_needs"), "FAIL");
    assert_eq!(out.word("goes_on::where_needs_are_met"), "PASS");
    assert!(
        out.text
            .contains("skipped at run time: needs kernel >= 99.1"),
        "{}",
        out.text
    );
    let record = out.record("skips::by_a_reason");
    assert!(
        record.contains("\"outcome\":\"failed\"") && record.contains("0 disks"),
        "{record}"
    );
}

#[kata_test(command = "cargo-nextest")]
fn an_unmet_contract_fails_the_list_of_nextest() {
    let promise = ("KATA_TEST_EXPECT", "command = \"no-such-command\"");
    let out = nextest_with(promise, "sample", &[]);
    assert_eq!(out.code, Some(104), "{}", out.text);
    assert!(
        out.text
            .contains("this host does not meet KATA_TEST_EXPECT")
            && out.text.contains("needs command no-such-command"),
        "{}",
        out.text
    );
    assert_eq!(out.recorded, "", "no test has run");
}

#[kata_test(command = "cargo-nextest")]
fn a_skip_that_is_not_allowed_is_a_failure() {
    let allowance = ("KATA_TEST_MAY_SKIP", "kvm");
    let out = nextest_with(allowance, "sample", &["needs::much"]);
    assert_eq!(out.word("needs::much"), "FAIL");
    assert!(out.text.contains("is not allowed here"), "{}", out.text);
}

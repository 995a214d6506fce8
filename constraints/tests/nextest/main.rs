//! The sample under the real nextest, which knows a list and exit codes only.
//!
//! Where there is no nextest these tests are skipped, and say so: they stand under our own harness.

mod many;
mod output;
mod shards;
mod table;

use kata_test::kata_test;
use output::{nextest, nextest_with};

kata_test::main!();

#[kata_test(command = "cargo-nextest")]
fn unmet_tests_are_shown_as_skipped() {
    let said = nextest("sample", "", &[]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    for skipped in ["needs::much", "needs::a_probe", "ignored::plainly"] {
        assert_eq!(said.word(skipped), "SKIP", "{skipped}");
    }
    for passed in [
        "passes::with_a_result",
        "passes::by_panicking_so",
        "needs::drift",
    ] {
        assert_eq!(said.word(passed), "PASS", "{passed}");
    }
    let is_root = nix::unistd::geteuid().is_root();
    let of_root = if is_root { "PASS" } else { "SKIP" };
    assert_eq!(said.word("needs::root"), of_root);
    // To root this is provided.
    assert_eq!(said.word("needs::non_root"), "PASS");

    let much = said.record("needs::much");
    assert!(
        much.contains("\"phase\":\"list\"") && much.contains("\"outcome\":\"skipped\""),
        "{much}"
    );
    assert!(much.contains("\"constraint\":\"kernel >= 99.1\""), "{much}");
    let passed = said.record("passes::with_measures");
    // The id that this crate works out is nextest's own.
    assert!(
        passed.contains("\"binary\":\"kata-test::sample\""),
        "{passed}"
    );
    assert!(passed.contains("\"attach_ms\":12.5"), "{passed}");
}

#[kata_test(command = "cargo-nextest")]
fn drift_between_list_and_run_is_a_failure() {
    let said = nextest("sample", "drift", &["drift"]);
    assert_eq!(said.code, Some(100), "{}", said.text);
    assert_eq!(said.word("needs::drift"), "FAIL");
    assert!(
        said.text.contains("needs when drifts: the phase is run"),
        "{}",
        said.text
    );
    assert!(
        said.record("needs::drift")
            .contains("\"outcome\":\"failed\"")
    );
}

#[kata_test(command = "cargo-nextest")]
fn a_forced_unmet_test_is_a_failure_with_its_reason() {
    for ignored in ["only", "all"] {
        let said = nextest(
            "sample",
            "",
            &["--run-ignored", ignored, "much", "with_a_result"],
        );
        assert_eq!(said.code, Some(100), "{}", said.text);
        assert_eq!(said.word("needs::much"), "FAIL");
        assert!(
            said.text.contains("needs command no-such-command"),
            "{}",
            said.text
        );
    }
}

#[kata_test(command = "cargo-nextest")]
fn a_forced_ignored_test_runs() {
    let said = nextest("sample", "", &["--run-ignored", "only", "ignored::plainly"]);
    assert_eq!(said.word("ignored::plainly"), "FAIL");
    assert!(
        said.text.contains("ignored tests can be forced"),
        "{}",
        said.text
    );
}

#[kata_test(command = "cargo-nextest")]
fn an_undetermined_test_is_a_failure() {
    let said = nextest("sample", "fail", &["broken"]);
    assert_eq!(said.word("needs::a_broken_probe"), "FAIL");
    assert!(
        said.text.contains("the probe panicked: the probe broke"),
        "{}",
        said.text
    );
}

#[kata_test(command = "cargo-nextest")]
fn under_libtest_no_skip_is_a_pass() {
    let said = nextest("plain", "", &["needs::much", "with_a_result"]);
    assert_eq!(said.word("needs::much"), "FAIL");
    assert_eq!(said.word("passes::with_a_result"), "PASS");
    assert!(said.text.contains("harness = false"), "{}", said.text);
}

#[kata_test(command = "cargo-nextest")]
fn a_runtime_skip_fails_with_its_reason() {
    let said = nextest("runtime_skips", "", &["skips::", "goes_on::"]);
    assert_eq!(said.code, Some(100), "{}", said.text);
    assert_eq!(said.word("skips::by_needs"), "FAIL");
    assert_eq!(said.word("goes_on::where_needs_are_met"), "PASS");
    assert!(
        said.text
            .contains("skipped at run time: needs kernel >= 99.1"),
        "{}",
        said.text
    );
    let record = said.record("skips::by_a_reason");
    assert!(
        record.contains("\"outcome\":\"failed\"") && record.contains("0 disks"),
        "{record}"
    );
}

#[kata_test(command = "cargo-nextest")]
fn an_unmet_contract_fails_the_list_of_nextest() {
    let promise = ("KATA_TEST_EXPECT", "command = \"no-such-command\"");
    let said = nextest_with(promise, "sample", &[]);
    assert_eq!(said.code, Some(104), "{}", said.text);
    assert!(
        said.text
            .contains("this host does not meet KATA_TEST_EXPECT")
            && said.text.contains("needs command no-such-command"),
        "{}",
        said.text
    );
    assert_eq!(said.recorded, "", "no test has run");
}

#[kata_test(command = "cargo-nextest")]
fn a_skip_that_is_not_allowed_is_a_failure() {
    let allowance = ("KATA_TEST_MAY_SKIP", "kvm");
    let said = nextest_with(allowance, "sample", &["needs::much"]);
    assert_eq!(said.word("needs::much"), "FAIL");
    assert!(said.text.contains("is not allowed here"), "{}", said.text);
}

//! The sample as root sees it. Without root this is skipped, so it stands under our own harness.

// `folder` has a plain test of its own.
#[macro_use(test)]
extern crate kata_test;

#[path = "real/folder.rs"]
mod folder;
#[path = "real/run.rs"]
#[expect(
    dead_code,
    reason = "shared with the tests of `real`, which use all of it"
)]
mod run;

use kata_test::kata_test;
use run::Sample;

kata_test::main!();

#[kata_test(root, command = "cargo")]
fn as_root() {
    let said = Sample::build("sample").run(&["--test-threads=1"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    insta::assert_snapshot!(said.stable());
}

/// A test that was given another user asks about the host as that user.
#[kata_test(root, command = "cargo")]
fn what_is_required_half_way_is_judged_as_the_tests_own_user() {
    let said = Sample::build("halfway").run(&["users::"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.stdout.contains("2 passed; 0 failed; 0 ignored"),
        "{}",
        said.stdout
    );
}

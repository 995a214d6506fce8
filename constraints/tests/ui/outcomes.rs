//! `expect_failure`, `unstable` and `retries`.

use kata_test::kata_test;

#[kata_test(expect_failure = "6.5")]
fn no_list() {}

#[kata_test(expect_failure(message = ""))]
fn empty() {}

#[kata_test(expect_failure(timeout = "30s", reason = "of the test"))]
fn misplaced() {}

#[kata_test(expect_failure(message = "a", message = "b"))]
fn two_messages() {}

#[kata_test(expect_failure, expect_failure)]
fn twice() {}

#[kata_test(expect_failures(kernel_lt = "6.5"))]
fn mistyped() {}

#[kata_test(unstable)]
fn no_reason() {}

#[kata_test(unstable(issue = "x/1"))]
fn no_reason_either() {}

#[kata_test(retries = "2", retries = 3)]
fn no_number() {}

fn main() {}

//! Keys that are nearly metadata: rustc cannot suggest these.

use kata_test::kata_test;

#[kata_test(isue = "x/1", resaon = "because")]
fn mistyped() {}

#[kata_test(issue = "")]
fn empty() {}

fn main() {}

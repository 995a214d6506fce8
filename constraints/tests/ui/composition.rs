//! Other attributes that make tests, and what to write instead.

use kata_test::kata_test;
use rstest::rstest;

#[kata_test(root)]
#[tokio::test]
fn is_tokios_too() {}

#[kata_test(root)]
#[test]
fn is_a_test_already() {}

#[kata_test(root)]
#[rstest]
#[case(1)]
fn is_above_rstest(#[case] _number: u32) {}

/// As rstest's cases come out where `#[test]` is ours.
#[kata_test::test]
#[kata_test(root)]
fn is_ours_twice() {}

fn main() {}

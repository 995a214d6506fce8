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

#[rstest]
#[case(1)]
#[kata_test(root)]
fn is_below_rstest_under_the_wrong_name(#[case] _number: u32) {}

fn main() {}

//! Constraints in `expect_failure` are checked as others are.

use kata_test::kata_test;

#[kata_test(expect_failure(kernel_lt = "six"))]
fn bad_value() {}

fn main() {}

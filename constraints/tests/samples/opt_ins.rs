//! Tests with opt-ins, at several depths of a constraint.

use kata_test::kata_test;

#[kata_test(opt_in = "slow")]
fn takes_a_while() {}

#[kata_test(any(opt_in = "destructive", all(kernel_ge = "99", not(opt_in = "gentle"))))]
fn breaks_things() {}

#[kata_test]
fn finds_out_late() {
    kata_test::require!(opt_in = "late");
}

kata_test::main!();

//! Values of the wrong shape, and values that are missing.

use kata_test::kata_test;

#[kata_test(uid = "root", cpus_ge = 2.5)]
fn numbers_that_are_none() {}

#[kata_test(uid, kconfig, caps, container = "yes", real_root(0))]
fn missing_and_superfluous() {}

#[kata_test(cpus_ge = 99999999999, uid = -1)]
fn out_of_range() {}

fn main() {}

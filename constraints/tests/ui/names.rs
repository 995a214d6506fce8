//! Names that are no constraints, all at once.

use kata_test::kata_test;

#[kata_test(kernle_ge = "5.0", rot, kvmm)]
fn mistyped() {}

fn main() {}

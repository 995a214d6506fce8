//! A test of a binary that runs after hostile tests, for `tests/places` to run in a guest.

use kata_test::kata_test;

#[kata_test]
fn passes() {}

kata_test::main!();

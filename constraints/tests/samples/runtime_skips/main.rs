//! Tests that stop half-way. The tests in `tests/real/` run them and look at what is said.

mod cases;

kata_test::main!();

//! Tests that skip at run time. The tests in `tests/real/` run them.

mod cases;

kata_test::main!();

//! A test binary as a user writes it. The tests in `tests/real/` run it and look at what it says.

mod cases;

kata_test::main!();

//! Expected failures, flaky and unstable tests. The tests in `tests/real/` run them.

mod cases;

kata_test::main!();

//! `cargo kata-test` runs the tests of a workspace where their requirements are met.

use std::process::ExitCode;

fn main() -> ExitCode {
    cargo_kata_test::cli::main("cargo kata-test")
}

//! `cargo kata-test`: the tests of a workspace that say what they need, run where they can be.

use std::process::ExitCode;

fn main() -> ExitCode {
    cargo_kata_test::cli::main("cargo kata-test")
}

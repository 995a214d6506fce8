//! `cargo kata-test`: the tests of a workspace that say what they need, run where they can be.

use std::process::ExitCode;

fn main() -> ExitCode {
    iothread_it::cli::main("cargo kata-test")
}

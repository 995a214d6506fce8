//! The exit codes of the commands: nextest's, where it has one for the purpose.

use std::process::ExitCode;

use kata_test_runner::CargoError;

/// No test was selected: nextest's code.
pub const NO_TESTS: u8 = 4;

/// Cargo failed: its own code.
pub const CARGO_FAILED: u8 = 101;

/// The end of the help.
pub(super) const HELP: &str = "\
Exit codes:
  0    every test passed, or was skipped as allowed
  1    a test failed, was lost, or ran nowhere against the options; or another error
  2    the arguments are invalid
  4    no test is selected, or there are none (see --no-tests)
  101  cargo failed: there is no workspace, or it cannot be built
  130  interrupted";

/// Returns the exit code for an error.
pub(super) fn of(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref() {
        Some(CargoError::Failed { .. }) => ExitCode::from(CARGO_FAILED),
        _ => ExitCode::FAILURE,
    }
}

//! The option `--no-tests`.

use std::process::ExitCode;

use super::exit_codes;

/// What follows if no test runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum NoTests {
    Pass,
    Warn,
    #[default]
    Fail,
}

impl NoTests {
    /// Prints that no test ran, and returns the exit code.
    pub(super) fn report(self) -> ExitCode {
        match self {
            Self::Pass => println!("no tests to run"),
            Self::Warn => eprintln!("warning: no tests to run"),
            Self::Fail => {
                eprintln!("error: no tests to run (--no-tests=pass accepts that)");
                return ExitCode::from(exit_codes::NO_TESTS);
            }
        }
        ExitCode::SUCCESS
    }
}

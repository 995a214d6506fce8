//! The option `--no-tests`.

use std::process::ExitCode;

use kata_test_runner::TestSelection;

use super::exit_codes;
use super::selection::default_filter_note;

/// What follows if no test runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum NoTests {
    Pass,
    Warn,
    #[default]
    Fail,
}

impl NoTests {
    /// Prints that no test ran, and which options select tests. Returns the exit code.
    pub(super) fn report(self, selection: &TestSelection) -> ExitCode {
        let options = selection.to_string();
        let mut what = "no tests to run".to_owned();
        if selection.is_part() && !options.is_empty() {
            what += &format!(": `{options}` selects none");
        }
        if let Some(note) = default_filter_note(selection) {
            what += &format!("; {note}");
        }
        match self {
            Self::Pass => println!("{what}"),
            Self::Warn => eprintln!("warning: {what}"),
            Self::Fail => {
                eprintln!("error: {what}; `--no-tests=pass` accepts this");
                return ExitCode::from(exit_codes::NO_TESTS);
            }
        }
        ExitCode::SUCCESS
    }
}

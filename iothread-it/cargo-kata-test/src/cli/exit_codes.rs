//! The exit codes of the commands: nextest's, where it has one for the purpose.

use std::process::ExitCode;

use kata_test::__runner::ExitCodeMeaning;
use kata_test_runner::CargoError;

/// No test was selected: nextest's code.
pub const NO_TESTS: u8 = 4;

/// Cargo failed: its own code.
pub const CARGO_FAILED: u8 = 101;

/// A program was not run: the code of env(1) and docker.
pub const NOT_RUN: u8 = 125;

/// The command was interrupted: 128 + SIGINT.
pub const INTERRUPTED: u8 = 130;

/// All of them, also of a workspace's `xtask` that has these commands.
pub const EXIT_CODES: &[ExitCodeMeaning] = &[
    ExitCodeMeaning {
        code: 0,
        name: "success",
        meaning: "every test passed, or was skipped as allowed",
        step: "",
    },
    ExitCodeMeaning {
        code: 1,
        name: "failure",
        meaning: "a test failed or was lost; a test ran nowhere, which `--require-all` or `--allow-nowhere` does not accept; or another error",
        step: "read the list of failures, or the line that begins with `error:`",
    },
    ExitCodeMeaning {
        code: 2,
        name: "invalid arguments",
        meaning: "the arguments are invalid",
        step: "read the command's `--help`",
    },
    ExitCodeMeaning {
        code: NO_TESTS,
        name: "no tests",
        meaning: "no test is selected, or there are none (see --no-tests)",
        step: "correct the filters, or accept it with `--no-tests warn`",
    },
    ExitCodeMeaning {
        code: CARGO_FAILED,
        name: "cargo failed",
        meaning: "cargo failed: there is no workspace, or it cannot be built",
        step: "read what cargo printed before",
    },
    ExitCodeMeaning {
        code: NOT_RUN,
        name: "not run",
        meaning: "`run` and `shell` cannot start the program; otherwise their exit code is the program's",
        step: "read the line that begins with `error:`",
    },
    ExitCodeMeaning {
        code: INTERRUPTED,
        name: "interrupted",
        meaning: "interrupted by SIGINT (Ctrl-C) or SIGTERM",
        step: "run it again",
    },
];

/// The end of the help.
pub(super) fn help() -> String {
    let mut help = "Exit codes:".to_owned();
    for one in EXIT_CODES {
        help += &format!("\n  {:<3}  {}", one.code, one.meaning);
    }
    help
}

/// Returns the exit code for an error.
pub(super) fn of(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref() {
        Some(CargoError::Failed { .. }) => ExitCode::from(CARGO_FAILED),
        _ => ExitCode::FAILURE,
    }
}

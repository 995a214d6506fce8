//! The exit codes of a test binary with this harness.

/// An exit code of a program, for its documentation.
#[derive(Clone, Copy, Debug)]
pub struct ExitCodeMeaning {
    /// The code.
    pub code: u8,
    /// Its name.
    pub name: &'static str,
    /// What has happened.
    pub meaning: &'static str,
    /// What the user can do.
    pub step: &'static str,
}

/// What libtest exits with when a test fails or an argument is wrong.
pub(super) const FAILURE: u8 = 101;

/// The exit code that a shell reports for a program ended by this signal.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "signals are from 1 to 64"
)]
pub(super) const fn of_signal(signal: nix::libc::c_int) -> u8 {
    128 + signal as u8
}

/// All of them.
pub const EXIT_CODES: &[ExitCodeMeaning] = &[
    ExitCodeMeaning {
        code: 0,
        name: "success",
        meaning: "every test passed, was skipped as allowed, or was ignored; or the tests are listed",
        step: "",
    },
    ExitCodeMeaning {
        code: FAILURE,
        name: "failure",
        meaning: "a test failed, or its requirement is undetermined; a skip is not allowed; the host does not keep \
                  the contract; an argument or a variable is invalid; or output could not be written",
        step: "read the list of failures, or the line that begins with `error:`",
    },
    ExitCodeMeaning {
        code: of_signal(nix::libc::SIGHUP),
        name: "hangup",
        meaning: "interrupted by SIGHUP, or the runner has ended",
        step: "run it again",
    },
    ExitCodeMeaning {
        code: of_signal(nix::libc::SIGINT),
        name: "interrupted",
        meaning: "interrupted by SIGINT (Ctrl-C)",
        step: "the same",
    },
    ExitCodeMeaning {
        code: of_signal(nix::libc::SIGTERM),
        name: "terminated",
        meaning: "interrupted by SIGTERM",
        step: "the same",
    },
];

//! Being asked to stop: what Ctrl-C and its kin do to a run.

use std::process::ExitCode;

use nix::sys::signal::Signal;

/// The signal that asked this run to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interrupt(Signal);

impl Interrupt {
    /// The first of some signals that asks to stop.
    pub(super) fn among(signals: &[Signal]) -> Option<Self> {
        let stops = |signal: &&Signal| **signal != Signal::SIGCHLD;
        signals.iter().find(stops).copied().map(Self)
    }

    /// The end of the runner: as at the end of a terminal, nobody is left to work for.
    pub(super) fn runner_gone() -> Self {
        Self(Signal::SIGHUP)
    }

    pub(super) fn name(self) -> &'static str {
        self.0.as_str()
    }

    /// What a shell reports for a program that such a signal ended.
    pub(super) fn exit_code(self) -> ExitCode {
        ExitCode::from(128 + (self.0 as i32).to_le_bytes()[0])
    }
}

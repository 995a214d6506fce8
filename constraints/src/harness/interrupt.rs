//! Being asked to stop: what Ctrl-C and its kin do to a run.

use std::process::ExitCode;

use nix::sys::signal::Signal;

/// The signal that asked this run to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interrupt(Signal);

impl Interrupt {
    /// A signal that asks to stop.
    pub(super) fn by(signal: Signal) -> Option<Self> {
        let stops = matches!(signal, Signal::SIGINT | Signal::SIGTERM | Signal::SIGHUP);
        stops.then_some(Self(signal))
    }

    /// The end of the runner: as at the end of a terminal, nobody is left to work for.
    pub(super) fn runner_gone() -> Self {
        Self(Signal::SIGHUP)
    }

    /// Whether it means that a run that is already stopping is to end at once. A terminal that closes
    /// can send SIGHUP twice: by the kernel and by the shell.
    pub(super) fn is_urgent(self) -> bool {
        self.0 != Signal::SIGHUP
    }

    pub(super) fn name(self) -> &'static str {
        self.0.as_str()
    }

    /// What a shell reports for a program that such a signal ended.
    pub(super) fn exit_code(self) -> ExitCode {
        ExitCode::from(128 + (self.0 as i32).to_le_bytes()[0])
    }
}

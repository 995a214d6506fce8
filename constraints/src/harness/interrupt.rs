//! The interruption of a run, by Ctrl-C, SIGTERM or SIGHUP.

use std::process::ExitCode;

use nix::sys::signal::Signal;

use super::exit_codes::of_signal;

/// The signal that interrupted this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interrupt(Signal);

impl Interrupt {
    /// The interruption by a signal, if it is one that interrupts.
    pub(super) fn by(signal: Signal) -> Option<Self> {
        let stops = matches!(signal, Signal::SIGINT | Signal::SIGTERM | Signal::SIGHUP);
        stops.then_some(Self(signal))
    }

    /// The end of the runner, which has the effect of a closed terminal.
    pub(super) fn runner_gone() -> Self {
        Self(Signal::SIGHUP)
    }

    /// Whether it ends a run at once that is already stopping. A terminal that closes can send SIGHUP
    /// twice: by the kernel and by the shell.
    pub(super) fn is_urgent(self) -> bool {
        self.0 != Signal::SIGHUP
    }

    pub(super) fn name(self) -> &'static str {
        self.0.as_str()
    }

    /// The exit code that a shell reports for a program ended by this signal.
    pub(super) fn exit_code(self) -> ExitCode {
        ExitCode::from(of_signal(self.0 as i32))
    }
}

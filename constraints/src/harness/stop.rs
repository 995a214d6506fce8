//! Why the harness ends a test, and how that went.

use std::fmt;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::Pid;

use super::interrupt::Interrupt;

/// Why the harness ends a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The test's `timeout` is up.
    Timeout,
    /// The whole run is to stop.
    Interrupt(Interrupt),
}

/// How a test ended that the harness was to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Within the grace period.
    Terminated,
    /// By SIGKILL, after this grace period; without one it was not granted to its end.
    Killed(Option<Duration>),
    /// It has not ended.
    Alive {
        pid: Pid,
        /// Why the kernel refused to signal it.
        refused: Option<Errno>,
    },
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Terminated => f.write_str("terminated its process group"),
            Self::Killed(None) => f.write_str("killed its process group"),
            Self::Killed(Some(grace)) => write!(
                f,
                "killed its process group, which did not end within {grace:?} of SIGTERM"
            ),
            Self::Alive {
                pid,
                refused: Some(errno),
            } => write!(
                f,
                "process {pid} cannot be killed ({}) and still runs",
                errno.desc()
            ),
            Self::Alive { pid, refused: None } => write!(
                f,
                "process {pid} has not ended on SIGKILL (it may hang in the kernel)"
            ),
        }
    }
}

//! Why the harness ends a test, and with what result.

use std::fmt;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::Pid;

use super::interrupt::Interrupt;

/// Why the harness ends a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The test has exceeded its `timeout`.
    Timeout,
    /// The run is interrupted.
    Interrupt(Interrupt),
}

/// The result of ending a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It ended within the grace period.
    Terminated,
    /// SIGKILL ended it, after this grace period; `None` if that was cut short.
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
                "process {pid} did not end on SIGKILL (it may hang in the kernel)"
            ),
        }
    }
}

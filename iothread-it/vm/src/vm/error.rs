//! Errors of a VM, with the exit status and the output of QEMU.

use std::process::ExitStatus;

use crate::guest::AgentError;
use crate::process::ProcessError;
use crate::qemu::ThreadSetupError;
use crate::warm::RestoreOutcome;
use iothread_hotplug::StepError;
use qmp_client::QmpError;
use qmp_client::wait::Deadline;

/// Why a VM did not start, is not as requested, or did not shut down.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmError {
    /// QEMU could not be executed.
    #[error("cannot start QEMU")]
    Spawn(#[from] ProcessError),
    /// A socket or file for QEMU could not be made.
    #[error("cannot make a channel to QEMU")]
    Channel(#[source] std::io::Error),
    /// QEMU exited, or a QMP command failed.
    #[error("QEMU failed{report}")]
    Qmp {
        /// Why.
        source: QmpError,
        /// Exit status and output of QEMU.
        report: Box<ExitReport>,
    },
    /// The guest agent did not report in.
    #[error("the guest agent did not report in{report}")]
    Guest {
        /// Why.
        source: AgentError,
        /// Exit status of QEMU and output of the guest's console.
        report: Box<ExitReport>,
    },
    /// The state of the guest could not be saved or restored.
    #[error("the migration of the guest's state ended with status `{status}`{report}")]
    Migration {
        /// QEMU's `MigrationStatus`.
        status: String,
        /// Exit status and output of QEMU.
        report: Box<ExitReport>,
    },
    /// A cold-plugged device has another vq-mapping than configured.
    #[error("a cold-plugged device does not have the configured IOThreads")]
    Mapping(#[source] StepError),
    /// QEMU does not serve gdb.
    #[error("QEMU does not serve gdb: {0}")]
    Gdb(String),
    /// An IOThread could not be pinned, or its hook failed.
    #[error(transparent)]
    Threads(#[from] ThreadSetupError),
    /// QEMU did not exit in time and was killed.
    #[error("QEMU did not exit within {deadline} after `quit` and was killed")]
    QuitTimeout {
        /// The deadline.
        deadline: Deadline,
        /// The error of `quit`, if its reply was missing too.
        source: Option<QmpError>,
    },
}

impl VmError {
    /// Returns how a restore with this error ended.
    ///
    /// If the host is slow or out of memory, or QEMU was killed, the template may be intact.
    pub(super) fn restore_outcome(&self) -> RestoreOutcome {
        let exited_by_itself =
            |report: &ExitReport| matches!(report.exit.map(|exit| exit.code()), Some(Some(1..)));
        let is_unusable = match self {
            Self::Migration { status, .. } => status == "failed",
            Self::Qmp {
                source: QmpError::Closed { .. },
                report,
            } => exited_by_itself(report),
            Self::Guest { source, report } => match source {
                AgentError::Closed { .. } => exited_by_itself(report),
                AgentError::TimedOut { .. } => return RestoreOutcome::Hung,
                // The guest runs, but is not the one that was saved.
                _ => true,
            },
            _ => false,
        };
        match is_unusable {
            true => RestoreOutcome::Rejected,
            false => RestoreOutcome::Unknown,
        }
    }
}

/// The exit status of QEMU, and the end of its standard error and of the guest's console.
#[derive(Debug, Default)]
pub struct ExitReport {
    pub(super) exit: Option<ExitStatus>,
    pub(super) stderr: String,
    pub(super) console: String,
}

impl std::fmt::Display for ExitReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(exit) = self.exit {
            write!(f, "; QEMU exited with {exit}")?;
        }
        for (name, text) in [
            ("QEMU stderr", &self.stderr),
            ("guest console", &self.console),
        ] {
            if !text.trim().is_empty() {
                write!(f, "\n--- {name} ---\n{}", text.trim_end())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::time::Duration;

    use super::*;

    fn ended(raw: Option<i32>) -> Box<ExitReport> {
        Box::new(ExitReport {
            exit: raw.map(ExitStatus::from_raw),
            ..ExitReport::default()
        })
    }

    fn closed(raw: Option<i32>) -> VmError {
        VmError::Qmp {
            source: QmpError::Closed {
                awaited: "the end of the migration".into(),
                why: "the peer closed it".into(),
            },
            report: ended(raw),
        }
    }

    #[test]
    fn only_a_rejected_state_or_an_exit_shows_a_bad_template() {
        const EXIT_1: i32 = 1 << 8;
        const SIGKILL: i32 = 9;
        let deadline = Deadline::after(Duration::ZERO);
        let awaited = || "something".to_owned();
        let slow_qemu = VmError::Qmp {
            source: QmpError::TimedOut {
                awaited: awaited(),
                deadline,
                last_events: String::new(),
            },
            report: ended(None),
        };
        let slow_guest = VmError::Guest {
            source: AgentError::TimedOut {
                awaited: awaited(),
                deadline,
            },
            report: ended(None),
        };
        let cancelled = VmError::Migration {
            status: "cancelled".into(),
            report: ended(None),
        };
        assert_eq!(slow_guest.restore_outcome(), RestoreOutcome::Hung);
        for error in [slow_qemu, cancelled, closed(Some(SIGKILL)), closed(None)] {
            assert_eq!(error.restore_outcome(), RestoreOutcome::Unknown, "{error}");
        }
        let rejected = VmError::Migration {
            status: "failed".into(),
            report: ended(None),
        };
        for error in [rejected, closed(Some(EXIT_1))] {
            assert_eq!(error.restore_outcome(), RestoreOutcome::Rejected, "{error}");
        }
    }
}

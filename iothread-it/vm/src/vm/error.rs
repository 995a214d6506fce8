//! Why there is no VM, and what QEMU said of it.

use std::process::ExitStatus;

use crate::config::CpuList;
use crate::guest::AgentError;
use crate::process::ProcessError;
use crate::warm::RestoreOutcome;
use iothread_hotplug::StepError;
use iothread_pool::IoThreadId;
use qmp_client::QmpError;
use qmp_client::wait::Deadline;

/// Why there is no VM, or no orderly end of one.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// QEMU could not be executed.
    #[error("QEMU does not start")]
    Spawn(#[from] ProcessError),
    /// The channels could not be made.
    #[error("cannot make a channel to QEMU")]
    Channel(#[source] std::io::Error),
    /// QEMU ended, or did not speak QMP.
    #[error("QEMU does not come up{words}")]
    Qmp {
        /// Why.
        source: QmpError,
        /// How it ended and what it said, for a person.
        words: Box<LastWords>,
    },
    /// The guest did not come up.
    #[error("the guest does not come up{words}")]
    Guest {
        /// Why.
        source: AgentError,
        /// How QEMU ended and what the console said, for a person.
        words: Box<LastWords>,
    },
    /// The guest's state could not be saved, or not restored.
    #[error("the migration of the guest's state ended as `{status}`{words}")]
    Migration {
        /// QEMU's word for it.
        status: String,
        /// How QEMU ended and what it said.
        words: Box<LastWords>,
    },
    /// A device that is there from the start has another mapping than it was to have.
    #[error("a device does not have the IOThreads that it was to have")]
    Mapping(#[source] StepError),
    /// A thread of the pool could not be bound to the CPUs that the configuration names.
    #[error("cannot bind IOThread `{thread}` to CPU {cpus}")]
    Bind {
        /// The thread.
        thread: IoThreadId,
        /// Its CPUs.
        cpus: CpuList,
        /// Why.
        source: std::io::Error,
    },
    /// QEMU did not end in time and was killed.
    #[error("QEMU did not end within {deadline} after `quit` and was killed")]
    Lingers {
        /// How long it had.
        deadline: Deadline,
        /// What was missed, if not only its end: the reply.
        source: Option<QmpError>,
    },
}

impl VmError {
    /// Returns what a restore that failed so tells about its template.
    ///
    /// A host that is slow or out of memory, or a QEMU that was killed, tells nothing.
    pub(super) fn restore_outcome(&self) -> RestoreOutcome {
        let exited_by_itself =
            |words: &LastWords| matches!(words.exit.map(|exit| exit.code()), Some(Some(1..)));
        let is_unusable = match self {
            Self::Migration { status, .. } => status == "failed",
            Self::Qmp {
                source: QmpError::Closed { .. },
                words,
            } => exited_by_itself(words),
            Self::Guest { source, words } => match source {
                AgentError::Closed { .. } => exited_by_itself(words),
                AgentError::TimedOut { .. } => return RestoreOutcome::Hung,
                // The guest runs, and is not the one that was saved.
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

/// How QEMU ended, and the end of what it and its guest said.
#[derive(Debug, Default)]
pub struct LastWords {
    pub(super) exit: Option<ExitStatus>,
    pub(super) stderr: String,
    pub(super) console: String,
}

impl std::fmt::Display for LastWords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(exit) = self.exit {
            write!(f, "; it ended with {exit}")?;
        }
        for (name, text) in [("QEMU", &self.stderr), ("the console", &self.console)] {
            if !text.trim().is_empty() {
                write!(f, "\n--- {name} said ---\n{}", text.trim_end())?;
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

    fn ended(raw: Option<i32>) -> Box<LastWords> {
        Box::new(LastWords {
            exit: raw.map(ExitStatus::from_raw),
            ..LastWords::default()
        })
    }

    fn closed(raw: Option<i32>) -> VmError {
        VmError::Qmp {
            source: QmpError::Closed {
                awaited: "the end of the migration".into(),
                why: "the other end closed it".into(),
            },
            words: ended(raw),
        }
    }

    #[test]
    fn a_restore_that_is_slow_or_killed_does_not_blame_the_template() {
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
            words: ended(None),
        };
        let slow_guest = VmError::Guest {
            source: AgentError::TimedOut {
                awaited: awaited(),
                deadline,
            },
            words: ended(None),
        };
        let cancelled = VmError::Migration {
            status: "cancelled".into(),
            words: ended(None),
        };
        assert_eq!(slow_guest.restore_outcome(), RestoreOutcome::Hung);
        for error in [slow_qemu, cancelled, closed(Some(SIGKILL)), closed(None)] {
            assert_eq!(error.restore_outcome(), RestoreOutcome::Unknown, "{error}");
        }
        let rejected = VmError::Migration {
            status: "failed".into(),
            words: ended(None),
        };
        for error in [rejected, closed(Some(EXIT_1))] {
            assert_eq!(error.restore_outcome(), RestoreOutcome::Rejected, "{error}");
        }
    }
}

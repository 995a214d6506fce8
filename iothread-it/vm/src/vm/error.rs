//! Why there is no VM, and what QEMU said of it.

use std::process::ExitStatus;

use crate::config::CpuList;
use crate::guest::AgentError;
use crate::process::ProcessError;
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

//! Child processes that never outlive their parent: [`BoundedCommand`] runs a program to its end,
//! [`OwnedProcess`] keeps one running.
//!
//! If this process ends, also by SIGKILL, the kernel sends SIGKILL to its children
//! (`PR_SET_PDEATHSIG`). The kernel does so when the *thread* that forked ends. Therefore one thread,
//! which lasts as long as the process, forks all children.

mod command;
mod identity;
mod owned;
mod parent_death;
mod spawner;
mod tail;

pub use command::{BoundedCommand, CommandError, CommandOutput};
pub use identity::ProcessId;
pub use owned::{OwnedProcess, ProcessError};
pub(crate) use tail::OutputTail;

//! Processes that never outlive their owner: [`Run`] for what comes to an end, [`OwnedProcess`] for
//! what goes on.
//!
//! A child dies with this process, also when this process is killed with SIGKILL: the kernel sends
//! it SIGKILL (`PR_SET_PDEATHSIG`). The kernel does so when the *thread* ends that forked, so all
//! children are forked by one thread that lasts as long as the process.

mod identity;
mod owned;
mod parent_death;
mod run;
mod spawner;
mod tail;

pub use identity::ProcessId;
pub use owned::{OwnedProcess, ProcessError};
pub use run::{ChildError, Finished, Run};
pub(crate) use tail::Tail;

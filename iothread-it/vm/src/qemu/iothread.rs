//! What the host does to each IOThread that QEMU has started: CPUs, and a hook of the caller's.

use std::fmt;
use std::io;
use std::sync::Arc;

use iothread_pool::IoThreadId;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use qmp_client::command::QueryIothreads;
use qmp_client::wait::Deadline;
use qmp_client::{Qmp, QmpError};

use crate::config::{CpuList, IoThreads};

/// Is called with each IOThread and its thread id on the host, before the thread serves a device: those
/// that QEMU starts with, and those that are added later. It can put the thread into a cgroup or set its
/// scheduler.
#[derive(Clone)]
pub struct OnThreadStarted(Arc<Hook>);

type Hook = dyn Fn(&IoThreadId, i32) -> io::Result<()> + Send + Sync;

impl OnThreadStarted {
    /// Makes a hook. If it fails, so does the start of the VM, or [`add_thread`](crate::vm::Vm::add_thread).
    pub fn new(hook: impl Fn(&IoThreadId, i32) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(hook))
    }
}

impl fmt::Debug for OnThreadStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnThreadStarted")
    }
}

/// An IOThread that runs, but not as it is to run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ThreadSetupError {
    /// The threads could not be listed.
    #[error("cannot list the IOThreads")]
    List(#[source] QmpError),
    /// QEMU does not list the thread.
    #[error("QEMU has no IOThread `{0}`")]
    Missing(IoThreadId),
    /// The thread could not be pinned.
    #[error("cannot pin IOThread `{thread}` to CPUs {cpus}")]
    Pin {
        /// The thread.
        thread: IoThreadId,
        /// The CPUs.
        cpus: CpuList,
        /// The error of sched_setaffinity(2).
        source: io::Error,
    },
    /// The hook failed.
    #[error("the hook for IOThread `{thread}` failed")]
    Hook {
        /// The thread.
        thread: IoThreadId,
        /// The hook's error.
        source: io::Error,
    },
}

/// Pins threads to the configured CPUs and calls the hook.
pub(crate) fn set_up(
    qmp: &Qmp,
    config: &IoThreads,
    hook: Option<&OnThreadStarted>,
    threads: impl IntoIterator<Item = IoThreadId>,
    deadline: Deadline,
) -> Result<(), ThreadSetupError> {
    if config.cpus.is_empty() && hook.is_none() {
        return Ok(());
    }
    let found = qmp.execute(&QueryIothreads {}, deadline);
    let found = found.map_err(ThreadSetupError::List)?;
    for thread in threads {
        let Some(info) = found.iter().find(|info| info.id == thread.as_str()) else {
            return Err(ThreadSetupError::Missing(thread));
        };
        if let Some(cpus) = config.cpus_of(&thread) {
            pin(info.thread_id, cpus).map_err(|source| ThreadSetupError::Pin {
                thread: thread.clone(),
                cpus: cpus.clone(),
                source,
            })?;
        }
        if let Some(OnThreadStarted(hook)) = hook {
            hook(&thread, info.thread_id)
                .map_err(|source| ThreadSetupError::Hook { thread, source })?;
        }
    }
    Ok(())
}

/// Pins a thread, given by its thread id on the host.
///
/// With `aio=threads` the IOThread starts up to 64 worker threads, which inherit its CPUs.
fn pin(thread_id: i32, cpus: &CpuList) -> io::Result<()> {
    let mut set = CpuSet::new();
    cpus.iter().try_for_each(|cpu| set.set(cpu))?;
    Ok(sched_setaffinity(Pid::from_raw(thread_id), &set)?)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use qmp_client::mock::{peer, returns};

    use super::*;

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(30))
    }

    fn qmp() -> Qmp {
        let threads = r#"[{"id":"indep_iothread_0","thread-id":40,"poll-max-ns":0},
            {"id":"indep_iothread_1","thread-id":41,"poll-max-ns":0}]"#;
        let threads = threads.replace('\n', "");
        let stream = peer(move |name, id| {
            assert_eq!(name, "query-iothreads");
            returns(id, &threads)
        });
        Qmp::negotiate(stream, soon()).unwrap()
    }

    #[test]
    fn hook_gets_each_thread_with_its_id_on_the_host() {
        let called = Arc::new(Mutex::new(Vec::new()));
        let calls = Arc::clone(&called);
        let hook = OnThreadStarted::new(move |thread, tid| {
            calls.lock().unwrap().push((thread.to_string(), tid));
            Ok(())
        });
        let threads = [1, 0].map(IoThreadId::indep);
        set_up(&qmp(), &IoThreads::default(), Some(&hook), threads, soon()).unwrap();
        let expected = [(1, 41), (0, 40)].map(|(n, tid)| (format!("indep_iothread_{n}"), tid));
        assert_eq!(*called.lock().unwrap(), expected);
    }

    #[test]
    fn failure_of_the_hook_and_a_missing_thread_are_errors() {
        let hook = OnThreadStarted::new(|_, _| Err(io::ErrorKind::PermissionDenied.into()));
        let error = |n| {
            let thread = [IoThreadId::indep(n)];
            let error = set_up(&qmp(), &IoThreads::default(), Some(&hook), thread, soon());
            error.unwrap_err().to_string()
        };
        assert_eq!(error(0), "the hook for IOThread `indep_iothread_0` failed");
        assert_eq!(error(2), "QEMU has no IOThread `indep_iothread_2`");
    }
}

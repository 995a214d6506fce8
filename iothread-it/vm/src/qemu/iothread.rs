//! Pins IOThreads to host CPUs.

use std::io;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::config::CpuList;

/// Pins a thread, given by its thread id on the host.
///
/// With `aio=threads` the IOThread starts up to 64 worker threads, which inherit its CPUs.
pub(crate) fn pin(thread_id: i32, cpus: &CpuList) -> io::Result<()> {
    let mut set = CpuSet::new();
    cpus.iter().try_for_each(|cpu| set.set(cpu))?;
    Ok(sched_setaffinity(Pid::from_raw(thread_id), &set)?)
}

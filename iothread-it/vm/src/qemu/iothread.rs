//! An IOThread as QEMU makes it and as the host's kernel runs it.

use std::io;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::config::CpuList;

/// Binds a thread, by its number on the host, to CPUs of the host.
///
/// With `aio=threads` the worker threads that do its disks' I/O, up to 64, are started by it and
/// inherit its CPUs: one CPU for a thread is one for all of these.
pub(crate) fn bind(thread_id: i32, cpus: &CpuList) -> io::Result<()> {
    let mut set = CpuSet::new();
    cpus.iter().try_for_each(|cpu| set.set(cpu))?;
    Ok(sched_setaffinity(Pid::from_raw(thread_id), &set)?)
}

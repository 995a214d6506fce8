//! A disk in use, and a thread that is not.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use guest_vm::guest::Agent;
use guest_vm::guest::protocol::{Direction, Load, LoadReport};
use guest_vm::qemu::cpu_time::CpuTicks;
use iothread_hotplug::DiskSpec;
use iothread_hotplug::blocking::Hotplug;
use iothread_pool::IoThreadId;
use qmp_client::Qmp;
use qmp_client::command::QueryIothreads;

use crate::fixture::{Bench, extent, soon};

const LOAD_MS: u64 = 3000;

/// Loads a disk of the guest, writing, for a while in which something happens. The load must come to
/// its end, without one error.
pub(crate) fn under_load(
    bench: &mut Bench,
    disk: &DiskSpec,
    act: impl FnOnce(&mut Hotplug, &Qmp, &Agent) -> Result<()>,
) -> Result<LoadReport> {
    let (hotplug, qmp, agent) = bench.vm.parts();
    let running = agent.start_load(&load(disk, LOAD_MS), soon())?;
    act(hotplug, qmp, agent)?;
    let report = running.finish(soon())?;
    ensure!(report.errors == 0 && report.operations > 0, "{report:?}");
    Ok(report)
}

pub(crate) fn load(disk: &DiskSpec, duration_ms: u64) -> Load {
    Load {
        extent: extent(&disk.id, 16 << 20),
        direction: Direction::Write,
        threads: 1,
        cpus: Vec::new(),
        depth: 8,
        block_size: 4096,
        duration_ms,
        operations: None,
    }
}

/// Checks that a thread with nothing to do does nothing.
pub(crate) fn is_idle(bench: &Bench, thread: &IoThreadId) -> Result<()> {
    const SPAN: Duration = Duration::from_secs(1);
    let threads = bench.vm.qmp().execute(&QueryIothreads {}, soon())?;
    let found = threads.iter().find(|found| found.id == thread.as_str());
    let number = found.context("the thread is gone")?.thread_id;
    let used = || CpuTicks::of(bench.vm.process(), number);
    let before = used()?;
    std::thread::sleep(SPAN);
    let gained = used()?.since(before);
    ensure!(
        gained <= 10,
        "idle {thread} used {gained} ticks in {SPAN:?}"
    );
    Ok(())
}

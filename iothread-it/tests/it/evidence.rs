//! Who works while a disk is under load: by each thread's CPU time.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use iothread_it::guest::protocol::{Direction, Load};
use iothread_it::hotplug::DiskSpec;
use iothread_it::pool::IoThreadId;
use iothread_it::process::ProcessId;
use iothread_it::qemu::evidence::Ticks;
use iothread_it::qmp::Qmp;
use iothread_it::qmp::command::QueryIothreads;
use iothread_it::vm::Vm;

use crate::fixture::{extent, soon};

/// What a serving thread gains at the least in a load of [`DURATION_MS`]. It gains tens; an idle
/// one none, or one for a wake-up.
const SERVING: u64 = 5;
const IDLE: u64 = 1;

const DURATION_MS: u64 = 3000;

/// What each thread of the pool gained.
pub(crate) type Gained = BTreeMap<IoThreadId, u64>;

/// Loads a disk from one guest CPU and returns what each thread gained.
pub(crate) fn under_load(vm: &Vm, disk: &DiskSpec, cpu: u32) -> Result<Gained> {
    let load = Load {
        extent: extent(&disk.id, 32 << 20),
        direction: Direction::Read,
        threads: 1,
        cpus: vec![cpu],
        depth: 8,
        block_size: 4096,
        duration_ms: DURATION_MS,
        operations: None,
    };
    during(vm.qmp(), vm.process(), || {
        let report = vm.agent().start_load(&load, soon())?.finish(soon())?;
        ensure!(report.errors == 0 && report.operations > 0, "{report:?}");
        Ok(())
    })
}

/// Returns what each thread of QEMU's gained while something was done.
pub(crate) fn during(
    qmp: &Qmp,
    qemu: ProcessId,
    work: impl FnOnce() -> Result<()>,
) -> Result<Gained> {
    let before = ticks(qmp, qemu)?;
    work()?;
    let gained = |(thread, ticks): (IoThreadId, Ticks)| {
        let gained = ticks.since(before[&thread]);
        (thread, gained)
    };
    Ok(ticks(qmp, qemu)?.into_iter().map(gained).collect())
}

/// Checks that one thread worked, and no other of the pool.
pub(crate) fn only(serving: &IoThreadId, gained: &Gained) -> Result<()> {
    for (thread, ticks) in gained {
        let right = match thread == serving {
            true => *ticks >= SERVING,
            false => *ticks <= IDLE,
        };
        ensure!(right, "{serving} is to serve; ticks gained: {gained:?}");
    }
    ensure!(gained.contains_key(serving), "QEMU has no {serving}");
    Ok(())
}

/// Checks that no thread of the pool worked: the main loop did.
pub(crate) fn none(gained: &Gained) -> Result<()> {
    let idle = gained.values().all(|ticks| *ticks <= IDLE);
    ensure!(idle, "the main loop is to serve; ticks gained: {gained:?}");
    Ok(())
}

fn ticks(qmp: &Qmp, qemu: ProcessId) -> Result<BTreeMap<IoThreadId, Ticks>> {
    let threads = qmp.execute(&QueryIothreads {}, soon())?;
    threads
        .into_iter()
        .map(|thread| {
            let ticks = Ticks::of(qemu, thread.thread_id)?;
            Ok((IoThreadId::new(thread.id)?, ticks))
        })
        .collect()
}

//! Who serves a disk: by what QEMU was configured with, by each thread's CPU time under load, and by QEMU's own
//! trace of who took the requests.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use guest_vm::guest::protocol::{Direction, Load};
use guest_vm::process::ProcessId;
use guest_vm::qemu::Trace;
use guest_vm::qemu::cpu_time::CpuTicks;
use guest_vm::vm::Vm;
use iothread_hotplug::DiskSpec;
use iothread_pool::{Assignment, DeviceId, IoThreadId, Lease};
use qmp_client::Qmp;
use qmp_client::command::{QomGet, QueryIothreads};
use serde_json::{Value, json};

use crate::fixture::{extent, soon};

/// Minimum ticks of a serving thread. An idle one gains none, or one for a wake-up.
pub(crate) const SERVING: u64 = 5;
pub(crate) const IDLE: u64 = 1;

/// A load runs until the pool's threads have gained POOL_TICKS, or the main loop MAIN_LOOP_TICKS:
/// by then serving threads would have gained theirs. On a busy host that takes a while.
const POOL_TICKS: u64 = SERVING + 3 * IDLE;
const MAIN_LOOP_TICKS: u64 = 60;

/// Length of a load between two checks of the ticks.
const SLICE_MS: u64 = 500;

/// What each thread of the pool gained.
pub(crate) type Gained = BTreeMap<IoThreadId, u64>;

/// Loads a disk from one guest CPU until it shows who serves it, and returns what each thread gained.
pub(crate) fn under_load(vm: &Vm, disk: &DiskSpec, cpu: u32) -> Result<Gained> {
    let load = Load {
        extent: extent(&disk.id, 32 << 20),
        direction: Direction::Read,
        threads: 1,
        cpus: vec![cpu],
        depth: 8,
        block_size: 4096,
        duration_ms: SLICE_MS,
        operations: None,
    };
    until_shown(vm.qmp(), vm.process(), || {
        let report = vm.agent().start_load(&load, soon())?.finish(soon())?;
        ensure!(report.errors == 0 && report.operations > 0, "{report:?}");
        Ok(())
    })
}

/// Loads QEMU in slices until it shows who serves, and returns what each thread gained.
pub(crate) fn until_shown(
    qmp: &Qmp,
    qemu: ProcessId,
    mut slice: impl FnMut() -> Result<()>,
) -> Result<Gained> {
    let main_loop = || CpuTicks::of(qemu, qemu.pid());
    let (before, main_before) = (ticks(qmp, qemu)?, main_loop()?);
    let patience = soon();
    loop {
        slice()?;
        let gained = since(&before, ticks(qmp, qemu)?);
        let main = main_loop()?.since(main_before);
        if gained.values().sum::<u64>() >= POOL_TICKS || main >= MAIN_LOOP_TICKS {
            return Ok(gained);
        }
        ensure!(
            !patience.has_passed(),
            "no thread serves: {gained:?}, and the main loop {main}"
        );
    }
}

/// Returns what each thread of QEMU's gained while something was done.
pub(crate) fn during(
    qmp: &Qmp,
    qemu: ProcessId,
    work: impl FnOnce() -> Result<()>,
) -> Result<Gained> {
    let before = ticks(qmp, qemu)?;
    work()?;
    Ok(since(&before, ticks(qmp, qemu)?))
}

fn since(before: &BTreeMap<IoThreadId, CpuTicks>, now: BTreeMap<IoThreadId, CpuTicks>) -> Gained {
    let gained = |(thread, ticks): (IoThreadId, CpuTicks)| {
        let gained = ticks.since(before[&thread]);
        (thread, gained)
    };
    now.into_iter().map(gained).collect()
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

/// Shows in three ways that what a lease says serves a disk: that a thread does for the queue of a
/// guest's CPU, or that the main loop does and no thread of the pool.
pub(crate) fn three_ways(
    vm: &Vm,
    trace: &Trace,
    disk: &DiskSpec,
    lease: &Lease,
    queue: u32,
) -> Result<()> {
    configured(vm, &disk.id, &lease.assignment)?;
    let serving = serving(&lease.assignment, queue);
    let before = traced(vm, trace)?;
    let gained = under_load(vm, disk, queue)?;
    match serving {
        Some(thread) => only(thread, &gained)?,
        None => none(&gained)?,
    }
    let mut requests = traced(vm, trace)?;
    for (thread, count) in &mut requests {
        *count -= before.get(thread).unwrap_or(&0);
    }
    let others = requests
        .iter()
        .filter(|(thread, _)| thread.as_ref() != serving);
    let others: usize = others.map(|(_, count)| count).sum();
    let served = requests.get(&serving.cloned()).copied().unwrap_or(0);
    ensure!(
        served > 0 && others == 0,
        "{serving:?} is to serve; requests taken: {requests:?}"
    );
    Ok(())
}

/// The thread of a queue, `None` for the main loop.
fn serving(assignment: &Assignment, queue: u32) -> Option<&IoThreadId> {
    match assignment {
        Assignment::MainLoop => None,
        Assignment::Thread(thread) => Some(thread),
        Assignment::Mapped(mapping) => {
            let count = mapping.threads().count();
            let mut in_turn = (0u32..).zip(mapping.entries());
            in_turn.find_map(|(turn, (thread, queues))| {
                let serves = match queues {
                    Some(queues) => queues.iter().any(|named| u32::from(*named) == queue),
                    None => usize::try_from(queue).ok()? % count == usize::try_from(turn).ok()?,
                };
                serves.then_some(thread)
            })
        }
    }
}

/// Checks the configuration that QEMU reports.
fn configured(vm: &Vm, device: &DeviceId, assignment: &Assignment) -> Result<()> {
    let path = format!("/machine/peripheral/{device}");
    let property = |property| {
        let property = QomGet {
            path: &path,
            property,
        };
        vm.qmp().execute(&property, soon())
    };
    let link = property("iothread")?;
    let expected = match assignment {
        Assignment::Thread(thread) => format!("/objects/{thread}"),
        Assignment::MainLoop | Assignment::Mapped(_) => String::new(),
    };
    ensure!(link == expected.as_str(), "iothread is {link}");
    if let Assignment::Mapped(mapping) = assignment {
        let entries: Vec<Value> = mapping
            .entries()
            .map(|(thread, queues)| match queues {
                Some(queues) => json!({"iothread": thread.as_str(), "vqs": queues}),
                None => json!({"iothread": thread.as_str()}),
            })
            .collect();
        let message = property("iothread-vq-mapping")?;
        ensure!(
            message == json!(entries),
            "iothread-vq-mapping is {message}"
        );
    }
    Ok(())
}

/// The requests that each thread took so far. `None` is the main loop, whose number is QEMU's own.
fn traced(vm: &Vm, trace: &Trace) -> Result<BTreeMap<Option<IoThreadId>, usize>> {
    let events = trace.events()?;
    let count = |thread| events.get(&thread).copied().unwrap_or(0);
    let main_loop = (None, count(vm.process().pid()));
    let threads = vm.qmp().execute(&QueryIothreads {}, soon())?;
    let threads = threads.into_iter().map(|thread| {
        let requests = count(thread.thread_id);
        Ok((Some(IoThreadId::new(thread.id)?), requests))
    });
    std::iter::once(Ok(main_loop)).chain(threads).collect()
}

fn ticks(qmp: &Qmp, qemu: ProcessId) -> Result<BTreeMap<IoThreadId, CpuTicks>> {
    let threads = qmp.execute(&QueryIothreads {}, soon())?;
    threads
        .into_iter()
        .map(|thread| {
            let ticks = CpuTicks::of(qemu, thread.thread_id)?;
            Ok((IoThreadId::new(thread.id)?, ticks))
        })
        .collect()
}

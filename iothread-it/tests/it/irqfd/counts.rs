//! Counts what QEMU's threads do for a loaded disk, by its trace and by the kernel's count of wake-ups.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use guest_vm::guest::protocol::{Direction, Load};
use guest_vm::process::ProcessId;
use guest_vm::qemu::{Trace, VmSpec};
use iothread_pool::{DeviceId, IoThreadId, Placement};
use qmp_client::command::QueryIothreads;

use super::blocked::while_blocked;
use crate::fixture::{Bench, extent, scratch, soon};

/// How many requests a load makes.
const OPERATIONS: u64 = 2000;

/// How many of them are in flight.
pub(super) const DEPTH: u32 = 8;

/// How long the main loop is blocked.
const BLOCKED: Duration = Duration::from_secs(2);

const COMPLETED: &str = "virtio_blk_rw_complete";
/// A signal that is to be sent, up to QEMU 10, and one that is sent, from 9.0 on, for one or more of the first.
const SIGNALS: [&str; 2] = ["virtio_notify_irqfd", "virtio_notify_irqfd_deferred_fn"];
/// An interrupt that QEMU injects by its own interrupt controller.
const INJECTED: &str = "apic_deliver_irq";
const IOCTL: &str = "kvm_vm_ioctl";

/// Numbers of `linux/kvm.h`, as QEMU prints them: KVM gets an eventfd; QEMU injects an MSI, or sets a pin, by KVM's
/// interrupt controller.
const KVM_IRQFD: &str = "type 0x4020ae76,";
const KVM_SIGNAL_MSI: &str = "type 0x4020aea5,";
const KVM_IRQ_LINE_STATUS: &str = "type 0xc008ae67,";

/// What was counted.
#[derive(Debug)]
pub(super) struct Counts {
    /// Requests that the disk's thread completed.
    pub(super) requests: usize,
    /// Signals of that thread to guest or main loop.
    pub(super) signals: usize,
    /// Signals of all other threads.
    pub(super) signals_of_others: usize,
    /// Eventfds that KVM got from the attach on.
    pub(super) eventfds: usize,
    /// Interrupts that the main loop injected.
    pub(super) injected: usize,
    /// How often the main loop woke up.
    pub(super) wake_ups: usize,
}

/// Loads a disk on the first thread of a VM of this shape, and counts meanwhile.
pub(super) fn counted(shape: &VmSpec) -> Result<Counts> {
    let events = [COMPLETED, INJECTED, IOCTL].into_iter().chain(SIGNALS);
    traced(shape, events.collect(), of_a_load)
}

/// Requests of a load whose QEMU has a blocked main loop for a while.
#[derive(Debug)]
pub(super) struct Blocked {
    /// How many were completed meanwhile.
    pub(super) completed: usize,
    /// How many failed, or did not end after it.
    pub(super) errors: u64,
}

/// Blocks the main loop of such a VM for a while.
pub(super) fn load_while_blocked(shape: &VmSpec) -> Result<Blocked> {
    traced(shape, vec![COMPLETED], |bench, trace| {
        let disk = bench.disk("disk0")?;
        bench.attach(&disk, &Placement::Pinned(IoThreadId::indep(0)))?;
        let duration_ms = u64::try_from(3 * BLOCKED.as_millis())?;
        let load = load(&disk.id, duration_ms, None);
        let running = bench.vm.agent().start_load(&load, soon())?;
        let completed = || -> Result<usize> {
            let by_thread = trace.lines(|event, _| event == COMPLETED)?;
            Ok(by_thread.values().sum())
        };
        let count = while_blocked(&bench.vm, &bench.path("pipe"), || {
            let before = completed()?;
            // What does not happen meanwhile has no event.
            std::thread::sleep(BLOCKED);
            Ok(completed()? - before)
        })?;
        let report = running.finish(soon())?;
        ensure!(report.operations > 0, "{report:?}");
        kata_test::measure(
            "requests completed beside a blocked main loop",
            count as f64,
        );
        let errors = report.errors;
        kata_test::measure("requests that did not end", errors as f64);
        Ok(Blocked {
            completed: count,
            errors,
        })
    })
}

/// Boots a VM of this shape whose events are traced.
fn traced<T>(
    shape: &VmSpec,
    events: Vec<&'static str>,
    work: impl FnOnce(&mut Bench, &Trace) -> Result<T>,
) -> Result<T> {
    let folder = scratch()?;
    let trace = Trace::new(folder.path().to_owned(), events);
    let mut shape = VmSpec {
        trace: Some(trace.clone()),
        ..shape.clone()
    };
    // A guest may use this timer, whose interrupts are of the main loop.
    shape.arguments = vec!["-machine".into(), "hpet=off".into()];
    let mut result = None;
    Bench::run_shape(&shape, |bench| {
        result = Some(work(bench, &trace)?);
        Ok(())
    })?;
    result.context("the VM did nothing")
}

/// Reads by one thread of the guest.
pub(super) fn load(disk: &DeviceId, duration_ms: u64, operations: Option<u64>) -> Load {
    Load {
        extent: extent(disk, 32 << 20),
        direction: Direction::Read,
        threads: 1,
        cpus: vec![0],
        depth: DEPTH,
        block_size: 4096,
        duration_ms,
        operations,
    }
}

fn of_a_load(bench: &mut Bench, trace: &Trace) -> Result<Counts> {
    let eventfds = |snapshot: &Snapshot| snapshot.eventfds.values().sum::<usize>();
    let main_loop = bench.vm.process().pid();
    let unattached = Snapshot::take(trace, bench.vm.process())?;
    let (disk, id) = (bench.disk("disk0")?, IoThreadId::indep(0));
    bench.attach(&disk, &Placement::Pinned(id.clone()))?;
    let threads = bench.vm.qmp().execute(&QueryIothreads {}, soon())?;
    let serving = threads.iter().find(|thread| thread.id == id.as_str());
    let serving = serving.context("QEMU has no first thread")?.thread_id;
    let load = load(&disk.id, 50_000, Some(OPERATIONS));
    let before = Snapshot::take(trace, bench.vm.process())?;
    let running = bench.vm.agent().start_load(&load, soon())?;
    let report = running.finish(soon())?;
    let after = Snapshot::take(trace, bench.vm.process())?;
    ensure!(
        report.errors == 0 && report.operations == OPERATIONS,
        "{report:?}"
    );
    let by = |thread, counts: fn(&Snapshot) -> &ByThread| {
        of(counts(&after), thread) - of(counts(&before), thread)
    };
    let signals = by(serving, |all| &all.signals);
    let all_signals = |all: &Snapshot| all.signals.values().sum::<usize>();
    Ok(Counts {
        requests: by(serving, |all| &all.completed),
        signals,
        signals_of_others: all_signals(&after) - all_signals(&before) - signals,
        eventfds: eventfds(&after) - eventfds(&unattached),
        injected: by(main_loop, |all| &all.injected),
        wake_ups: after.wake_ups - before.wake_ups,
    })
}

type ByThread = BTreeMap<i32, usize>;

fn of(counts: &ByThread, thread: i32) -> usize {
    counts.get(&thread).copied().unwrap_or(0)
}

/// The signals of each thread, by the event that this QEMU has, or has more often.
fn signals(trace: &Trace) -> Result<ByThread> {
    let mut signals = ByThread::new();
    for name in SIGNALS {
        for (thread, count) in trace.lines(|event, _| event == name)? {
            let most = signals.entry(thread).or_default();
            *most = count.max(*most);
        }
    }
    Ok(signals)
}

/// All counts since QEMU was started.
struct Snapshot {
    completed: ByThread,
    signals: ByThread,
    eventfds: ByThread,
    injected: ByThread,
    wake_ups: usize,
}

impl Snapshot {
    fn take(trace: &Trace, qemu: ProcessId) -> Result<Self> {
        let is_ioctl = |event: &str, rest: &str, number| event == IOCTL && rest.starts_with(number);
        Ok(Self {
            completed: trace.lines(|event, _| event == COMPLETED)?,
            signals: signals(trace)?,
            eventfds: trace.lines(|event, rest| is_ioctl(event, rest, KVM_IRQFD))?,
            injected: trace.lines(|event, rest| {
                let mut ioctls = [KVM_SIGNAL_MSI, KVM_IRQ_LINE_STATUS].into_iter();
                event == INJECTED || ioctls.any(|number| is_ioctl(event, rest, number))
            })?,
            wake_ups: wake_ups(qemu)?,
        })
    }
}

/// How often the main loop has slept and woken up.
pub(super) fn wake_ups(qemu: ProcessId) -> Result<usize> {
    let pid = qemu.pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/status"))?;
    let mut lines = status.lines();
    let sleeps = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    Ok(sleeps.context("no count of sleeps")?.trim().parse()?)
}

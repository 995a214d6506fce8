//! What a guest or a QEMU that does not answer leaves behind: a disk keeps its thread and its slot
//! until it is gone for sure, and a detach can be called again.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use guest_vm::qemu::Topology;
use iothread_hotplug::{DetachError, DiskSpec, DiskState, Step, UnplugProgress};
use iothread_pool::Placement;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use qmp_client::QmpError;
use qmp_client::command::{Cont, Stop, SystemReset};
use qmp_client::wait::Deadline;

use crate::fixture::{Bench, is_outstanding, on_each_machine, soon};
use crate::raw::deleted;

on_each_machine!(
    unplug_of_a_stopped_vm_completes_after_cont,
    reset_completes_a_pending_removal,
    stopped_qemu_continues_after_sigcont,
    killed_qemu_is_reported_at_once;
    on every topology: stopped_guest_completes_unplug_after_cont,
);

/// A guest whose CPUs are stopped handles no request.
fn stopped_guest_completes_unplug_after_cont(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let disk = stuck_disk(bench)?;
        bench.vm.qmp().execute(&Cont {}, soon())?;
        bench.detach(&disk)?;
        bench.still_works()
    })
}

fn reset_completes_a_pending_removal(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let disk = stuck_disk(bench)?;
        let before = bench.vm.greeting().boot_id.clone();
        bench.vm.qmp().execute(&SystemReset {}, soon())?;
        bench.vm.qmp().execute(&Cont {}, soon())?;
        bench.vm.agent().greeting_after(&before, soon())?;
        bench.detach(&disk)?;
        bench.still_works()
    })
}

/// The event arrives while no call waits, and is processed later.
fn unplug_of_a_stopped_vm_completes_after_cont(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let disk = bench.disk("disk0")?;
        bench.attach(&disk, &Placement::First)?;
        let since = bench.vm.qmp().cursor();
        in_vain(bench, &disk)?;
        let progress = bench.vm.process_unplug_events()?;
        ensure!(progress == UnplugProgress::default(), "{progress:?}");

        bench.vm.qmp().execute(&Cont {}, soon())?;
        deleted(bench.vm.qmp(), "disk0", since)?;
        let progress = bench.vm.process_unplug_events()?;
        ensure!(progress.removed == [disk.id.clone()], "{progress:?}");
        ensure!(!bench.nodes()?.contains(&disk.id.to_string()));
        bench.still_works()
    })
}

/// Attaches a disk, stops the guest, and requests the disk's removal, which does not happen.
fn stuck_disk(bench: &mut Bench) -> Result<DiskSpec> {
    let disk = bench.disk("disk0")?;
    bench.attach(&disk, &Placement::First)?;
    let free_slots = bench.vm.pool().free_slots();
    // Twice: a repeated request is no other error.
    for _ in 0..2 {
        in_vain(bench, &disk)?;
        ensure!(
            bench.vm.pool().free_slots() == free_slots,
            "its slot is free"
        );
    }
    Ok(disk)
}

/// Asks a stopped guest for a disk.
fn in_vain(bench: &mut Bench, disk: &DiskSpec) -> Result<()> {
    bench.vm.qmp().execute(&Stop {}, soon())?;
    let deadline = Deadline::after(Duration::from_secs(1));
    let outcome = bench.vm.detach_by(&disk.id, deadline);
    ensure!(
        outcome.as_ref().is_err_and(is_outstanding),
        "a stopped guest completed an unplug: {outcome:?}"
    );
    bench.holds(disk, DiskState::RemovalPending)
}

/// SIGSTOP: the reply arrives after its call has timed out.
fn stopped_qemu_continues_after_sigcont(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let disk = bench.disk("disk0")?;
        let qemu = Pid::from_raw(bench.vm.process().pid());
        kill(qemu, Signal::SIGSTOP)?;
        let (hotplug, qmp, agent) = bench.vm.parts();
        let short = Deadline::after(Duration::from_millis(300));
        let outcome = hotplug.attach(qmp, agent, &disk, &Placement::First, short);
        kill(qemu, Signal::SIGCONT)?;
        let error = outcome.err().context("a stopped QEMU attached a disk")?;
        ensure!(error.step == Step::BlockdevAdd, "{error}");
        // Whether the node exists is unknown, so the lease is kept until it is removed.
        ensure!(error.rollback.is_err(), "{error}");
        bench.holds(&disk, DiskState::NodeOnly)?;
        bench.detach(&disk)?;
        bench.still_works()
    })
}

fn killed_qemu_is_reported_at_once(topology: Topology) -> Result<()> {
    let mut bench = Bench::boot(topology)?;
    let disk = bench.disk("disk0")?;
    bench.attach(&disk, &Placement::First)?;
    kill(Pid::from_raw(bench.vm.process().pid()), Signal::SIGKILL)?;
    let error = bench.vm.detach(&disk.id).err();
    let error = error.context("detach from a killed QEMU succeeded")?;
    let DetachError::Failed { source, .. } = &error else {
        bail!("{error}");
    };
    ensure!(matches!(source, QmpError::Closed { .. }), "{source}");
    let words = bench.vm.exit_report().to_string();
    ensure!(
        words.contains("signal: 9 (SIGKILL)"),
        "it ended so: {words}"
    );
    Ok(())
}

//! SCSI disks on a controller that has a thread, and devices that the guest ejects.

use anyhow::{Context, Result, ensure};
use guest_vm::guest::AgentError;
use guest_vm::guest::protocol::{FailureKind, Presence};
use guest_vm::qemu::Topology;
use iothread_hotplug::{DiskSpec, ScsiController};
use iothread_pool::{DeviceId, IoThreadId, Placement};
use nix::errno::Errno;

use super::load::{is_idle, load, under_load};
use super::regressions;
use crate::devices::scsi::detach;
use crate::fixture::{Bench, serial, soon};
use crate::raw::deleted;

regressions!(with a guest:
    ["qemu commit a6f230c8"] scsi_disk_is_replugged: guard(
        "QEMU before 4.0, that left a disk's node in its controller's thread",
        "without `blockdev-del` in a detach",
    );
    ["qemu commit 9c5aad84"] scsi_disk_is_unplugged_under_load: guard(
        "QEMU 4.0, that looked for a disk's thread after it was gone",
        "without the detach",
    );
    ["RHBZ#2155748"] scsi_reset_during_unplug: reproduced(
        (when = seen::bookworm, message = "blk_drain: Assertion `qemu_in_main_thread()' failed"),
    );
    ["RHBZ#2079347"] an_idle_controller_uses_no_cpu: guard(
        "QEMU 7.0, that polled the event queue for ever",
        "if its disk is loaded",
    );
    ["qemu-project/qemu#1272"] scsi_write_cache_is_switched_under_load: guard(
        "QEMU 7.1, that switched a cache in the main loop without its thread's lock",
        "if the disk is detached meanwhile",
    );
    ["qemu-project/qemu#1680"] scsi_controller_is_replugged_repeatedly: guard(
        "QEMU 8.0.50, that let a thread run before its controller's memory was mapped",
        "without the controller's detach",
    );
    ["qemu commit ca2a5e63"] quit_under_scsi_load: race(
        (when = seen::bookworm, message = "QEMU did not end within 20.0 s after `quit`"),
    );
    ["Proxmox VE #6810"] scsi_reset_under_load_completes: reproduced(
        (when = seen::bookworm, message = "blk_drain: Assertion `qemu_in_main_thread()' failed"),
    );
    ["qemu-project/qemu#4079"] device_ejected_by_the_guest_releases_its_thread: guard(
        "QEMU 10.0.3 to 11.1-rc with a balloon's driver in the guest",
        "if `process_unplug_events` ignores `Attached`",
    );
    ["tp-qemu block_hotplug_negative"] disk_ejected_by_the_guest_is_released: guard(
        "a pool that waits for its own requests only (drop `Attached` from `process_unplug_events`)",
        "if `process_unplug_events` ignores `Attached`",
    );
);

/// Runs a case with a controller on thread 1 and a disk on it.
fn with_a_disk(
    topology: Topology,
    case: impl FnOnce(&mut Bench, &DeviceId, &DiskSpec) -> Result<()>,
) -> Result<()> {
    Bench::run(topology, |bench| {
        let scsi0 = controller(bench)?;
        let disk = bench.disk("disk0")?;
        attach(bench, &scsi0, &disk)?;
        case(bench, &scsi0, &disk)?;
        bench.still_works()
    })
}

fn controller(bench: &mut Bench) -> Result<DeviceId> {
    let controller = ScsiController::new(DeviceId::new("scsi0")?);
    let (hotplug, qmp, _) = bench.vm.parts();
    let placement = Placement::Pinned(IoThreadId::indep(1));
    hotplug.attach_controller(qmp, &controller, &placement, soon())?;
    Ok(controller.id)
}

fn attach(bench: &mut Bench, controller: &DeviceId, disk: &DiskSpec) -> Result<()> {
    let (hotplug, qmp, agent) = bench.vm.parts();
    hotplug.attach_on(qmp, agent, controller, disk, soon())?;
    Ok(())
}

fn scsi_disk_is_replugged(topology: Topology) -> Result<()> {
    with_a_disk(topology, |bench, scsi0, disk| {
        for _ in 0..3 {
            detach(bench, disk)?;
            attach(bench, scsi0, disk)?;
        }
        detach(bench, disk)?;
        Ok(bench.vm.detach(scsi0)?)
    })
}

fn scsi_disk_is_unplugged_under_load(topology: Topology) -> Result<()> {
    with_a_disk(topology, |bench, scsi0, disk| {
        let (hotplug, qmp, agent) = bench.vm.parts();
        let running = agent.start_load(&load(disk, 600_000), soon())?;
        hotplug.detach(qmp, &disk.id, soon())?;
        let report = running.finish(soon())?;
        ensure!(report.operations > 0 && report.errors > 0, "{report:?}");
        Ok(bench.vm.detach(scsi0)?)
    })
}

fn scsi_reset_during_unplug(topology: Topology) -> Result<()> {
    with_a_disk(topology, |bench, scsi0, disk| {
        let other = bench.disk("disk1")?;
        for _ in 0..8 {
            attach(bench, scsi0, &other)?;
            let (hotplug, qmp, agent) = bench.vm.parts();
            let running = agent.start_load(&load(&other, 600_000), soon())?;
            agent.reset_disk(&serial(&other.id), soon())?;
            let (reset, detached) = std::thread::scope(|scope| {
                let reset = scope.spawn(|| agent.reset_disk(&serial(&other.id), soon()));
                let detached = hotplug.detach(qmp, &other.id, soon());
                (reset.join().expect("a reset does not panic"), detached)
            });
            detached?;
            // Which of the two comes first is open.
            if let Err(error) = reset {
                ensure!(is_gone(&error), "the reset failed: {error}");
            }
            running.finish(soon())?;
            agent.await_disk(&serial(&other.id), Presence::Absent, soon())?;
        }
        detach(bench, disk)?;
        Ok(bench.vm.detach(scsi0)?)
    })
}

/// Whether an agent found no disk, or one on its way out. Linux reports EIO for a reset
/// that no longer completes: this one runs beside the removal of its disk, which has succeeded by then.
fn is_gone(error: &AgentError) -> bool {
    let AgentError::Failed(failure) = error else {
        return false;
    };
    let errno = match failure.kind {
        FailureKind::NoSuchDisk => return true,
        FailureKind::Io { errno } => errno.map(Errno::from_raw),
        _ => return false,
    };
    matches!(
        errno,
        Some(Errno::ENOENT | Errno::ENODEV | Errno::ENXIO | Errno::EIO)
    )
}

fn an_idle_controller_uses_no_cpu(topology: Topology) -> Result<()> {
    with_a_disk(topology, |bench, _, disk| {
        let other = bench.disk("disk1")?;
        // QEMU 7.0 began to poll with the first event: a disk that came or went.
        attach(bench, &DeviceId::new("scsi0")?, &other)?;
        detach(bench, &other)?;
        is_idle(bench, &IoThreadId::indep(1))?;
        detach(bench, disk)
    })
}

fn scsi_write_cache_is_switched_under_load(topology: Topology) -> Result<()> {
    with_a_disk(topology, |bench, _, disk| {
        let disks = bench.vm.agent().disks(soon())?;
        let found = disks.iter().find(|d| d.serial == serial(&disk.id));
        let name = &found.context("the guest has no disk")?.name;
        let path = format!("/sys/block/{name}/device/scsi_disk/*/cache_type");
        under_load(bench, disk, |_, _, agent| {
            for kind in ["write through", "write back"].iter().cycle().take(10) {
                agent.set_attribute(&path, kind, soon())?;
            }
            Ok(())
        })?;
        detach(bench, disk)
    })
}

fn scsi_controller_is_replugged_repeatedly(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let disk = bench.disk("disk0")?;
        for _ in 0..5 {
            let scsi0 = controller(bench)?;
            attach(bench, &scsi0, &disk)?;
            detach(bench, &disk)?;
            bench.vm.detach(&scsi0)?;
        }
        bench.still_works()
    })
}

fn quit_under_scsi_load(topology: Topology) -> Result<()> {
    let mut bench = Bench::boot(topology)?;
    let scsi0 = controller(&mut bench)?;
    let disk = bench.disk("disk0")?;
    attach(&mut bench, &scsi0, &disk)?;
    let _ = bench.vm.agent().start_load(&load(&disk, 600_000), soon())?;
    let exit = bench.vm.shutdown()?;
    ensure!(exit.success(), "QEMU ended with {exit}");
    Ok(())
}

/// The guest gives up its requests and makes them again: none fails.
fn scsi_reset_under_load_completes(topology: Topology) -> Result<()> {
    with_a_disk(topology, |bench, _, disk| {
        under_load(bench, disk, |_, _, agent| {
            for _ in 0..3 {
                agent.reset_disk(&serial(&disk.id), soon())?;
            }
            Ok(())
        })?;
        detach(bench, disk)
    })
}

/// What the guest writes to a slot's `power` ejects what is in it, without a `device_del`.
fn eject_all(bench: &Bench, device: &str) -> Result<()> {
    let since = bench.vm.qmp().cursor();
    let agent = bench.vm.agent();
    agent.set_attribute("/sys/bus/pci/slots/*/power", "0", soon())?;
    deleted(bench.vm.qmp(), device, since)?;
    Ok(())
}

fn device_ejected_by_the_guest_releases_its_thread(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let balloon = DeviceId::new("balloon0")?;
        let (hotplug, qmp, _) = bench.vm.parts();
        let thread = IoThreadId::indep(2);
        let placement = Placement::Pinned(thread.clone());
        hotplug.attach_balloon(qmp, &balloon, &placement, soon())?;
        // Once the guest has a disk that came later, it has the balloon too.
        let disk = bench.disk("disk0")?;
        bench.attach(&disk, &Placement::First)?;
        eject_all(bench, "balloon0")?;
        let progress = bench.vm.process_unplug_events()?;
        ensure!(progress.removed.contains(&balloon), "{progress:?}");
        let (hotplug, qmp, _) = bench.vm.parts();
        hotplug.remove_thread(qmp, &thread)?;
        bench.still_works()
    })
}

fn disk_ejected_by_the_guest_is_released(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let free_slots = bench.vm.pool().free_slots();
        let disk = bench.disk("disk0")?;
        bench.attach(&disk, &Placement::First)?;
        eject_all(bench, "disk0")?;
        let progress = bench.vm.process_unplug_events()?;
        ensure!(progress.removed == [disk.id.clone()], "{progress:?}");
        ensure!(bench.vm.pool().free_slots() == free_slots, "a slot is lost");
        ensure!(
            !bench.nodes()?.contains(&disk.id.to_string()),
            "its node is left"
        );
        bench.still_works()
    })
}

//! A guest that uses its disk while QEMU does something to it. A load that gets stuck does not end,
//! and its end has a deadline.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use guest_vm::config::{Aio, IoThreadProperties};
use guest_vm::guest::protocol::Presence;
use guest_vm::qemu::{Topology, VmSpec};
use iothread_hotplug::DiskSpec;
use iothread_pool::{IoThreadId, Placement};
use qmp_client::Qmp;
use qmp_client::command::{Cont, Stop, SystemReset};
use qmp_client::wait::Deadline;
use serde_json::json;

use super::load::{is_idle, load, under_load};
use super::regressions;
use crate::fixture::{Bench, DISK_SIZE, extent, is_outstanding, serial, shape, soon};
use crate::raw::{self, deleted, job};

regressions!(with a guest:
    ["qemu-project/qemu#1577"] ignored_device_del_can_be_repeated: guard(
        "QEMU 6.2 to 8.0 as released; 7.2.22 has the repair",
        "with native hotplug, where QEMU releases the device at once",
    );
    ["qemu-project/qemu#1577"] device_del_before_guest_boot_is_completed: guard(
        "QEMU 6.2 to 8.0 with a guest that clears what is pending when it begins",
        "if the guest is left stopped",
    );
    ["RHEL-3934"] hotplug_does_not_disturb_other_disks_of_the_thread: guard(
        "QEMU that forgets a queue after a drained section, or polls for ever to remember it",
        "if the loaded disk itself goes and comes",
    );
    ["qemu-iotests iothreads-resize"] loaded_disk_is_resized: guard(
        "QEMU whose block_resize waits for a thread that waits for it (8.1)",
        "without the last step",
    );
    ["RHEL-15394"] stop_and_cont_under_load: guard(
        "QEMU without bfa36802: stop waits for requests of a thread that waits for stop",
        "without the last `cont`",
    );
    ["qemu commit ca2a5e63"] quit_under_load: race(
        (when = seen::bookworm, message = "QEMU did not end within 20.0 s after `quit`"),
    );
    ["Proxmox VE: io_uring after hotplug"]
    loaded_io_uring_disk_is_resized needs (when = crate::fixture::io_uring): guard(
        "QEMU 9.0 that resizes a ring in the wrong thread, or 10.1 that leaves a request in it",
        "without the last step",
    );
    ["qemu-iotests graph-changes-while-io"] snapshot_and_commit_under_load: guard(
        "QEMU that changes a loaded disk's chain while its thread walks along it",
        "without the commits",
    );
    ["qemu-project/qemu#1215"] two_disks_of_one_thread_are_streamed_under_load: guard(
        "QEMU whose stream job runs beside the thread of its disk",
        "without the second stream",
    );
    ["qemu-iotests 155"] loaded_disk_is_mirrored: guard(
        "QEMU that takes a mirror's target to another thread than its source",
        "if the mirror is cancelled and not completed",
    );
    ["qemu-project/qemu#238"] throttled_disk_is_unplugged_under_load: guard(
        "QEMU that throttles requests of a disk that is gone",
        "if the node goes before DEVICE_DELETED",
    );
    ["tp-qemu unplug_block_during_io_reboot"] pending_unplug_completes_at_reset_under_load: guard(
        "QEMU that stops a thread at a reset before its requests are done",
        "without the reset",
    );
);

/// Runs a case with one disk attached to thread 0, and takes it off whole at the end.
fn with_a_disk(
    topology: Topology,
    case: impl FnOnce(&mut Bench, &DiskSpec) -> Result<()>,
) -> Result<()> {
    with_a_disk_of(&shape(topology)?, case)
}

fn with_a_disk_of(
    shape: &VmSpec,
    case: impl FnOnce(&mut Bench, &DiskSpec) -> Result<()>,
) -> Result<()> {
    Bench::run_shape(shape, |bench| {
        let disk = bench.disk("disk0")?;
        bench.attach(&disk, &Placement::First)?;
        case(bench, &disk)?;
        bench.vm.detach(&disk.id)?;
        bench.still_works()
    })
}

/// QEMU 6.2 to 8.0 take one request, and then refuse all others forever, though no guest was notified
/// of it. (The guest does not look at a root port's address 1.)
fn ignored_device_del_can_be_repeated(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let qmp = bench.vm.qmp();
        let node = json!({"driver": "null-co", "node-name": "n0", "read-zeroes": true});
        qmp.execute(&raw::BlockdevAdd(node), soon())?;
        let device = json!({"driver": "virtio-blk-pci", "id": "unseen", "drive": "n0",
                            "bus": "rp3", "addr": "1", "iothread": "indep_iothread_3"});
        qmp.execute(&raw::DeviceAdd(device), soon())?;
        for _ in 0..2 {
            qmp.execute(&raw::DeviceDel(json!({"id": "unseen"})), soon())?;
            // QEMU's own pause between two requests is a millisecond of the guest's.
            bench.vm.agent().disks(soon())?;
        }
        Ok(())
    })
}

/// `device_del` before the firmware's first instruction.
fn device_del_before_guest_boot_is_completed(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let disk = bench.disk("disk0")?;
        bench.attach(&disk, &Placement::First)?;
        let before = bench.vm.greeting().boot_id.clone();
        bench.vm.qmp().execute(&Stop {}, soon())?;
        bench.vm.qmp().execute(&SystemReset {}, soon())?;
        let moment = Deadline::after(Duration::from_secs(1));
        let early = bench.vm.detach_by(&disk.id, moment);
        ensure!(
            early.as_ref().is_err_and(is_outstanding),
            "no guest was running that could complete the unplug: {early:?}"
        );
        bench.vm.qmp().execute(&Cont {}, soon())?;
        bench.vm.agent().greeting_after(&before, soon())?;
        bench.vm.detach_by(&disk.id, soon())?;
        bench.still_works()
    })
}

/// The bug took threads that poll.
fn hotplug_does_not_disturb_other_disks_of_the_thread(topology: Topology) -> Result<()> {
    const NEIGHBOURS: usize = 5;
    let mut shape = shape(topology)?;
    shape.config.iothreads.properties = IoThreadProperties::default();
    with_a_disk_of(&shape, |bench, disk| {
        let neighbour = bench.disk("disk1")?;
        under_load(bench, disk, |hotplug, qmp, agent| {
            for _ in 0..NEIGHBOURS {
                hotplug.attach(qmp, agent, &neighbour, &Placement::First, soon())?;
                hotplug.detach(qmp, &neighbour.id, soon())?;
            }
            Ok(())
        })?;
        // The first repair of RHEL-3934 kept a CPU busy.
        is_idle(bench, &IoThreadId::indep(0))
    })
}

fn loaded_disk_is_resized(topology: Topology) -> Result<()> {
    with_a_disk(topology, grows)
}

fn grows(bench: &mut Bench, disk: &DiskSpec) -> Result<()> {
    const STEPS: u64 = 20;
    let size = |step: u64| DISK_SIZE + (step << 20);
    under_load(bench, disk, |_, qmp, _| {
        for step in 1..=STEPS {
            let resize = json!({"node-name": disk.id.as_str(), "size": size(step)});
            qmp.execute(&raw::BlockResize(resize), soon())?;
        }
        Ok(())
    })?;
    let deadline = soon();
    loop {
        let disks = bench.vm.agent().disks(deadline)?;
        let seen = disks.iter().find(|seen| seen.serial == serial(&disk.id));
        if seen.is_some_and(|seen| seen.size == size(STEPS)) {
            return Ok(());
        }
        ensure!(!deadline.has_passed(), "the guest sees {seen:?}");
    }
}

fn stop_and_cont_under_load(topology: Topology) -> Result<()> {
    with_a_disk(topology, |bench, disk| {
        under_load(bench, disk, |_, qmp, _| {
            for _ in 0..20 {
                qmp.execute(&Stop {}, soon())?;
                qmp.execute(&Cont {}, soon())?;
            }
            Ok(())
        })?;
        Ok(())
    })
}

fn quit_under_load(topology: Topology) -> Result<()> {
    let mut bench = Bench::boot(topology)?;
    let disk = bench.disk("disk0")?;
    bench.attach(&disk, &Placement::First)?;
    // It never ends.
    let _ = bench.vm.agent().start_load(&load(&disk, 600_000), soon())?;
    let exit = bench.vm.shutdown()?;
    ensure!(exit.success(), "QEMU ended with {exit}");
    Ok(())
}

fn loaded_io_uring_disk_is_resized(topology: Topology) -> Result<()> {
    let mut shape = shape(topology)?;
    shape.config.aio = Aio::IoUring;
    with_a_disk_of(&shape, grows)
}

/// Two overlays above the disk, the lower taken out again, and then the upper committed.
fn snapshot_and_commit_under_load(topology: Topology) -> Result<()> {
    with_a_disk(topology, |bench, disk| {
        let paths = ["lower", "upper"].map(|name| bench.path(name));
        under_load(bench, disk, |_, qmp, _| {
            for _ in 0..2 {
                let mut top = disk.id.as_str();
                for (overlay, path) in ["lower", "upper"].into_iter().zip(&paths) {
                    snapshot(qmp, top, overlay, path)?;
                    top = overlay;
                }
                let since = qmp.cursor();
                let lower = json!({"job-id": "commit", "device": "upper", "top-node": "lower",
                                   "base-node": disk.id.as_str()});
                qmp.execute(&raw::BlockCommit(lower), soon())?;
                job(qmp, "commit", "null", since)?;
                let since = qmp.cursor();
                let upper = json!({"job-id": "commit", "device": "upper"});
                qmp.execute(&raw::BlockCommit(upper), soon())?;
                complete(qmp, "commit", since)?;
            }
            Ok(())
        })?;
        Ok(())
    })
}

fn snapshot(qmp: &Qmp, node: &str, overlay: &str, path: &std::path::Path) -> Result<()> {
    let command = json!({"node-name": node, "snapshot-node-name": overlay, "format": "qcow2",
                         "snapshot-file": path.to_str().context("a path is no text")?});
    qmp.execute(&raw::BlockdevSnapshotSync(command), soon())?;
    Ok(())
}

/// Lets a job that keeps up with the load take over.
fn complete(qmp: &Qmp, id: &str, since: qmp_client::Cursor) -> Result<()> {
    job(qmp, id, "ready", since)?;
    let command = raw::BlockJobComplete(json!({"device": id}));
    qmp.execute(&command, soon())?;
    job(qmp, id, "null", since)?;
    Ok(())
}

fn two_disks_of_one_thread_are_streamed_under_load(topology: Topology) -> Result<()> {
    with_a_disk(topology, |bench, disk| {
        let second = bench.disk("disk1")?;
        bench.attach(&second, &Placement::First)?;
        let overlays = [(disk, "overlay0"), (&second, "overlay1")];
        let paths = overlays.map(|(_, name)| bench.path(name));
        under_load(bench, disk, |_, qmp, _| {
            let since = qmp.cursor();
            for ((disk, overlay), path) in overlays.iter().zip(&paths) {
                snapshot(qmp, disk.id.as_str(), overlay, path)?;
                let stream = json!({"job-id": overlay, "device": overlay});
                qmp.execute(&raw::BlockStream(stream), soon())?;
            }
            for (_, overlay) in &overlays {
                job(qmp, overlay, "null", since)?;
            }
            Ok(())
        })?;
        bench.vm.detach(&second.id)?;
        Ok(())
    })
}

fn loaded_disk_is_mirrored(topology: Topology) -> Result<()> {
    with_a_disk(topology, |bench, disk| {
        let target = bench.disk("target")?.path;
        under_load(bench, disk, |_, qmp, _| {
            let file = json!({"driver": "file", "filename": target.to_str()});
            let node = json!({"driver": "raw", "node-name": "target", "file": file});
            qmp.execute(&raw::BlockdevAdd(node), soon())?;
            let since = qmp.cursor();
            let mirror = json!({"job-id": "mirror", "device": disk.id.as_str(),
                                "target": "target", "sync": "full"});
            qmp.execute(&raw::BlockdevMirror(mirror), soon())?;
            complete(qmp, "mirror", since)
        })?;
        // Another pattern than the load's.
        let mut extent = extent(&disk.id, 16 << 20);
        extent.seed += 1;
        bench.vm.agent().write(&extent, soon())?;
        let mut on_host = vec![0; usize::try_from(extent.length)?];
        let file = std::fs::File::open(&target)?;
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut on_host, 0)?;
        let wrong = guest_vm::guest::pattern::first_mismatch(extent.seed, 0, &on_host);
        ensure!(wrong.is_none(), "the target is wrong at {wrong:?}");
        Ok(())
    })
}

/// Without the pool, on an idle thread.
fn throttled_disk_is_unplugged_under_load(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let disk = bench.disk("disk0")?;
        let qmp = bench.vm.qmp();
        let group = json!({"qom-type": "throttle-group", "id": "slow",
                           "limits": {"iops-total": 50}});
        qmp.execute(&raw::ObjectAdd(group), soon())?;
        let file = json!({"driver": "file", "filename": disk.path.to_str()});
        let node = json!({"driver": "throttle", "node-name": "throttled",
                          "throttle-group": "slow", "file": file});
        qmp.execute(&raw::BlockdevAdd(node), soon())?;
        let device = json!({"driver": "virtio-blk-pci", "id": "disk0", "serial": "disk0",
                            "drive": "throttled", "bus": "rp3", "iothread": "indep_iothread_3"});
        qmp.execute(&raw::DeviceAdd(device), soon())?;
        let agent = bench.vm.agent();
        agent.await_disk(&serial(&disk.id), Presence::Present, soon())?;
        let running = agent.start_load(&load(&disk, 600_000), soon())?;
        let since = qmp.cursor();
        qmp.execute(&raw::DeviceDel(json!({"id": "disk0"})), soon())?;
        deleted(qmp, "disk0", since)?;
        qmp.execute(&raw::BlockdevDel(json!({"node-name": "throttled"})), soon())?;
        qmp.execute(&raw::ObjectDel(json!({"id": "slow"})), soon())?;
        let report = running.finish(soon())?;
        ensure!(report.operations > 0 && report.errors > 0, "{report:?}");
        bench.still_works()
    })
}

fn pending_unplug_completes_at_reset_under_load(topology: Topology) -> Result<()> {
    Bench::run(topology, |bench| {
        let disk = bench.disk("disk0")?;
        bench.attach(&disk, &Placement::First)?;
        let before = bench.vm.greeting().boot_id.clone();
        let (hotplug, qmp, agent) = bench.vm.parts();
        let _ = agent.start_load(&load(&disk, 600_000), soon())?;
        qmp.execute(&raw::DeviceDel(json!({"id": "disk0"})), soon())?;
        qmp.execute(&SystemReset {}, soon())?;
        hotplug.detach(qmp, &disk.id, soon())?;
        agent.greeting_after(&before, soon())?;
        bench.still_works()
    })
}

//! Threads, and queues that are mapped to them, without a guest.

use anyhow::{Context, Result, bail, ensure};
use qmp_client::command::QomGet;
use serde_json::json;

use super::regressions;
use super::rig::Rig;
use crate::bare::{Bare, refusal};
use crate::fixture::soon;
use crate::raw;

regressions!(without a guest:
    ["RHEL-43412"] a_mapping_is_on_the_device_that_was_asked_to_have_it: Mark::Reproduced(&[
        Red { qemu: seen::BOOKWORM, told: "Property 'virtio-blk-pci.iothread-vq-mapping' not found" },
    ]);
    ["qemu-project/qemu#2069"] the_device_tree_is_shown_after_a_mapped_disk_is_gone: guard(
        "QEMU that frees a device's mapping and shows it all the same",
        "without the unplug",
    );
    ["QEMU iothread.c: no can_be_deleted"] a_busy_thread_is_not_deleted: Mark::Reproduced(&[
        Red { qemu: seen::BOOKWORM, told: "QEMU deleted a busy thread" },
        Red { qemu: seen::TRIXIE, told: "QEMU deleted a busy thread" },
        Red { qemu: seen::SID, told: "QEMU deleted a busy thread" },
    ]);
    ["QEMU iothread-vq-mapping.c: cleanup by name"]
    a_mapped_thread_that_was_made_anew_is_not_taken_for_the_old: Mark::Reproduced(&[
        Red { qemu: seen::TRIXIE, told: "object_finalize: assertion failed: (obj->parent == NULL)" },
        Red { qemu: seen::SID, told: "object_finalize: assertion failed: (obj->parent == NULL)" },
    ]);
    ["QEMU virtio.c: virtio_add_queue"] too_many_queues_are_refused: Mark::Reproduced(&[
        Red { qemu: seen::BOOKWORM, told: "SIGABRT" },
        Red { qemu: seen::TRIXIE, told: "SIGABRT" },
        Red { qemu: seen::SID, told: "SIGABRT" },
    ]);
    ["Proxmox VE: I/O pressure of idle IOThreads"] idle_threads_do_not_wait_for_io: Mark::Reproduced(&[
        Red { qemu: seen::SID, told: "tasks wait for I/O while QEMU is idle" },
    ]);
);

/// A device with its queues on both threads.
fn mapped(rig: &Rig) -> Result<()> {
    rig.node("n0")?;
    let mut device = rig.device("d0", "n0", "t0");
    device["num-queues"] = 2.into();
    device["iothread-vq-mapping"] = json!([{"iothread": "t0"}, {"iothread": "t1"}]);
    if let Some(device) = device.as_object_mut() {
        device.remove("iothread");
    }
    rig.qmp().execute(&raw::DeviceAdd(device), soon())?;
    Ok(())
}

fn a_mapping_is_on_the_device_that_was_asked_to_have_it() -> Result<()> {
    Rig::run(|rig| {
        mapped(rig)?;
        let property = QomGet {
            path: "/machine/peripheral/d0",
            property: "iothread-vq-mapping",
        };
        let found = rig.qmp().execute(&property, soon())?;
        let wanted = json!([{"iothread": "t0"}, {"iothread": "t1"}]);
        ensure!(found == wanted, "{found}");
        Ok(())
    })
}

fn the_device_tree_is_shown_after_a_mapped_disk_is_gone() -> Result<()> {
    Rig::run(|rig| {
        mapped(rig)?;
        rig.unplug("d0")?;
        let tree = rig.human("info qtree")?;
        ensure!(tree.contains("bus: pci.0"), "{tree}");
        mapped_again(rig)
    })
}

fn mapped_again(rig: &Rig) -> Result<()> {
    let command = raw::BlockdevDel(json!({"node-name": "n0"}));
    rig.qmp().execute(&command, soon())?;
    mapped(rig)?;
    let tree = rig.human("info qtree")?;
    ensure!(tree.contains("dev: virtio-blk-pci, id \"d0\""), "{tree}");
    Ok(())
}

/// The pool does not let go of such a thread (`placement: a_thread_added_at_run_time_serves`).
fn a_busy_thread_is_not_deleted() -> Result<()> {
    Rig::run(|rig| {
        rig.node("n0")?;
        rig.plug("d0", "n0", "t0")?;
        let delete = raw::ObjectDel(json!({"id": "t0"}));
        if rig.qmp().execute(&delete, soon()).is_ok() {
            bail!("QEMU deleted a busy thread, and has {:?}", rig.threads()?);
        }
        Ok(())
    })
}

/// The pool never uses an id twice.
fn a_mapped_thread_that_was_made_anew_is_not_taken_for_the_old() -> Result<()> {
    Rig::run(|rig| {
        mapped(rig)?;
        let delete = raw::ObjectDel(json!({"id": "t0"}));
        rig.qmp().execute(&delete, soon())?;
        let anew = raw::ObjectAdd(json!({"qom-type": "iothread", "id": "t0"}));
        rig.qmp().execute(&anew, soon())?;
        rig.unplug("d0")?;
        let threads = rig.threads()?;
        ensure!(threads.contains(&"t0".to_owned()), "{threads:?}");
        Ok(())
    })
}

/// The pool gives no lease for so many.
fn too_many_queues_are_refused() -> Result<()> {
    Rig::run(|rig| {
        rig.node("n0")?;
        let mut device = rig.device("d0", "n0", "t0");
        device["num-queues"] = 1025.into();
        refusal(rig.qmp().execute(&raw::DeviceAdd(device), soon()))?;
        Ok(())
    })
}

/// From 10.2 on, QEMU waits for events in io_uring, and the kernel counts who waits there as one
/// who waits for I/O: a pool that does nothing looks like a disk that does not keep up (PSI).
fn idle_threads_do_not_wait_for_io() -> Result<()> {
    const THREADS: usize = 48;
    let objects: Vec<String> = (0..THREADS).map(|n| format!("iothread,id=t{n}")).collect();
    let mut arguments = vec!["-machine", "none"];
    for object in &objects {
        arguments.extend(["-object", object.as_str()]);
    }
    let qemu = Bare::start(&arguments)?;
    // Others on this host may wait too, so the least of several looks counts, with and without.
    let with = least_blocked()?;
    qemu.quit()?;
    let more = with.saturating_sub(least_blocked()?);
    ensure!(
        more < THREADS / 2,
        "{more} more tasks wait for I/O while QEMU is idle"
    );
    Ok(())
}

fn least_blocked() -> Result<usize> {
    const LOOKS: usize = 20;
    let mut least = usize::MAX;
    for _ in 0..LOOKS {
        let stat = std::fs::read_to_string("/proc/stat")?;
        let blocked = stat
            .lines()
            .find_map(|line| line.strip_prefix("procs_blocked "));
        least = least.min(blocked.context("no procs_blocked")?.trim().parse()?);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Ok(least)
}

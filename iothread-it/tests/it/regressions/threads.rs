//! Threads, and queues that are mapped to them, without a guest.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use qmp_client::command::QomGet;
use serde_json::json;

use super::regressions;
use super::rig::Rig;
use crate::bare::{Bare, refusal};
use crate::fixture::soon;
use crate::raw;

regressions!(without a guest:
    ["RHEL-43412"] vq_mapping_is_set_on_its_device: reproduced(
        (when = seen::bookworm, message = "Property 'virtio-blk-pci.iothread-vq-mapping' not found"),
    );
    ["qemu-project/qemu#2069"] info_qtree_after_unplug_of_a_mapped_disk: guard(
        "QEMU that frees a device's mapping and shows it all the same",
        "without the unplug",
    );
    ["QEMU iothread.c: no can_be_deleted"] a_busy_thread_is_not_deleted: reproduced(
        (when = seen::bookworm, message = "QEMU deleted a busy thread"),
        (when = seen::trixie, message = "QEMU deleted a busy thread"),
        (when = seen::sid, message = "QEMU deleted a busy thread"),
    );
    ["QEMU iothread-vq-mapping.c: cleanup by name"]
    recreated_mapped_thread_is_not_confused_with_the_deleted_one: reproduced(
        (when = seen::trixie, message = "object_finalize: assertion failed: (obj->parent == NULL)"),
        (when = seen::sid, message = "object_finalize: assertion failed: (obj->parent == NULL)"),
    );
    ["QEMU virtio.c: virtio_add_queue"] too_many_queues_are_refused: reproduced(
        (when = seen::bookworm, message = "SIGABRT"),
        (when = seen::trixie, message = "SIGABRT"),
        (when = seen::sid, message = "SIGABRT"),
    );
    ["Proxmox VE: I/O pressure of idle IOThreads"] idle_threads_do_not_count_as_iowait: reproduced(
        (when = seen::sid, message = "more tasks wait for I/O while QEMU is idle"),
    );
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

fn vq_mapping_is_set_on_its_device() -> Result<()> {
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

fn info_qtree_after_unplug_of_a_mapped_disk() -> Result<()> {
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

/// The pool refuses to remove such a thread (`placement: thread_added_at_run_time_serves`).
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
fn recreated_mapped_thread_is_not_confused_with_the_deleted_one() -> Result<()> {
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
fn idle_threads_do_not_count_as_iowait() -> Result<()> {
    const THREADS: usize = 48;
    const ROUNDS: usize = 9;
    let objects: Vec<String> = (0..THREADS).map(|n| format!("iothread,id=t{n}")).collect();
    let mut arguments = vec!["-machine", "none"];
    for object in &objects {
        arguments.extend(["-object", object.as_str()]);
    }
    let qemu = Bare::start(&arguments)?;
    // The kernel counts for the whole host. So QEMU is stopped and goes on again and again: what
    // others wait for does not come and go with that.
    let mut more = Vec::new();
    for _ in 0..ROUNDS {
        let idle = blocked()?;
        signal(&qemu, Signal::SIGSTOP, |state| state == 'T')?;
        more.push(idle.saturating_sub(blocked()?));
        signal(&qemu, Signal::SIGCONT, |state| state == 'S')?;
    }
    qemu.quit()?;
    more.sort_unstable();
    let median = more[ROUNDS / 2];
    ensure!(
        median < THREADS / 2,
        "{median} more tasks wait for I/O while QEMU is idle than while it is stopped: {more:?}"
    );
    Ok(())
}

/// How many tasks of this host wait for I/O.
fn blocked() -> Result<usize> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let blocked = stat
        .lines()
        .find_map(|line| line.strip_prefix("procs_blocked "));
    Ok(blocked.context("no procs_blocked")?.trim().parse()?)
}

/// Sends QEMU a signal, and waits until each of its threads is in such a state. No event tells of the
/// threads of a process.
fn signal(qemu: &Bare, signal: Signal, is_so: fn(char) -> bool) -> Result<()> {
    let pid = qemu.process().pid();
    kill(Pid::from_raw(pid), signal)?;
    let deadline = soon();
    loop {
        let mut states = Vec::new();
        for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let stat = std::fs::read_to_string(task?.path().join("stat"))?;
            let state = stat
                .rsplit_once(") ")
                .and_then(|(_, rest)| rest.chars().next());
            states.push(state.context("no state")?);
        }
        if states.iter().copied().all(is_so) {
            return Ok(());
        }
        ensure!(
            !deadline.has_passed(),
            "{signal}, and QEMU's threads are {states:?}"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

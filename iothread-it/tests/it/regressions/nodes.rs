//! What QEMU does by itself: block nodes, threads and devices whose guest never ran, so that a case
//! takes a moment. A reset completes a removal that no guest hears of.

use anyhow::{Context, Result, bail, ensure};
use iothread_it::qmp::Qmp;
use iothread_it::qmp::command::{QomGet, QueryIothreads};
use iothread_it::scratch::Scratch;
use serde_json::{Value, json};

use super::regressions;
use crate::bare::{Bare, refusal};
use crate::fixture::{scratch, soon};
use crate::raw::{self, deleted, job};

regressions!(without a guest:
    ["qemu-project/qemu#802"] a_cold_plugged_device_says_that_it_is_gone: Mark::Guard(
        "QEMU without DEVICE_DELETED for a device of the command line, as 6.2 was with JSON",
    );
    ["qemu-iotests 240"] a_disk_comes_back_to_another_thread: Mark::Guard(
        "QEMU that leaves a node with its last thread (a6f230c8)",
    );
    ["qemu-iotests 240"] a_node_is_one_device_s_unless_it_is_shared: Mark::Guard(
        "QEMU that lets a second writer share a node unasked",
    );
    ["qemu-iotests 051"] a_device_takes_a_node_from_another_thread: Mark::Reproduced(&[
        Red { qemu: seen::BOOKWORM, told: "qemu_mutex_unlock_impl: Operation not permitted" },
    ]);
    ["qemu-iotests 307"] an_export_s_fixed_thread_is_not_the_device_s: Mark::Guard(
        "QEMU that moves an attached disk for an export",
    );
    ["qemu-iotests iothreads-create"] an_image_is_made_on_a_node_of_a_thread: Mark::Reproduced(&[
        Red { qemu: seen::BOOKWORM, told: "qemu_mutex_unlock_impl: Operation not permitted" },
    ]);
    ["qemu-iotests 202"] two_nodes_of_a_thread_are_snapshotted_at_once: Mark::Guard(
        "QEMU that takes one thread's lock twice in a transaction",
    );
    ["qemu-iotests 281"] a_bitmap_is_made_on_each_node_of_a_thread: Mark::Guard(
        "QEMU that drops a thread's lock between the parts of a transaction",
    );
    ["qemu-iotests 281"] a_throttled_node_of_a_thread_goes_with_its_timers: Mark::Guard(
        "QEMU that leaves a throttle's timer in a thread after blockdev-del",
    );
    ["qemu-iotests 068"] a_state_with_a_thread_is_saved_and_loaded: Mark::Guard(
        "QEMU that polls the wrong thread while it saves its state",
    );
    ["qemu-iotests 245"] a_node_of_a_thread_is_reopened: Mark::Guard(
        "QEMU that reopens a node in the main loop's name",
    );
    ["qemu-iotests qom-set-drive"] another_drive_cannot_be_of_another_thread: Mark::Guard(
        "QEMU that swaps a device's node across threads",
    );
    ["tests/qtest/drive_del-test"] a_node_goes_after_its_device_and_not_before: Mark::Guard(
        "QEMU that removes a node under a device (GHSA-cp42-9j6q-v649)",
    );
    ["RHEL-43412"] a_mapping_is_on_the_device_that_was_asked_to_have_it: Mark::Reproduced(&[
        Red { qemu: seen::BOOKWORM, told: "Property 'virtio-blk-pci.iothread-vq-mapping' not found" },
    ]);
    ["qemu-project/qemu#2069"] the_device_tree_is_shown_after_a_mapped_disk_is_gone: Mark::Guard(
        "QEMU that frees a device's mapping and shows it all the same",
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
    ["Proxmox VE: I/O pressure of idle IOThreads"] idle_threads_do_not_wait_for_io: Mark::Reproduced(&[
        Red { qemu: seen::SID, told: "tasks wait for I/O while QEMU is idle" },
    ]);
);

/// The machine whose own bus takes a device and, at a reset, gives it up.
const PC: [&str; 6] = [
    "-machine",
    "pc",
    "-object",
    "iothread,id=t0",
    "-object",
    "iothread,id=t1",
];

/// QEMU on `pc` with two threads, and a folder.
struct Rig {
    qemu: Bare,
    scratch: Scratch,
}

impl Rig {
    fn run(case: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let rig = Self {
            qemu: Bare::start(&PC)?,
            scratch: scratch()?,
        };
        case(&rig).with_context(|| rig.qemu.last_words())?;
        rig.qemu.quit()
    }

    fn qmp(&self) -> &Qmp {
        &self.qemu.qmp
    }

    fn path(&self, name: &str) -> Result<String> {
        let path = self.scratch.path().join(name);
        Ok(path.to_str().context("a path is no text")?.to_owned())
    }

    /// Adds a raw node over a new file.
    fn node(&self, name: &str) -> Result<()> {
        let path = self.path(name)?;
        std::fs::File::create(&path)?.set_len(16 << 20)?;
        let file = json!({"driver": "file", "filename": path});
        let node = json!({"driver": "raw", "node-name": name, "file": file});
        self.qmp().execute(&raw::BlockdevAdd(node), soon())?;
        Ok(())
    }

    fn put(&self, node: &str, thread: &str) -> Result<()> {
        let command = json!({"node-name": node, "iothread": thread});
        self.qmp().execute(&raw::SetIothread(command), soon())?;
        Ok(())
    }

    fn device(&self, id: &str, node: &str, thread: &str) -> Value {
        json!({"driver": "virtio-blk-pci", "id": id, "drive": node, "iothread": thread,
               "bus": "pci.0"})
    }

    fn plug(&self, id: &str, node: &str, thread: &str) -> Result<()> {
        let device = raw::DeviceAdd(self.device(id, node, thread));
        self.qmp().execute(&device, soon())?;
        Ok(())
    }

    fn unplug(&self, id: &str) -> Result<()> {
        unplug(self.qmp(), id)
    }

    fn human(&self, line: &str) -> Result<String> {
        let command = raw::HumanMonitor(json!({"command-line": line}));
        let said = self.qmp().execute(&command, soon())?;
        Ok(said.as_str().unwrap_or_default().to_owned())
    }

    fn threads(&self) -> Result<Vec<String>> {
        let threads = self.qmp().execute(&QueryIothreads {}, soon())?;
        Ok(threads.into_iter().map(|thread| thread.id).collect())
    }
}

/// Asks a guest that never ran for a device, and resets it.
fn unplug(qmp: &Qmp, id: &str) -> Result<()> {
    let since = qmp.cursor();
    qmp.execute(&raw::DeviceDel(json!({"id": id})), soon())?;
    qmp.execute(&raw::SystemReset(json!({})), soon())?;
    deleted(qmp, id, since)?;
    Ok(())
}

/// QEMU's device-plug-test: each machine, and each way to write the command line.
fn a_cold_plugged_device_says_that_it_is_gone() -> Result<()> {
    const NODE: &str = "null-co,node-name=n0,read-zeroes=on";
    let cases = [
        ("pc", "virtio-blk-pci,id=d0,drive=n0,iothread=t0"),
        (
            "pc",
            r#"{"driver":"virtio-blk-pci","id":"d0","drive":"n0","iothread":"t0"}"#,
        ),
        ("q35", "virtio-blk-pci,id=d0,drive=n0,iothread=t0,bus=rp0"),
        (
            "q35",
            r#"{"driver":"virtio-blk-pci","id":"d0","drive":"n0","iothread":"t0","bus":"rp0"}"#,
        ),
    ];
    for (machine, device) in cases {
        let mut arguments = vec!["-machine", machine, "-object", "iothread,id=t0"];
        if machine == "q35" {
            arguments.extend(["-device", "pcie-root-port,id=rp0"]);
        }
        arguments.extend(["-blockdev", NODE, "-device", device]);
        let qemu = Bare::start(&arguments)?;
        unplug(&qemu.qmp, "d0").with_context(|| format!("{machine}, {device}"))?;
        let node = raw::BlockdevDel(json!({"node-name": "n0"}));
        qemu.qmp.execute(&node, soon())?;
        qemu.quit()?;
    }
    Ok(())
}

fn a_disk_comes_back_to_another_thread() -> Result<()> {
    Rig::run(|rig| {
        rig.node("n0")?;
        for thread in ["t0", "t1", "t0", "t0"] {
            rig.plug("d0", "n0", thread)?;
            rig.unplug("d0")?;
        }
        Ok(())
    })
}

fn a_node_is_one_device_s_unless_it_is_shared() -> Result<()> {
    Rig::run(|rig| {
        rig.node("n0")?;
        rig.plug("d0", "n0", "t0")?;
        for thread in ["t0", "t1"] {
            let second = raw::DeviceAdd(rig.device("d1", "n0", thread));
            let told = refusal(rig.qmp().execute(&second, soon()))?;
            ensure!(
                told.contains("onflicts with use by") || told.contains("Permission conflict"),
                "{told}"
            );
        }
        rig.unplug("d0")?;
        for id in ["d0", "d1"] {
            let mut device = rig.device(id, "n0", "t0");
            device["share-rw"] = true.into();
            rig.qmp().execute(&raw::DeviceAdd(device), soon())?;
        }
        Ok(())
    })
}

fn a_device_takes_a_node_from_another_thread() -> Result<()> {
    Rig::run(|rig| {
        for (node, thread) in [("n0", "t1"), ("n1", "t0")] {
            rig.node(node)?;
            rig.put(node, "t0")?;
            rig.plug(&format!("on-{node}"), node, thread)?;
        }
        Ok(())
    })
}

fn an_export_s_fixed_thread_is_not_the_device_s() -> Result<()> {
    Rig::run(|rig| {
        let address = json!({"type": "unix", "data": {"path": rig.path("nbd")?}});
        let server = raw::NbdServerStart(json!({"addr": address}));
        rig.qmp().execute(&server, soon())?;
        rig.node("n0")?;
        rig.plug("d0", "n0", "t0")?;
        let export = |id: &str, fixed: bool| {
            raw::BlockExportAdd(
                json!({"type": "nbd", "id": id, "node-name": "n0", "name": id,
                                       "iothread": "t1", "fixed-iothread": fixed}),
            )
        };
        let told = refusal(rig.qmp().execute(&export("fixed", true), soon()))?;
        ensure!(
            told == "Cannot change iothread of active block backend",
            "{told}"
        );
        // It would rather be on t1, and goes where the disk is.
        rig.qmp().execute(&export("wherever", false), soon())?;
        Ok(())
    })
}

fn an_image_is_made_on_a_node_of_a_thread() -> Result<()> {
    Rig::run(|rig| {
        let path = rig.path("image")?;
        std::fs::File::create(&path)?;
        let node = json!({"driver": "file", "node-name": "f0", "filename": path});
        rig.qmp().execute(&raw::BlockdevAdd(node), soon())?;
        rig.put("f0", "t0")?;
        let since = rig.qmp().cursor();
        let image = json!({"driver": "qcow2", "file": "f0", "size": 16 << 20});
        let create = json!({"job-id": "create", "options": image});
        rig.qmp().execute(&raw::BlockdevCreate(create), soon())?;
        job(rig.qmp(), "create", "concluded", since)?;
        let dismiss = raw::JobDismiss(json!({"id": "create"}));
        rig.qmp().execute(&dismiss, soon())?;
        let image = json!({"driver": "qcow2", "node-name": "n0", "file": "f0"});
        rig.qmp().execute(&raw::BlockdevAdd(image), soon())?;
        Ok(())
    })
}

fn two_nodes_of_a_thread_are_snapshotted_at_once() -> Result<()> {
    Rig::run(|rig| {
        let mut actions = Vec::new();
        for node in ["n0", "n1"] {
            rig.node(node)?;
            rig.put(node, "t0")?;
            let overlay = format!("{node}-overlay");
            actions.push(json!({"type": "blockdev-snapshot-sync", "data": {
                "node-name": node, "snapshot-file": rig.path(&overlay)?,
                "snapshot-node-name": overlay, "format": "qcow2"}}));
        }
        let transaction = raw::Transaction(json!({"actions": actions}));
        rig.qmp().execute(&transaction, soon())?;
        Ok(())
    })
}

fn a_bitmap_is_made_on_each_node_of_a_thread() -> Result<()> {
    Rig::run(|rig| {
        let mut actions = Vec::new();
        for node in ["n0", "n1"] {
            rig.node(node)?;
            rig.put(node, "t0")?;
            let data = json!({"node": node, "name": "bitmap"});
            actions.push(json!({"type": "block-dirty-bitmap-add", "data": data}));
        }
        let transaction = raw::Transaction(json!({"actions": actions}));
        rig.qmp().execute(&transaction, soon())?;
        Ok(())
    })
}

fn a_throttled_node_of_a_thread_goes_with_its_timers() -> Result<()> {
    Rig::run(|rig| {
        let group = json!({"qom-type": "throttle-group", "id": "slow",
                           "limits": {"iops-total": 100}});
        rig.qmp().execute(&raw::ObjectAdd(group), soon())?;
        for _ in 0..3 {
            rig.node("n0")?;
            let node = json!({"driver": "throttle", "node-name": "throttled",
                              "throttle-group": "slow", "file": "n0"});
            rig.qmp().execute(&raw::BlockdevAdd(node), soon())?;
            rig.put("throttled", "t0")?;
            let said = rig.human("qemu-io throttled \"write 0 64k\"")?;
            ensure!(!said.contains("rror"), "{said}");
            for node in ["throttled", "n0"] {
                let command = raw::BlockdevDel(json!({"node-name": node}));
                rig.qmp().execute(&command, soon())?;
            }
        }
        Ok(())
    })
}

fn a_state_with_a_thread_is_saved_and_loaded() -> Result<()> {
    Rig::run(|rig| {
        let path = rig.path("image")?;
        std::fs::File::create(&path)?;
        let node = json!({"driver": "file", "node-name": "f0", "filename": path});
        rig.qmp().execute(&raw::BlockdevAdd(node), soon())?;
        let since = rig.qmp().cursor();
        let image = json!({"driver": "qcow2", "file": "f0", "size": 16 << 20});
        let create = json!({"job-id": "create", "options": image});
        rig.qmp().execute(&raw::BlockdevCreate(create), soon())?;
        job(rig.qmp(), "create", "concluded", since)?;
        let image = json!({"driver": "qcow2", "node-name": "n0", "file": "f0"});
        rig.qmp().execute(&raw::BlockdevAdd(image), soon())?;
        rig.plug("d0", "n0", "t0")?;
        for command in ["savevm saved", "loadvm saved"] {
            let said = rig.human(command)?;
            ensure!(said.is_empty(), "{command}: {said}");
        }
        let snapshots = rig.human("info snapshots")?;
        ensure!(snapshots.contains("saved"), "{snapshots}");
        Ok(())
    })
}

fn a_node_of_a_thread_is_reopened() -> Result<()> {
    Rig::run(|rig| {
        rig.node("n0")?;
        rig.plug("d0", "n0", "t0")?;
        let file = json!({"driver": "file", "filename": rig.path("n0")?});
        for detect in ["off", "unmap", "off"] {
            let node = json!({"driver": "raw", "node-name": "n0", "file": file,
                              "discard": "unmap", "detect-zeroes": detect});
            let reopen = raw::BlockdevReopen(json!({"options": [node]}));
            rig.qmp().execute(&reopen, soon())?;
        }
        rig.unplug("d0")
    })
}

fn another_drive_cannot_be_of_another_thread() -> Result<()> {
    Rig::run(|rig| {
        rig.node("n0")?;
        rig.plug("d0", "n0", "t0")?;
        rig.node("n1")?;
        rig.put("n1", "t1")?;
        let set = json!({"path": "/machine/peripheral/d0/virtio-backend", "property": "drive",
                         "value": "n1"});
        let told = refusal(rig.qmp().execute(&raw::QomSet(set), soon()))?;
        ensure!(
            told == "Different aio context is not supported for new node",
            "{told}"
        );
        Ok(())
    })
}

fn a_node_goes_after_its_device_and_not_before() -> Result<()> {
    Rig::run(|rig| {
        rig.node("n0")?;
        rig.plug("d0", "n0", "t0")?;
        let remove = || raw::BlockdevDel(json!({"node-name": "n0"}));
        let told = refusal(rig.qmp().execute(&remove(), soon()))?;
        ensure!(told == "Node n0 is in use", "{told}");
        let asked = raw::DeviceDel(json!({"id": "d0"}));
        rig.qmp().execute(&asked, soon())?;
        let told = refusal(rig.qmp().execute(&remove(), soon()))?;
        ensure!(told == "Node n0 is in use", "{told}");
        let since = rig.qmp().cursor();
        rig.qmp().execute(&raw::SystemReset(json!({})), soon())?;
        deleted(rig.qmp(), "d0", since)?;
        rig.qmp().execute(&remove(), soon())?;
        Ok(())
    })
}

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

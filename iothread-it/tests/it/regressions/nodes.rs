//! Block nodes and devices on them, without a guest.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::regressions;
use super::rig::{Rig, unplug};
use crate::bare::{Bare, refusal};
use crate::fixture::soon;
use crate::raw::{self, deleted, job};

regressions!(without a guest:
    ["qemu-project/qemu#802"] a_cold_plugged_device_says_that_it_is_gone: guard(
        "QEMU without DEVICE_DELETED for a device of the command line, as 6.2 was with JSON",
        "if the node goes first",
    );
    ["qemu-iotests 240"] a_disk_comes_back_to_another_thread: guard(
        "QEMU that leaves a node with its last thread (a6f230c8)",
        "without the unplug in between",
    );
    ["qemu-iotests 240"] a_node_is_one_device_s_unless_it_is_shared: guard(
        "QEMU that lets a second writer share a node unasked",
        "if the first two share it",
    );
    ["qemu-iotests 051"] a_device_takes_a_node_from_another_thread: Mark::Reproduced(&[
        Red { qemu: seen::BOOKWORM, told: "qemu_mutex_unlock_impl: Operation not permitted" },
    ]);
    ["qemu-iotests 307"] an_export_s_fixed_thread_is_not_the_device_s: guard(
        "QEMU that moves an attached disk for an export",
        "without `fixed-iothread`",
    );
    ["qemu-iotests iothreads-create"] an_image_is_made_on_a_node_of_a_thread: Mark::Reproduced(&[
        Red { qemu: seen::BOOKWORM, told: "qemu_mutex_unlock_impl: Operation not permitted" },
    ]);
    ["qemu-iotests 202"] two_nodes_of_a_thread_are_snapshotted_at_once: guard(
        "QEMU that takes one thread's lock twice in a transaction",
        "if it is one node twice",
    );
    ["qemu-iotests 281"] a_bitmap_is_made_on_each_node_of_a_thread: guard(
        "QEMU that drops a thread's lock between the parts of a transaction",
        "if it is one node twice",
    );
    ["qemu-iotests 281"] a_throttled_node_of_a_thread_goes_with_its_timers: guard(
        "QEMU that leaves a throttle's timer in a thread after blockdev-del",
        "if the filter stays",
    );
    ["qemu-iotests 068"] a_state_with_a_thread_is_saved_and_loaded: guard(
        "QEMU that polls the wrong thread while it saves its state",
        "with a raw image",
    );
    ["qemu-iotests 245"] a_node_of_a_thread_is_reopened: guard(
        "QEMU that reopens a node in the main loop's name",
        "with a file that is not there",
    );
    ["qemu-iotests qom-set-drive"] another_drive_cannot_be_of_another_thread: guard(
        "QEMU that swaps a device's node across threads",
        "if the other drive is in the main loop",
    );
    ["tests/qtest/drive_del-test"] a_node_goes_after_its_device_and_not_before: guard(
        "QEMU that removes a node under a device (GHSA-cp42-9j6q-v649)",
        "without the device",
    );
);

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

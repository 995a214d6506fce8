//! Block nodes and devices on them, without a guest.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::regressions;
use super::rig::{Rig, unplug};
use crate::bare::{Bare, refusal};
use crate::fixture::soon;
use crate::raw::{self, deleted, job};

regressions!(without a guest:
    ["qemu-project/qemu#802"] cold_plugged_device_emits_device_deleted: guard(
        "QEMU without DEVICE_DELETED for a device of the command line, as 6.2 was with JSON",
        "if the node goes first",
    );
    ["qemu-iotests 240"] disk_is_replugged_on_another_thread: guard(
        "QEMU that leaves a node with its last thread (a6f230c8)",
        "without the unplug in between",
    );
    ["qemu-iotests 240"] second_device_on_a_node_needs_share_rw: guard(
        "QEMU that lets a second writer share a node without share-rw",
        "if the first two share it",
    );
    ["qemu-iotests 051"] device_add_moves_a_node_from_another_thread: reproduced(
        (when = seen::bookworm, message = "qemu_mutex_unlock_impl: Operation not permitted"),
    );
    ["qemu-iotests 307"] fixed_iothread_export_cannot_move_a_node_of_a_device: guard(
        "QEMU that moves an attached disk for an export",
        "without `fixed-iothread`",
    );
    ["qemu-iotests iothreads-create"] blockdev_create_on_a_node_of_a_thread: reproduced(
        (when = seen::bookworm, message = "qemu_mutex_unlock_impl: Operation not permitted"),
    );
    ["qemu-iotests 202"] two_nodes_of_a_thread_are_snapshotted_in_one_transaction: guard(
        "QEMU that takes one thread's lock twice in a transaction",
        "if it is one node twice",
    );
    ["qemu-iotests 281"] bitmap_is_added_to_each_node_of_a_thread: guard(
        "QEMU that drops a thread's lock between the parts of a transaction",
        "if it is one node twice",
    );
    ["qemu-iotests 281"] throttled_node_on_a_thread_is_deleted: guard(
        "QEMU that leaves a throttle's timer in a thread after blockdev-del",
        "if the filter stays",
    );
    ["qemu-iotests 068"] savevm_and_loadvm_with_a_thread: guard(
        "QEMU that polls the wrong thread while it saves its state",
        "with a raw image",
    );
    ["qemu-iotests 245"] node_on_a_thread_is_reopened: guard(
        "QEMU that reopens a node in the main loop's name",
        "with a file that is not there",
    );
    ["qemu-iotests qom-set-drive"] qom_set_drive_rejects_other_aio_context: guard(
        "QEMU that swaps a device's node across threads",
        "if the other drive is in the main loop",
    );
    ["tests/qtest/drive_del-test"] blockdev_del_fails_before_device_deleted: guard(
        "QEMU that removes a node under a device (GHSA-cp42-9j6q-v649)",
        "without the device",
    );
);

/// QEMU's device-plug-test: each machine, and each way to write the command line.
fn cold_plugged_device_emits_device_deleted() -> Result<()> {
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

fn disk_is_replugged_on_another_thread() -> Result<()> {
    Rig::run(|rig| {
        rig.node("n0")?;
        for thread in ["t0", "t1", "t0", "t0"] {
            rig.plug("d0", "n0", thread)?;
            rig.unplug("d0")?;
        }
        Ok(())
    })
}

fn second_device_on_a_node_needs_share_rw() -> Result<()> {
    Rig::run(|rig| {
        rig.node("n0")?;
        rig.plug("d0", "n0", "t0")?;
        for thread in ["t0", "t1"] {
            let second = raw::DeviceAdd(rig.device("d1", "n0", thread));
            let message = refusal(rig.qmp().execute(&second, soon()))?;
            ensure!(
                message.contains("onflicts with use by") || message.contains("Permission conflict"),
                "{message}"
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

fn device_add_moves_a_node_from_another_thread() -> Result<()> {
    Rig::run(|rig| {
        for (node, thread) in [("n0", "t1"), ("n1", "t0")] {
            rig.node(node)?;
            rig.put(node, "t0")?;
            rig.plug(&format!("on-{node}"), node, thread)?;
        }
        Ok(())
    })
}

fn fixed_iothread_export_cannot_move_a_node_of_a_device() -> Result<()> {
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
        let message = refusal(rig.qmp().execute(&export("fixed", true), soon()))?;
        ensure!(
            message == "Cannot change iothread of active block backend",
            "{message}"
        );
        // It would rather be on t1, and goes where the disk is.
        rig.qmp().execute(&export("wherever", false), soon())?;
        Ok(())
    })
}

fn blockdev_create_on_a_node_of_a_thread() -> Result<()> {
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

fn two_nodes_of_a_thread_are_snapshotted_in_one_transaction() -> Result<()> {
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

fn bitmap_is_added_to_each_node_of_a_thread() -> Result<()> {
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

fn throttled_node_on_a_thread_is_deleted() -> Result<()> {
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
            let output = rig.human("qemu-io throttled \"write 0 64k\"")?;
            ensure!(!output.contains("rror"), "{output}");
            for node in ["throttled", "n0"] {
                let command = raw::BlockdevDel(json!({"node-name": node}));
                rig.qmp().execute(&command, soon())?;
            }
        }
        Ok(())
    })
}

fn savevm_and_loadvm_with_a_thread() -> Result<()> {
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
            let output = rig.human(command)?;
            ensure!(output.is_empty(), "{command}: {output}");
        }
        let snapshots = rig.human("info snapshots")?;
        ensure!(snapshots.contains("saved"), "{snapshots}");
        Ok(())
    })
}

fn node_on_a_thread_is_reopened() -> Result<()> {
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

fn qom_set_drive_rejects_other_aio_context() -> Result<()> {
    Rig::run(|rig| {
        rig.node("n0")?;
        rig.plug("d0", "n0", "t0")?;
        rig.node("n1")?;
        rig.put("n1", "t1")?;
        let set = json!({"path": "/machine/peripheral/d0/virtio-backend", "property": "drive",
                         "value": "n1"});
        let message = refusal(rig.qmp().execute(&raw::QomSet(set), soon()))?;
        ensure!(
            message == "Different aio context is not supported for new node",
            "{message}"
        );
        Ok(())
    })
}

fn blockdev_del_fails_before_device_deleted() -> Result<()> {
    Rig::run(|rig| {
        rig.node("n0")?;
        rig.plug("d0", "n0", "t0")?;
        let remove = || raw::BlockdevDel(json!({"node-name": "n0"}));
        let message = refusal(rig.qmp().execute(&remove(), soon()))?;
        ensure!(message == "Node n0 is in use", "{message}");
        let asked = raw::DeviceDel(json!({"id": "d0"}));
        rig.qmp().execute(&asked, soon())?;
        let message = refusal(rig.qmp().execute(&remove(), soon()))?;
        ensure!(message == "Node n0 is in use", "{message}");
        let since = rig.qmp().cursor();
        rig.qmp().execute(&raw::SystemReset(json!({})), soon())?;
        deleted(rig.qmp(), "d0", since)?;
        rig.qmp().execute(&remove(), soon())?;
        Ok(())
    })
}

//! When QEMU releases the node of a device: a moment after it lists the device no more.

use anyhow::{Result, anyhow, ensure};
use kata_test::kata_test;
use qmp_client::command::{BlockdevDel, QomList, QueryBlock};
use qmp_client::{Cursor, Event, Qmp};
use serde_json::{Value, json};

use crate::bare::Bare;
use crate::fixture::soon;
use crate::raw;

/// The moment is tens of milliseconds. A busy host may miss it once.
const ROUNDS: usize = 20;

/// A detach whose event was lost relies on it to tell whether the event is still to come.
#[kata_test(when = crate::fixture::qemu_and_guest)]
fn query_block_lists_a_device_until_its_node_is_released() -> Result<()> {
    let qemu = Bare::start(&[
        "-machine",
        "pc",
        "-object",
        "iothread,id=t0",
        "-device",
        "virtio-scsi-pci,id=s0,iothread=t0",
    ])?;
    let devices = [
        json!({"driver": "virtio-blk-pci", "id": "d0", "drive": "n0", "iothread": "t0"}),
        json!({"driver": "scsi-hd", "id": "d0", "drive": "n0", "bus": "s0.0"}),
    ];
    let mut refused = 0;
    for device in devices {
        for _ in 0..ROUNDS {
            refused += refused_in_one_round(&qemu.qmp, &device)?;
        }
    }
    // QEMU 11.1 releases the node of a SCSI disk at once.
    ensure!(
        refused > 0,
        "in {ROUNDS} rounds, QEMU released each node when it listed the device no more"
    );
    qemu.quit()
}

/// Returns how often QEMU refused to delete the node of the device that it did not list any more.
fn refused_in_one_round(qmp: &Qmp, device: &Value) -> Result<u32> {
    let node = json!({"driver": "null-co", "node-name": "n0", "read-zeroes": true});
    qmp.execute(&raw::BlockdevAdd(node), soon())?;
    qmp.execute(&raw::DeviceAdd(device.clone()), soon())?;
    let since = qmp.cursor();
    qmp.execute(&raw::DeviceDel(json!({"id": "d0"})), soon())?;
    if device["bus"].is_null() {
        // The guest never ran. A controller gives up its disk without it.
        qmp.execute(&raw::SystemReset(json!({})), soon())?;
    }
    let deadline = soon();
    while is_listed(qmp)? {
        ensure!(
            !deadline.has_passed(),
            "QEMU still lists the device after the reset"
        );
    }
    let mut refused = 0;
    let deletion = BlockdevDel { node_name: "n0" };
    while qmp.execute(&deletion, soon()).is_err() {
        let is_used = is_used(qmp)?;
        if !is_deleted(qmp, since)? {
            ensure!(
                is_used,
                "QEMU has not released the node, and lists no user of it"
            );
            refused += 1;
        }
        ensure!(!deadline.has_passed(), "QEMU does not release the node");
    }
    ensure!(!is_used(qmp)?, "the node is deleted, and has a user");
    Ok(refused)
}

fn is_listed(qmp: &Qmp) -> Result<bool> {
    let path = "/machine/peripheral";
    let devices = qmp.execute(&QomList { path }, soon())?;
    Ok(devices.iter().any(|device| device.name == "d0"))
}

fn is_used(qmp: &Qmp) -> Result<bool> {
    let users = qmp.execute(&QueryBlock {}, soon())?;
    let mut nodes = users.iter().filter_map(|user| user.inserted.as_ref());
    Ok(nodes.any(|node| node.node_name.as_deref() == Some("n0")))
}

/// Returns whether DEVICE_DELETED has come.
fn is_deleted(qmp: &Qmp, mut since: Cursor) -> Result<bool> {
    let events = qmp.take_events(&mut since);
    let events = events.map_err(|lost| anyhow!("{lost}"))?;
    let is_it = |event: &Event| event.name == "DEVICE_DELETED" && event.str("device") == Some("d0");
    Ok(events.iter().any(is_it))
}

//! Compares a manager's saved state with QEMU.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use guest_vm::vm::Vm;
use qmp_client::command::{QomGet, QomList, QueryNamedBlockNodes};
use qmp_client::wait::Deadline;
use serde_json::Value;

/// Returns what differs: devices, nodes, their threads and slots, and what is left of operations.
pub(crate) fn disagreements(vm: &Vm, state: &Value) -> Result<Vec<String>> {
    let deadline = Deadline::after(Duration::from_secs(30));
    let is_disk = |name: &String| name.starts_with("disk") || name == "stuck";
    let path = "/machine/peripheral";
    let devices = vm.qmp().execute(&QomList { path }, deadline)?;
    let devices: BTreeSet<String> = devices
        .into_iter()
        .map(|d| d.name)
        .filter(is_disk)
        .collect();
    let nodes = vm
        .qmp()
        .execute(&QueryNamedBlockNodes { flat: true }, deadline)?;
    let nodes = nodes.into_iter().filter_map(|node| node.node_name);
    let nodes: BTreeSet<String> = nodes.filter(is_disk).collect();

    let mut recorded = BTreeSet::new();
    let mut found = Vec::new();
    for device in state["devices"].as_array().into_iter().flatten() {
        let id = device[0].as_str().unwrap_or_default();
        recorded.insert(id.to_owned());
        if device[1]["state"] != "attached" {
            found.push(format!("{id} is not settled: {}", device[1]["state"]));
        }
    }
    if recorded != devices {
        found.push(format!(
            "recorded are {recorded:?}, and QEMU has {devices:?}"
        ));
    }
    if recorded != nodes {
        found.push(format!(
            "recorded are {recorded:?}, and QEMU has the nodes {nodes:?}"
        ));
    }
    let leases = state["pool"]["leases"].as_array();
    for (id, lease) in leases
        .into_iter()
        .flatten()
        .map(|lease| (&lease[0], &lease[1]["device"]))
    {
        let id = id.as_str().unwrap_or_default();
        if !devices.contains(id) {
            found.push(format!("{id} holds a lease, and QEMU has no such device"));
            continue;
        }
        let path = format!("/machine/peripheral/{id}");
        let get = |property| {
            let get = QomGet {
                path: &path,
                property,
            };
            vm.qmp().execute(&get, deadline)
        };
        let thread = format!(
            "/objects/{}",
            lease["assignment"]["thread"].as_str().unwrap_or_default()
        );
        let bus = lease["slot"]["bus"].as_str().unwrap_or_default();
        // The guest may eject it after the list was made.
        let (has_thread, has_bus) = match (get("iothread"), get("parent_bus")) {
            (Ok(thread), Ok(bus)) => (thread, bus),
            (Err(error), _) | (_, Err(error)) if error.class() == Some("DeviceNotFound") => {
                found.push(format!("{id} is gone since QEMU listed it"));
                continue;
            }
            (Err(error), _) | (_, Err(error)) => return Err(error.into()),
        };
        if has_thread != thread.as_str() {
            found.push(format!(
                "{id} is leased {thread}, and QEMU has it on {has_thread}"
            ));
        }
        let at = has_bus.as_str().unwrap_or_default().rsplit('/').next();
        if at != Some(bus) {
            found.push(format!(
                "{id} is leased a slot at {bus}, and is at {has_bus}"
            ));
        }
    }
    let slots = state["pool"]["slots"].as_array().map_or(0, Vec::len);
    let free = state["pool"]["free-slots"].as_array().map_or(0, Vec::len);
    if slots - free != devices.len() {
        let count = devices.len();
        found.push(format!(
            "{} slots are taken by {count} devices",
            slots - free
        ));
    }
    Ok(found)
}

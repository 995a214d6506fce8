//! The state as data: saved, restored after a restart of the manager, and written as the command
//! line of a migration's destination.
//!
//! Operations are not saved. After a restart each of them is as if cancelled: what it began is
//! recorded, and can be detached, settled or [reconciled](Hotplug::reconcile) with QEMU. So save the
//! state after each [`poll_action`](Hotplug::poll_action), before the command is sent.

#[cfg(feature = "serde")]
mod form;

use std::collections::{BTreeMap, BTreeSet};

use iothread_pool::{DeviceId, IoThreadId, Pool};
use qmp_client::QemuVersion;
use serde_json::{Value, json};

use crate::disk::BlockOptions;
use crate::iothread::{Polling, object};
use crate::machine::Hotplug;
use crate::state::{Device, Node, NodeState};

/// What a manager must keep to go on where it was.
///
/// With the feature `serde` it can be serialized, in a format that describes itself, such as JSON. It has
/// the number of its schema, 1. What is deserialized is checked: a state that contradicts itself is an
/// error, which names the device. A manager whose state is lost can start with a new [`Hotplug`], and
/// [reconcile](Hotplug::reconcile) reports what QEMU has.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "form::Form", into = "form::Form"))]
pub struct Saved {
    pool: Pool,
    devices: BTreeMap<DeviceId, Device>,
    nodes: BTreeMap<DeviceId, Node>,
    events_to_come: BTreeSet<DeviceId>,
    stray_threads: BTreeSet<IoThreadId>,
    polling: BTreeMap<IoThreadId, Polling>,
}

impl Hotplug {
    /// Returns the state.
    pub fn save(&self) -> Saved {
        let core = &self.core;
        Saved {
            pool: core.pool.clone(),
            devices: core.devices.clone(),
            nodes: core.nodes.clone(),
            events_to_come: core.events_to_come.clone(),
            stray_threads: core.stray_threads.clone(),
            polling: core.polling.clone(),
        }
    }

    /// Goes on from a saved state. Events may have been missed, so QEMU is queried before the next
    /// step of each device.
    pub fn restore(saved: Saved, options: BlockOptions, qemu: QemuVersion) -> Self {
        let mut hotplug = Self::new(saved.pool, options, qemu);
        let core = &mut hotplug.core;
        core.devices = saved.devices;
        core.nodes = saved.nodes;
        core.events_to_come = saved.events_to_come;
        core.stray_threads = saved.stray_threads;
        core.polling = saved.polling;
        // They were made before anything that is asked from now on.
        core.devices
            .values_mut()
            .for_each(|device| device.since = 0);
        core.nodes.values_mut().for_each(|node| node.since = 0);
        core.note_missed_events();
        hotplug
    }

    /// Returns the arguments with which a migration's destination has the same threads, nodes and
    /// devices. They belong behind those of the buses. An export and its node are not among them: it has
    /// a server, which the caller starts.
    pub fn arguments(&self) -> Vec<String> {
        let core = &self.core;
        let mut arguments = Vec::new();
        let mut option = |flag: &str, value: &Value| {
            arguments.extend([flag.to_owned(), value.to_string()]);
        };
        for thread in core.pool.threads() {
            let polling = core.polling.get(thread).copied().unwrap_or_default();
            option("-object", &json!(object(thread, polling)));
        }
        let bare = core.nodes.values();
        let bare = bare.filter(|node| node.state == NodeState::Bare);
        for node in bare {
            option("-blockdev", &node.node);
        }
        // Controllers come before the disks on them.
        let (disks, others): (Vec<_>, Vec<_>) = core
            .devices
            .values()
            .filter(|device| device.state.has_device() && !device.is_gone())
            .partition(|device| device.device["driver"] == "scsi-hd");
        for device in others.into_iter().chain(disks) {
            if let Some(node) = &device.node {
                option("-blockdev", node);
            }
            option("-device", &device.device);
        }
        arguments
    }
}

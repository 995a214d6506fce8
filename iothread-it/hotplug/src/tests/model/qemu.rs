//! What QEMU does with the commands, written from its documentation and from `faults` of the suite,
//! and not from the machine. It finds what must never happen.

use std::collections::{BTreeMap, BTreeSet};

use qmp_client::{Event, QmpError};
use serde_json::{Value, json};

/// A device that QEMU has.
#[derive(Debug)]
struct Device {
    /// Its slot, or its place on a controller.
    place: String,
    controller: Option<String>,
    node: Option<String>,
    threads: Vec<String>,
    /// Whether the guest was asked to release it.
    going: bool,
    mapping: Value,
}

/// What QEMU has.
#[derive(Debug, Default)]
pub(in crate::tests) struct Qemu {
    threads: BTreeSet<String>,
    /// All ids that threads ever had.
    spent: BTreeSet<String>,
    /// Each with its thread.
    nodes: BTreeMap<String, Option<String>>,
    devices: BTreeMap<String, Device>,
    /// Devices that are listed no more, and still use their nodes. Their events are to come. Another device may
    /// have the id of one without a node by then.
    lingering: Vec<(String, Device)>,
    /// Each with whether it was asked to end.
    exports: BTreeMap<String, bool>,
    /// What must never happen, and has.
    pub(in crate::tests) violations: Vec<String>,
}

type Reply = Result<Value, QmpError>;

fn refuse(command: &'static str) -> QmpError {
    refuse_as(command, "GenericError")
}

pub(super) fn refuse_as(command: &'static str, class: &str) -> QmpError {
    QmpError::Refused {
        command,
        class: class.into(),
        desc: "no".into(),
    }
}

fn event(name: &str, data: Value) -> Event {
    Event {
        name: name.into(),
        data,
        timestamp_us: None,
        received_us: None,
    }
}

impl Qemu {
    pub(in crate::tests) fn with_threads(threads: impl IntoIterator<Item = String>) -> Self {
        let threads: BTreeSet<_> = threads.into_iter().collect();
        Self {
            spent: threads.clone(),
            threads,
            ..Self::default()
        }
    }

    /// Returns everything that must be recorded: devices, nodes and exports.
    pub(super) fn things(&self) -> impl Iterator<Item = &String> {
        self.devices.keys().chain(self.nodes.keys())
    }

    pub(super) fn threads(&self) -> &BTreeSet<String> {
        &self.threads
    }

    /// Returns what uses a thread.
    pub(super) fn users(&self) -> impl Iterator<Item = (&String, &String)> {
        let lingering = self.lingering.iter().map(|(id, device)| (id, device));
        // One without a node holds a reference to its thread, which may be deleted.
        let lingering = lingering.filter(|(_, device)| device.node.is_some());
        let devices = self.devices.iter().chain(lingering);
        let devices = devices.flat_map(|(id, device)| device.threads.iter().map(move |t| (id, t)));
        let nodes = self
            .nodes
            .iter()
            .filter_map(|(id, t)| Some((id, t.as_ref()?)));
        devices.chain(nodes)
    }

    pub(in crate::tests) fn is_empty(&self) -> bool {
        let devices = self.devices.len() + self.lingering.len();
        devices == 0 && self.nodes.is_empty() && self.exports.is_empty()
    }

    /// Returns the devices that the guest was asked to release.
    pub(super) fn going(&self) -> Vec<String> {
        let going = self.devices.iter().filter(|(_, device)| device.going);
        going.map(|(id, _)| id.clone()).collect()
    }

    /// Returns the PCI devices.
    pub(super) fn ejectable(&self) -> Vec<String> {
        let pci = self.devices.iter().filter(|(_, d)| d.controller.is_none());
        pci.map(|(id, _)| id.clone()).collect()
    }

    pub(in crate::tests) fn has_device(&self, id: &str) -> bool {
        self.devices.contains_key(id)
    }

    /// Takes a device away, with what is on it.
    pub(in crate::tests) fn remove(&mut self, id: &str) -> Vec<Event> {
        let mut gone: Vec<_> = self.on(id);
        gone.push(id.to_owned());
        let mut events = Vec::new();
        for id in gone {
            let device = self.devices.remove(&id);
            events.extend(device.into_iter().flat_map(|device| self.free(&id, device)));
        }
        events
    }

    /// Lists a PCI device no more, whose memory is not free yet.
    pub(super) fn unlist(&mut self, id: &str) {
        if let Some(device) = self.devices.remove(id) {
            self.lingering.push((id.to_owned(), device));
        }
    }

    /// Returns whether no disk is on a device.
    pub(super) fn is_bare(&self, id: &str) -> bool {
        self.on(id).is_empty()
    }

    /// Returns whether a device is listed no more, and its memory is not free yet.
    pub(super) fn lingers(&self) -> bool {
        !self.lingering.is_empty()
    }

    /// Frees the memory of a device that is listed no more, if there is one.
    pub(super) fn free_lingering(&mut self) -> Option<Vec<Event>> {
        let (id, device) = self.lingering.pop()?;
        Some(self.free(&id, device))
    }

    fn free(&mut self, id: &str, device: Device) -> Vec<Event> {
        if let Some(node) = device.node.and_then(|node| self.nodes.get_mut(&node)) {
            *node = None;
        }
        let path = format!("/machine/peripheral/{id}/virtio-backend");
        let data = [json!({"path": path}), json!({"device": id})];
        data.map(|data| event("DEVICE_DELETED", data)).into()
    }

    /// The guest keeps a device.
    pub(super) fn reject(&mut self, id: &str) -> Vec<Event> {
        if let Some(device) = self.devices.get_mut(id) {
            device.going = false;
        }
        vec![event("DEVICE_UNPLUG_GUEST_ERROR", json!({"device": id}))]
    }

    /// Returns the devices that use nodes.
    fn using(&self) -> impl Iterator<Item = &Device> {
        let lingering = self.lingering.iter().map(|(_, device)| device);
        self.devices.values().chain(lingering)
    }

    fn on(&self, controller: &str) -> Vec<String> {
        let on_it = |device: &Device| device.controller.as_deref() == Some(controller);
        let on_it = self.devices.iter().filter(|(_, device)| on_it(device));
        on_it.map(|(id, _)| id.clone()).collect()
    }

    /// Runs a command.
    pub(in crate::tests) fn run(
        &mut self,
        name: &'static str,
        with: &Value,
    ) -> (Reply, Vec<Event>) {
        let mut events = Vec::new();
        let reply = self.execute(name, with, &mut events);
        (reply, events)
    }

    fn execute(&mut self, name: &'static str, with: &Value, events: &mut Vec<Event>) -> Reply {
        let text = |key: &str| with[key].as_str().unwrap_or_default().to_owned();
        let list = |key: &str, names: &mut dyn Iterator<Item = &String>| -> Reply {
            Ok(names.map(|name| json!({key: name})).collect())
        };
        match name {
            "query-qmp-schema" => {
                let commands = ["x-blockdev-set-iothread", "block-export-add"];
                Ok(commands
                    .iter()
                    .map(|name| json!({"name": name, "meta-type": "command"}))
                    .collect())
            }
            "device-list-properties" => Ok(json!([{"name": "iothread-vq-mapping"}])),
            "qom-list" => list("name", &mut self.devices.keys()),
            "query-named-block-nodes" => list("node-name", &mut self.nodes.keys()),
            "query-block" => {
                let nodes = self.using().filter_map(|device| device.node.as_ref());
                let inserted = nodes.map(|node| json!({"inserted": {"node-name": node}}));
                Ok(inserted.collect())
            }
            "query-block-exports" => Ok(self
                .exports
                .iter()
                .map(|(id, ending)| json!({"id": id, "shutting-down": ending}))
                .collect()),
            "query-iothreads" => Ok(self
                .threads
                .iter()
                .map(|id| json!({"id": id, "thread-id": 1, "poll-max-ns": 0}))
                .collect()),
            "qom-get" => {
                let id = text("path").split('/').next_back().map(str::to_owned);
                let device = self.devices.get(&id.unwrap_or_default());
                device
                    .map(|d| d.mapping.clone())
                    .ok_or_else(|| refuse(name))
            }
            "blockdev-add" => {
                let node = text("node-name");
                if self.nodes.contains_key(&node) {
                    return Err(refuse(name));
                }
                self.nodes.insert(node, None);
                Ok(json!({}))
            }
            "blockdev-del" => {
                let node = text("node-name");
                let used = self
                    .using()
                    .any(|device| device.node.as_ref() == Some(&node));
                if used || self.exports.contains_key(&node) || self.nodes.remove(&node).is_none() {
                    return Err(refuse(name));
                }
                Ok(json!({}))
            }
            "x-blockdev-set-iothread" => {
                let thread = with["iothread"].as_str().map(str::to_owned);
                self.set_thread(name, &text("node-name"), thread)
            }
            "block-export-add" => {
                let thread = with["iothread"].as_str().map(str::to_owned);
                self.set_thread(name, &text("node-name"), thread)?;
                self.exports.insert(text("id"), false);
                Ok(json!({}))
            }
            "block-export-del" => {
                let id = text("id");
                self.exports.remove(&id).ok_or_else(|| refuse(name))?;
                events.push(event("BLOCK_EXPORT_DELETED", json!({"id": id})));
                Ok(json!({}))
            }
            "device_add" => self.add_device(name, with),
            "device_del" => {
                let id = text("id");
                let Some(device) = self.devices.get_mut(&id) else {
                    return Err(refuse_as(name, "DeviceNotFound"));
                };
                if device.controller.is_some() {
                    events.extend(self.remove(&id));
                } else if std::mem::replace(&mut device.going, true) {
                    return Err(refuse(name));
                }
                Ok(json!({}))
            }
            "object-add" => {
                let id = text("id");
                if !self.spent.insert(id.clone()) {
                    self.violations.push(format!("thread {id} was made twice"));
                }
                self.threads.insert(id);
                Ok(json!({}))
            }
            "object-del" => {
                let id = text("id");
                let user = self.users().find(|(_, thread)| **thread == id);
                if let Some((user, _)) = user {
                    let violation = format!("thread {id} was deleted while {user} used it");
                    self.violations.push(violation);
                }
                let known = self.threads.remove(&id);
                known.then(|| json!({})).ok_or_else(|| refuse(name))
            }
            other => panic!("{other}"),
        }
    }

    fn set_thread(&mut self, name: &'static str, node: &str, thread: Option<String>) -> Reply {
        self.check_thread(thread.as_ref());
        let node = self.nodes.get_mut(node).ok_or_else(|| refuse(name))?;
        *node = thread;
        Ok(json!({}))
    }

    fn check_thread(&mut self, thread: Option<&String>) {
        if let Some(thread) = thread.filter(|thread| !self.threads.contains(*thread)) {
            self.violations
                .push(format!("thread {thread} is used and is not there"));
        }
    }

    fn add_device(&mut self, name: &'static str, with: &Value) -> Reply {
        let id = with["id"].as_str().unwrap_or_default().to_owned();
        let bus = with["bus"].as_str().unwrap_or_default();
        let is_scsi = with["driver"] == "scsi-hd";
        let controller = is_scsi.then(|| bus.trim_end_matches(".0").to_owned());
        let mapping = &with["iothread-vq-mapping"];
        let mapped = mapping.as_array().into_iter().flatten();
        let threads = [&with["iothread"]]
            .into_iter()
            .chain(mapped.map(|entry| &entry["iothread"]));
        let mut threads: Vec<_> = threads
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        if let Some(controller) = &controller {
            let known = self.devices.get(controller).ok_or_else(|| refuse(name))?;
            threads.clone_from(&known.threads);
        }
        let place = match is_scsi {
            true => format!("{bus} target {}", with["scsi-id"]),
            false => format!("{bus} {}", with["addr"]),
        };
        for thread in &threads {
            self.check_thread(Some(thread));
        }
        if let Some((other, _)) = self
            .devices
            .iter()
            .find(|(_, device)| device.place == place)
        {
            // 10.0 refuses, and 7.2 accepts.
            self.violations
                .push(format!("{id} comes to {place}, where {other} is"));
        }
        let node = with["drive"].as_str().map(str::to_owned);
        let missing = node
            .as_ref()
            .is_some_and(|node| !self.nodes.contains_key(node));
        if self.devices.contains_key(&id) || missing {
            return Err(refuse(name));
        }
        if let Some(node) = node.as_ref().and_then(|node| self.nodes.get_mut(node)) {
            *node = threads.first().cloned();
        }
        let device = Device {
            place,
            controller,
            node,
            threads,
            going: false,
            mapping: mapping.clone(),
        };
        self.devices.insert(id, device);
        Ok(json!({}))
    }
}

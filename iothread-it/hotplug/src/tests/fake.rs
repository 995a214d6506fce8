//! A QEMU of a few maps, whose answers can be lost at any command.
//!
//! Its refusals have words that QEMU never uses: nothing may depend on those.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

use super::soon;
use qmp_client::Qmp;
use qmp_client::mock::{event, peer_until, refuses, returns};

/// What happens to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// QEMU does not hear it.
    NotHeard,
    /// It is carried out, and the reply is lost.
    ReplyLost,
    /// It is refused.
    Refused,
    /// The channel ends before it.
    ClosedBefore,
    /// The channel ends once it is carried out.
    ClosedAfter,
}

impl Fault {
    pub(super) const ALL: [Self; 5] = [
        Self::NotHeard,
        Self::ReplyLost,
        Self::Refused,
        Self::ClosedBefore,
        Self::ClosedAfter,
    ];
}

/// What QEMU has.
#[derive(Debug, Default)]
pub(super) struct Has {
    pub(super) threads: BTreeSet<String>,
    /// Each with its thread.
    pub(super) nodes: BTreeMap<String, Option<String>>,
    /// Each with its arguments.
    pub(super) devices: BTreeMap<String, Value>,
    /// Each with its node.
    pub(super) exports: BTreeMap<String, String>,
    /// Threads that were deleted while something used them.
    pub(super) deleted_in_use: Vec<String>,
    /// Commands that came.
    pub(super) heard: usize,
    /// The fault, and how many commands come before it.
    fault: Option<(usize, Fault)>,
}

#[derive(Debug, Clone)]
pub(super) struct Fake(Arc<Mutex<Has>>);

impl Fake {
    pub(super) fn with_threads(threads: impl IntoIterator<Item = String>) -> Self {
        let threads = threads.into_iter().collect();
        Self(Arc::new(Mutex::new(Has {
            threads,
            ..Has::default()
        })))
    }

    pub(super) fn connect(&self) -> Qmp {
        let fake = self.clone();
        let stream = peer_until(move |call, id| fake.has().answer(call, id));
        Qmp::negotiate(stream, soon()).unwrap()
    }

    pub(super) fn has(&self) -> MutexGuard<'_, Has> {
        self.0.lock().unwrap()
    }

    /// Lets a fault strike behind so many commands.
    pub(super) fn arm(&self, after: usize, fault: Fault) {
        self.has().fault = Some((after, fault));
    }

    /// Takes back a fault. Returns whether it has struck.
    pub(super) fn disarm(&self) -> bool {
        self.has().fault.take().is_none()
    }
}

/// How `query-block` shows a device that uses a node.
fn used(device: &Value) -> Option<Value> {
    let drive = device.get("drive")?;
    Some(json!({"device": "", "inserted": {"node-name": drive}}))
}

type Refusal = (&'static str, &'static str);

const REFUSED: Refusal = ("GenericError", "no");

impl Has {
    fn answer(&mut self, call: &Value, id: u64) -> Option<String> {
        let name = call["execute"].as_str().unwrap();
        self.heard += 1;
        let fault = match &mut self.fault {
            Some((0, fault)) => Some(*fault),
            Some((after, _)) => {
                *after -= 1;
                None
            }
            None => None,
        };
        if fault.is_some() {
            self.fault = None;
        }
        match fault {
            Some(Fault::NotHeard) => return Some(String::new()),
            Some(Fault::Refused) => return Some(refuses(id, REFUSED.0, REFUSED.1)),
            Some(Fault::ClosedBefore) => return None,
            Some(Fault::ReplyLost | Fault::ClosedAfter) | None => {}
        }
        let mut events = String::new();
        let reply = match self.run(name, &call["arguments"], &mut events) {
            Ok(value) => returns(id, &value.to_string()),
            Err((class, desc)) => refuses(id, class, desc),
        };
        match fault {
            Some(Fault::ReplyLost) => Some(events),
            Some(Fault::ClosedAfter) => None,
            _ => Some(reply + &events),
        }
    }

    fn run(&mut self, name: &str, with: &Value, events: &mut String) -> Result<Value, Refusal> {
        let text = |key: &str| with[key].as_str().map(str::to_owned);
        let names = |key: &str, names: Vec<&String>| -> Value {
            names.into_iter().map(|name| json!({key: name})).collect()
        };
        match name {
            "query-qmp-schema" => {
                let commands = ["x-blockdev-set-iothread", "block-export-add"];
                let entry = |name| json!({"name": name, "meta-type": "command"});
                return Ok(commands.map(entry).as_slice().into());
            }
            "device-list-properties" => return Ok(json!([{"name": "iothread-vq-mapping"}])),
            "qom-list" => return Ok(names("name", self.devices.keys().collect())),
            "query-named-block-nodes" => {
                return Ok(names("node-name", self.nodes.keys().collect()));
            }
            "query-block" => return Ok(self.devices.values().filter_map(used).collect()),
            "query-block-exports" => {
                let export = |id: &String| json!({"id": id, "shutting-down": false});
                return Ok(self.exports.keys().map(export).collect());
            }
            "query-iothreads" => {
                let thread = |id| json!({"id": id, "thread-id": 1, "poll-max-ns": 0});
                return Ok(self.threads.iter().map(thread).collect());
            }
            "blockdev-add" => {
                let node = text("node-name").unwrap();
                if self.nodes.contains_key(&node) {
                    return Err(REFUSED);
                }
                self.nodes.insert(node, None);
            }
            "blockdev-del" => {
                let node = text("node-name").unwrap();
                let drives = self.devices.values().map(|device| &device["drive"]);
                let used = drives.into_iter().any(|drive| *drive == *node)
                    || self.exports.values().any(|used| *used == node);
                if used || self.nodes.remove(&node).is_none() {
                    return Err(REFUSED);
                }
            }
            "x-blockdev-set-iothread" => {
                let thread = self.known(text("iothread"))?;
                *self
                    .nodes
                    .get_mut(&text("node-name").unwrap())
                    .ok_or(REFUSED)? = thread;
            }
            "device_add" => self.add_device(with, text("drive"), text("iothread"))?,
            "device_del" => {
                let id = text("id").unwrap();
                if !self.devices.contains_key(&id) {
                    return Err(("DeviceNotFound", "no"));
                }
                let bus = format!("{id}.0");
                self.devices.retain(|name, device| {
                    let goes = *name == id || device["bus"] == *bus;
                    if goes {
                        *events += &event("DEVICE_DELETED", name);
                    }
                    !goes
                });
            }
            "block-export-add" => {
                let (id, node) = (text("id").unwrap(), text("node-name").unwrap());
                let thread = self.known(text("iothread"))?;
                *self.nodes.get_mut(&node).ok_or(REFUSED)? = thread;
                self.exports.insert(id, node);
            }
            "block-export-del" => {
                let id = text("id").unwrap();
                self.exports.remove(&id).ok_or(REFUSED)?;
                let deleted = json!({"event": "BLOCK_EXPORT_DELETED", "data": {"id": id}});
                *events += &format!("{deleted}\n");
            }
            "object-add" => {
                let new = self.threads.insert(text("id").unwrap());
                new.then_some(()).ok_or(REFUSED)?;
            }
            "object-del" => {
                let id = text("id").unwrap();
                if !self.threads.remove(&id) {
                    return Err(REFUSED);
                }
                if self.users().iter().any(|(_, thread)| *thread == id) {
                    self.deleted_in_use.push(id);
                }
            }
            _ => {}
        }
        Ok(json!({}))
    }

    fn known(&self, thread: Option<String>) -> Result<Option<String>, Refusal> {
        match thread {
            Some(thread) if !self.threads.contains(&thread) => Err(REFUSED),
            thread => Ok(thread),
        }
    }

    fn add_device(
        &mut self,
        with: &Value,
        drive: Option<String>,
        thread: Option<String>,
    ) -> Result<(), Refusal> {
        let id = with["id"].as_str().unwrap().to_owned();
        let controller = with["bus"].as_str().and_then(|bus| bus.strip_suffix(".0"));
        let controller = controller.and_then(|id| self.devices.get(id));
        let thread = match controller {
            Some(controller) => controller["iothread"].as_str().map(str::to_owned),
            None => self.known(thread)?,
        };
        if self.devices.contains_key(&id) {
            return Err(REFUSED);
        }
        if let Some(drive) = drive {
            *self.nodes.get_mut(&drive).ok_or(REFUSED)? = thread;
        }
        self.devices.insert(id, with.clone());
        Ok(())
    }

    /// Returns what uses which thread.
    pub(super) fn users(&self) -> Vec<(String, String)> {
        let nodes = self.nodes.iter().map(|(id, thread)| (id, thread.clone()));
        let devices = self.devices.iter().map(|(id, device)| {
            let thread = device["iothread"].as_str().map(str::to_owned);
            (id, thread)
        });
        nodes
            .chain(devices)
            .filter_map(|(id, thread)| Some((id.clone(), thread?)))
            .collect()
    }
}

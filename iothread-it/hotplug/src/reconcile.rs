//! The comparison of what is recorded with what QEMU has.
//!
//! A record is the most that QEMU can have, so what QEMU has less of is corrected. What QEMU has
//! more of belongs to somebody else, and is only reported.

use std::collections::BTreeSet;
use std::fmt;

use iothread_pool::DeviceId;
use qmp_client::QmpError;
use qmp_client::command::{QomList, QueryBlockExports, QueryIothreads, QueryNamedBlockNodes};
use serde_json::Value;

use crate::context::{Context, Core, Input, Progress};
use crate::plug::PERIPHERAL;
use crate::state::{DiskState, NodeState, Subject};
use crate::wire::read_reply;

/// A difference between the records and QEMU.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Difference {
    /// QEMU no longer has a device. A [settle](crate::Hotplug::settle) completes its removal.
    DeviceGone(DeviceId),
    /// QEMU has nothing of a device: its thread and slot have been freed.
    NothingLeft(DeviceId),
    /// QEMU has a device whose record says that its node alone is left. The record is corrected.
    DeviceThere(DeviceId),
    /// QEMU has a device that is not recorded.
    UnknownDevice(String),
    /// QEMU has a named block node that is not recorded.
    UnknownNode(String),
    /// QEMU no longer has an export. Its node can be closed.
    ExportGone(DeviceId),
    /// QEMU has nothing of a node without a device: its thread has been freed.
    NodeGone(DeviceId),
    /// QEMU does not list a thread of the pool. Devices that it serves go on.
    ThreadGone(String),
    /// QEMU has a thread that is not in the pool.
    UnknownThread(String),
    /// QEMU has a stray thread no more.
    StrayThreadGone(String),
    /// QEMU names a holder of a thread which the pool does not place there.
    UnknownHolder {
        /// The thread.
        thread: String,
        /// The holder.
        holder: String,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeviceGone(id) => write!(f, "QEMU no longer has device `{id}`"),
            Self::NothingLeft(id) => write!(f, "QEMU has nothing left of `{id}`"),
            Self::DeviceThere(id) => write!(f, "QEMU has device `{id}`, only its node is recorded"),
            Self::UnknownDevice(id) => write!(f, "QEMU has device `{id}`, which is not recorded"),
            Self::UnknownNode(id) => write!(f, "QEMU has block node `{id}`, which is not recorded"),
            Self::ExportGone(id) => write!(f, "QEMU no longer has export `{id}`"),
            Self::NodeGone(id) => write!(f, "QEMU no longer has block node `{id}`"),
            Self::ThreadGone(id) => write!(f, "QEMU does not list IOThread `{id}`"),
            Self::UnknownThread(id) => write!(f, "QEMU has IOThread `{id}`, which is not recorded"),
            Self::StrayThreadGone(id) => write!(f, "QEMU no longer has stray IOThread `{id}`"),
            Self::UnknownHolder { thread, holder } => {
                write!(
                    f,
                    "`{holder}` holds IOThread `{thread}`, which is not recorded"
                )
            }
        }
    }
}

/// A comparison. Its queries are answered one after the other, and operations go on meanwhile: only
/// what was there before the first query is compared.
#[derive(Debug, Default)]
pub(crate) struct Reconcile {
    /// When the first query was made.
    asked: u64,
    /// What was recorded then.
    known: BTreeSet<String>,
    devices: Option<BTreeSet<String>>,
    nodes: Option<BTreeSet<String>>,
    exports: Option<BTreeSet<String>>,
}

impl Reconcile {
    pub(crate) fn step(
        &mut self,
        cx: &mut Context<'_>,
        input: Input,
    ) -> Progress<Result<Vec<Difference>, QmpError>> {
        let next = match input {
            Input::Reply(reply) => reply.and_then(|reply| self.take(cx, reply)),
            _ => Ok(self.begin(cx)),
        };
        next.unwrap_or_else(|error| {
            cx.core.note_missed_list();
            Progress::Done(Err(error))
        })
    }

    fn begin(&mut self, cx: &mut Context<'_>) -> Progress<Result<Vec<Difference>, QmpError>> {
        let core = &mut *cx.core;
        self.asked = core.next();
        let ids = core.devices.keys().chain(core.nodes.keys());
        let threads = core.pool.threads().iter().chain(&core.stray_threads);
        let threads = threads.map(ToString::to_string);
        self.known = ids.map(ToString::to_string).chain(threads).collect();
        for (id, device) in &mut core.devices {
            // Events from here on are about what is queried now.
            device.unsure &= core.busy.contains_key(&Subject::Device(id.clone()));
        }
        cx.send(&PERIPHERAL)
    }

    fn take(
        &mut self,
        cx: &mut Context<'_>,
        reply: Value,
    ) -> Result<Progress<Result<Vec<Difference>, QmpError>>, QmpError> {
        if self.devices.is_none() {
            let devices = read_reply::<QomList<'_>>(reply)?;
            self.devices = Some(devices.into_iter().map(|device| device.name).collect());
            return Ok(cx.send(&QueryNamedBlockNodes { flat: true }));
        }
        if self.nodes.is_none() {
            let nodes = read_reply::<QueryNamedBlockNodes>(reply)?;
            let names = nodes.into_iter().filter_map(|node| node.node_name);
            self.nodes = Some(names.filter(|name| !name.starts_with('#')).collect());
            return Ok(cx.send(&QueryBlockExports {}));
        }
        if self.exports.is_none() {
            let exports = read_reply::<QueryBlockExports>(reply)?;
            self.exports = Some(exports.into_iter().map(|export| export.id).collect());
            return Ok(cx.send(&QueryIothreads {}));
        }
        let mut found = Vec::new();
        self.compare_threads(cx.core, reply, &mut found)?;
        self.compare_devices(cx.core, &mut found);
        self.compare_nodes(cx.core, &mut found);
        Ok(Progress::Done(Ok(found)))
    }

    /// Returns whether something was recorded before the first query.
    fn was_known(&self, id: impl AsRef<str>) -> bool {
        self.known.contains(id.as_ref())
    }

    fn compare_threads(
        &self,
        core: &mut Core,
        reply: Value,
        found: &mut Vec<Difference>,
    ) -> Result<(), QmpError> {
        let holders = holders(&reply);
        let threads = read_reply::<QueryIothreads>(reply)?;
        let listed: BTreeSet<String> = threads.into_iter().map(|info| info.id).collect();
        for thread in core.pool.threads() {
            if self.was_known(thread.as_str()) && !listed.contains(thread.as_str()) {
                found.push(Difference::ThreadGone(thread.to_string()));
            }
        }
        let gone: Vec<_> = core.stray_threads.iter().cloned().collect();
        for thread in gone {
            let is_busy = core.busy.contains_key(&Subject::Thread(thread.clone()));
            let was_known = self.was_known(thread.as_str());
            if was_known && !is_busy && !listed.contains(thread.as_str()) {
                core.stray_threads.remove(&thread);
                found.push(Difference::StrayThreadGone(thread.to_string()));
            }
        }
        for thread in &listed {
            let mut known = core.pool.threads().iter().chain(&core.stray_threads);
            if !self.was_known(thread) && !known.any(|known| known.as_str() == thread) {
                found.push(Difference::UnknownThread(thread.clone()));
            }
        }
        for (thread, texts) in holders {
            if !texts
                .iter()
                .any(|text| Self::is_placed(core, &thread, text))
            {
                let holder = texts.join(" ");
                found.push(Difference::UnknownHolder { thread, holder });
            }
        }
        Ok(())
    }

    /// Returns whether the pool has a device on a thread.
    fn is_placed(core: &Core, thread: &str, holder: &str) -> bool {
        let mut threads = core.pool.threads().iter();
        let thread = threads.find(|known| known.as_str() == thread);
        let mut served = thread.into_iter().flat_map(|id| core.pool.served_by(id));
        served.any(|device| holder.split('/').any(|part| part == device.as_str()))
    }

    fn compare_devices(&self, core: &mut Core, found: &mut Vec<Difference>) {
        let (Some(devices), Some(nodes)) = (&self.devices, &self.nodes) else {
            return;
        };
        let known: Vec<_> = core.devices.keys().cloned().collect();
        for id in known {
            let is_busy = core.is_busy(&id);
            let has_disks = core.pool.disks_on(&id).next().is_some();
            let device = core.devices.get_mut(&id);
            let Some(device) = device.filter(|device| !is_busy && device.since < self.asked) else {
                continue;
            };
            let has_device = devices.contains(id.as_str());
            let has_node = device.node.is_some() && nodes.contains(id.as_str());
            match (has_device, has_node) {
                (true, _) if device.state == DiskState::NodeOnly => {
                    device.state = DiskState::Attached;
                    device.news = None;
                    // The list may be older than what has come since.
                    device.unsure = true;
                    found.push(Difference::DeviceThere(id));
                }
                (true, _) => {}
                (false, false) if !has_disks => {
                    device.note_gone();
                    core.forget_device(&id);
                    // It is leased, as every recorded device is.
                    drop(core.pool.release(&id));
                    found.push(Difference::NothingLeft(id));
                }
                (false, _) if device.state.has_device() => {
                    device.note_gone();
                    found.push(Difference::DeviceGone(id));
                }
                (false, _) => {}
            }
        }
        let unknown = devices.iter().filter(|name| {
            let mut known = core.devices.keys();
            *name != "type" && !self.was_known(name) && !known.any(|id| id.as_str() == *name)
        });
        found.extend(unknown.cloned().map(Difference::UnknownDevice));
    }

    fn compare_nodes(&self, core: &mut Core, found: &mut Vec<Difference>) {
        let (Some(nodes), Some(exports)) = (&self.nodes, &self.exports) else {
            return;
        };
        let known: Vec<_> = core.nodes.keys().cloned().collect();
        for id in known {
            let is_busy = core.is_busy(&id);
            let node = core.nodes.get_mut(&id);
            let Some(node) = node.filter(|node| !is_busy && node.since < self.asked) else {
                continue;
            };
            if node.state == NodeState::Exported && !exports.contains(id.as_str()) {
                node.state = NodeState::Bare;
                found.push(Difference::ExportGone(id.clone()));
            }
            if !nodes.contains(id.as_str()) {
                core.nodes.remove(&id);
                drop(core.pool.release(&id));
                found.push(Difference::NodeGone(id));
            }
        }
        let unknown = nodes.iter().filter(|name| {
            let mut known = core.devices.keys().chain(core.nodes.keys());
            !self.was_known(name) && !known.any(|id| id.as_str() == *name)
        });
        found.extend(unknown.cloned().map(Difference::UnknownNode));
    }
}

/// Returns what `query-iothreads` names as the holders of each thread, where QEMU does. The form of a holder is not
/// fixed by a release yet: every text of it may name it.
fn holders(reply: &Value) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for thread in reply.as_array().into_iter().flatten() {
        let id = thread["id"].as_str().unwrap_or_default();
        for holder in thread["holders"].as_array().into_iter().flatten() {
            let members = holder.as_object().into_iter();
            let members = members.flat_map(serde_json::Map::values);
            let texts = members.chain([holder]).filter_map(Value::as_str);
            found.push((id.to_owned(), texts.map(str::to_owned).collect()));
        }
    }
    found
}

//! The saved state as it is serialized, and what must hold for one that comes from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use iothread_pool::{Allocation, DeviceId, IoThreadId, Pool, SavedPool, ScsiAddress};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Saved;
use crate::iothread::Polling;
use crate::state::{Device, Node, NodeState};
use crate::wire;

/// The first member, so that a newer state is refused for its number.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
struct Schema;

impl Schema {
    const NUMBER: u32 = 1;
}

impl From<Schema> for u32 {
    fn from(Schema: Schema) -> Self {
        Schema::NUMBER
    }
}

impl TryFrom<u32> for Schema {
    type Error = String;

    fn try_from(number: u32) -> Result<Self, String> {
        match number {
            Self::NUMBER => Ok(Self),
            _ => Err(format!(
                "the saved state has schema {number}, and this version reads schema {}; restore it \
                 with the version that saved it",
                Self::NUMBER
            )),
        }
    }
}

/// Lists of pairs, not maps: an id that is there twice is an error.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Form {
    schema: Schema,
    pool: SavedPool,
    devices: Vec<(DeviceId, Device)>,
    nodes: Vec<(DeviceId, Node)>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    events_to_come: BTreeSet<DeviceId>,
    stray_threads: Vec<IoThreadId>,
    polling: Vec<(IoThreadId, Polling)>,
}

impl From<Saved> for Form {
    fn from(saved: Saved) -> Self {
        Self {
            schema: Schema,
            pool: saved.pool.into(),
            devices: saved.devices.into_iter().collect(),
            nodes: saved.nodes.into_iter().collect(),
            events_to_come: saved.events_to_come,
            stray_threads: saved.stray_threads.into_iter().collect(),
            polling: saved.polling.into_iter().collect(),
        }
    }
}

impl TryFrom<Form> for Saved {
    type Error = String;

    fn try_from(form: Form) -> Result<Self, String> {
        let saved = Self {
            pool: Pool::restore(form.pool).map_err(|error| chain(&error))?,
            devices: unique(form.devices)?,
            nodes: unique(form.nodes)?,
            events_to_come: form.events_to_come,
            stray_threads: form.stray_threads.into_iter().collect(),
            polling: unique(form.polling)?,
        };
        saved.check().map_err(|why| {
            format!(
                "the saved state contradicts itself: {why}; restore an unchanged copy, or start anew \
                 and reconcile with QEMU"
            )
        })?;
        Ok(saved)
    }
}

impl Saved {
    fn check(&self) -> Result<(), String> {
        for (id, device) in &self.devices {
            self.check_device(id, device)?;
        }
        for (id, node) in &self.nodes {
            if !matches!(self.pool.allocation_of(id), Some(Allocation::Thread(_))) {
                return Err(format!("node `{id}` holds no lease of an IOThread"));
            }
            same(id, "node-name", &node.node, Some(json!(id.as_str())))?;
            match &node.export {
                Some(export) => {
                    same(id, "id", export, Some(json!(id.as_str())))?;
                    same(id, "node-name", export, Some(json!(id.as_str())))?;
                }
                None if node.state == NodeState::Exported => {
                    return Err(format!(
                        "node `{id}` is exported, and its export is missing"
                    ));
                }
                None => {}
            }
        }
        let pooled: BTreeSet<_> = self.pool.threads().iter().collect();
        if let Some(thread) = self.stray_threads.iter().find(|id| pooled.contains(id)) {
            return Err(format!("IOThread `{thread}` is in the pool and stray"));
        }
        Ok(())
    }

    /// Compares what QEMU was given for a device with what the pool has leased to it.
    fn check_device(&self, id: &DeviceId, device: &Device) -> Result<(), String> {
        let mut leased = Map::new();
        leased.insert("id".into(), id.as_str().into());
        if let Some(node) = &device.node {
            same(id, "node-name", node, Some(json!(id.as_str())))?;
            leased.insert("drive".into(), id.as_str().into());
        }
        let mut add = |value: Value| match value {
            Value::Object(members) => leased.extend(members),
            _ => unreachable!("it is an object"),
        };
        match self.pool.allocation_of(id) {
            Some(Allocation::Device(lease) | Allocation::Controller(lease)) => {
                add(wire::json(&wire::address(&lease.slot)));
                add(wire::json(&wire::served_by(&lease.assignment)));
                let queues = ["num-queues", "num_queues"];
                let queues = queues
                    .into_iter()
                    .find(|key| device.device.get(key).is_some());
                add(queues.map_or(json!({}), |key| json!({key: lease.queues})));
            }
            Some(Allocation::Scsi(address)) => add(json!({
                "bus": format!("{}.0", address.controller),
                "scsi-id": address.target,
                "lun": ScsiAddress::LUN,
            })),
            Some(Allocation::Thread(_)) | None => {
                return Err(format!(
                    "device `{id}` holds no lease of a slot or a SCSI target"
                ));
            }
        }
        let keys = [
            "id",
            "drive",
            "bus",
            "addr",
            "iothread",
            "iothread-vq-mapping",
            "num-queues",
            "num_queues",
            "scsi-id",
            "lun",
        ];
        for key in keys {
            same(id, key, &device.device, leased.remove(key))?;
        }
        Ok(())
    }
}

/// Checks one member of arguments.
fn same(
    id: &DeviceId,
    key: &str,
    arguments: &Value,
    expected: Option<Value>,
) -> Result<(), String> {
    let found = arguments.get(key);
    if found == expected.as_ref() {
        return Ok(());
    }
    let text = |value: Option<&Value>| value.map_or("none".to_owned(), Value::to_string);
    Err(format!(
        "`{key}` in the arguments of `{id}` is {}, and should be {}",
        text(found),
        text(expected.as_ref())
    ))
}

fn unique<K: Ord + Display, V>(pairs: Vec<(K, V)>) -> Result<BTreeMap<K, V>, String> {
    let mut map = BTreeMap::new();
    for (key, value) in pairs {
        if map.contains_key(&key) {
            return Err(format!("the saved state has `{key}` twice"));
        }
        map.insert(key, value);
    }
    Ok(map)
}

/// The error with its causes: serde keeps one text.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

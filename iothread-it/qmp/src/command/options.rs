//! Options of devices and nodes that are passed to QEMU untouched.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::FileNode;

/// An option that has a field of its own, because a VM manager's records depend on it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the option `{key}` is reserved: {instead}")]
pub struct ReservedOption {
    /// The option.
    pub key: String,
    /// What determines it.
    pub instead: &'static str,
}

/// Options of `device_add` that have no field of their own, such as `share-rw`, `queue-size`,
/// `logical_block_size`, `iommu_platform` or `werror`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct DeviceOptions(Map<String, Value>);

/// Options of `blockdev-add`: all but the node's name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct NodeOptions(Map<String, Value>);

const QUEUES: &str = "set the device's number of queues";
const THREADS: &str = "the placement determines the IOThreads";
const PLACE: &str = "the device's slot or SCSI address determines it";

/// Options that a device's own fields set, each with what determines it.
const OF_DEVICES: &[(&str, &str)] = &[
    ("addr", PLACE),
    ("bus", PLACE),
    ("channel", PLACE),
    ("drive", "it is the device's block node"),
    ("driver", "it is the kind of device"),
    ("free-page-hint", "every balloon hints at free pages"),
    ("id", "it is the device's id"),
    ("iothread", THREADS),
    ("iothread-vq-mapping", THREADS),
    ("lun", PLACE),
    ("num-queues", QUEUES),
    ("num_queues", QUEUES),
    ("scsi-id", PLACE),
    ("serial", "set the device's serial"),
];

const OF_NODES: &[(&str, &str)] = &[("node-name", "it is the node's name")];

/// Refuses options that have a field, also in the form `iothread-vq-mapping.0`.
fn check(
    options: &Map<String, Value>,
    reserved: &[(&str, &'static str)],
) -> Result<(), ReservedOption> {
    for key in options.keys() {
        let first = key.split('.').next().unwrap_or_default();
        if let Some((_, instead)) = reserved.iter().find(|(name, _)| *name == first) {
            let key = key.clone();
            return Err(ReservedOption { key, instead });
        }
    }
    Ok(())
}

impl DeviceOptions {
    /// Checks options.
    ///
    /// # Errors
    /// If one is reserved: the device's fields set it.
    pub fn new(options: Map<String, Value>) -> Result<Self, ReservedOption> {
        check(&options, OF_DEVICES)?;
        Ok(Self(options))
    }

    /// Returns the options.
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }
}

impl NodeOptions {
    /// Checks options: `driver`, `file`, `discard`, `throttle-group` and so on, of any block driver.
    ///
    /// # Errors
    /// If `node-name` is among them. The nodes below this one can have names.
    pub fn new(options: Map<String, Value>) -> Result<Self, ReservedOption> {
        check(&options, OF_NODES)?;
        Ok(Self(options))
    }

    /// Makes the options of a raw image in a file.
    pub fn raw(file: &FileNode<'_>, read_only: bool) -> Self {
        let options = serde_json::json!({"driver": "raw", "read-only": read_only, "file": file});
        match options {
            Value::Object(options) => Self(options),
            _ => unreachable!("the macro makes an object"),
        }
    }

    /// Returns the options.
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }
}

macro_rules! maps {
    ($($type:ident),*) => {$(
        impl TryFrom<Map<String, Value>> for $type {
            type Error = ReservedOption;

            fn try_from(options: Map<String, Value>) -> Result<Self, ReservedOption> {
                Self::new(options)
            }
        }

        impl From<$type> for Map<String, Value> {
            fn from(options: $type) -> Self {
                options.0
            }
        }
    )*};
}

maps!(DeviceOptions, NodeOptions);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn reserved_options_are_refused_by_name() {
        for (key, instead) in OF_DEVICES {
            let options =
                Map::from_iter([("share-rw".into(), json!(true)), ((*key).into(), json!(1))]);
            let error = DeviceOptions::new(options).unwrap_err();
            let expected = format!("the option `{key}` is reserved: {instead}");
            assert_eq!(error.to_string(), expected);
        }
        let dotted = map(json!({"iothread-vq-mapping.0.iothread": "t"}));
        assert!(DeviceOptions::new(dotted).is_err());
        let error =
            NodeOptions::new(map(json!({"driver": "qcow2", "node-name": "n"}))).unwrap_err();
        let expected = "the option `node-name` is reserved: it is the node's name";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn other_options_are_untouched() {
        let device = json!({
            "share-rw": true, "queue-size": 256, "logical_block_size": 4096, "werror": "stop",
            "iommu_platform": "on", "id2": null,
        });
        assert_eq!(
            json!(DeviceOptions::new(map(device.clone())).unwrap()),
            device
        );
        let node = json!({
            "driver": "throttle", "throttle-group": "g", "discard": "unmap",
            "file": {"driver": "qcow2", "node-name": "below",
                     "file": {"driver": "file", "filename": "/dev/fdset/3"}},
        });
        assert_eq!(json!(NodeOptions::new(map(node.clone())).unwrap()), node);
    }
}

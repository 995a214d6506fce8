//! `device_add`, and `-device`: the kinds of device that are plugged in here.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::{Command, DeviceOptions};

/// Adds a device.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "driver")]
pub enum DeviceAdd<'a> {
    /// A disk that is a PCI device.
    #[serde(rename = "virtio-blk-pci")]
    VirtioBlk(VirtioBlk<'a>),
    /// A SCSI controller.
    #[serde(rename = "virtio-scsi-pci")]
    VirtioScsi(VirtioScsi<'a>),
    /// A disk on a SCSI controller.
    #[serde(rename = "scsi-hd")]
    ScsiHd(ScsiHd<'a>),
    /// A balloon that hints at free pages.
    #[serde(rename = "virtio-balloon-pci")]
    VirtioBalloon(VirtioBalloon<'a>),
}

impl Command for DeviceAdd<'_> {
    const NAME: &'static str = "device_add";
    type Return = IgnoredAny;
}

/// Where a PCI device goes.
#[derive(Debug, Clone, Serialize)]
pub struct PciAddress<'a> {
    /// The bus.
    pub bus: &'a str,
    /// The slot, in hexadecimal.
    pub addr: String,
}

/// What serves a device. Without either member the main loop does.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ServedBy<'a> {
    /// The IOThread that serves it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iothread: Option<&'a str>,
    /// The IOThreads of its virtqueues. QEMU before 9.2 silently ignores it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub iothread_vq_mapping: Vec<IoThreadVirtQueueMapping>,
}

/// QEMU's `IOThreadVirtQueueMapping`: one thread of a mapping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoThreadVirtQueueMapping {
    /// The thread's id.
    pub iothread: String,
    /// Its virtqueues. If absent, QEMU assigns all virtqueues round-robin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vqs: Option<Vec<u16>>,
}

/// A disk that is a PCI device.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct VirtioBlk<'a> {
    /// Its id.
    pub id: &'a str,
    /// Where it goes.
    #[serde(flatten)]
    pub address: PciAddress<'a>,
    /// The block node behind it.
    pub drive: &'a str,
    /// The serial that the guest reads, at most 20 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<&'a str>,
    /// The number of virtqueues. The guest uses at most one per CPU.
    pub num_queues: u16,
    /// What serves it.
    #[serde(flatten)]
    pub served_by: ServedBy<'a>,
    /// Its other options.
    #[serde(flatten)]
    pub options: DeviceOptions,
}

/// A SCSI controller.
#[derive(Debug, Clone, Serialize)]
pub struct VirtioScsi<'a> {
    /// Its id. That of its bus is `ID.0`.
    pub id: &'a str,
    /// Where it goes.
    #[serde(flatten)]
    pub address: PciAddress<'a>,
    /// How many queues for commands it has. (This one has an underscore.)
    pub num_queues: u16,
    /// What serves them. Its two other queues stay in the main loop if they are mapped.
    #[serde(flatten)]
    pub served_by: ServedBy<'a>,
    /// Its other options.
    #[serde(flatten)]
    pub options: DeviceOptions,
}

/// A disk on a SCSI controller, served by the controller's threads.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ScsiHd<'a> {
    /// Its id.
    pub id: &'a str,
    /// The controller's bus.
    pub bus: String,
    /// The target.
    pub scsi_id: u8,
    /// The LUN.
    pub lun: u8,
    /// The block node behind it.
    pub drive: &'a str,
    /// The serial that the guest reads from page 0x80, at most 36 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<&'a str>,
    /// Its other options.
    #[serde(flatten)]
    pub options: DeviceOptions,
}

/// A balloon.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct VirtioBalloon<'a> {
    /// Its id.
    pub id: &'a str,
    /// Where it goes.
    #[serde(flatten)]
    pub address: PciAddress<'a>,
    /// Whether the guest hints at free pages while it is migrated. Only then a thread serves it.
    pub free_page_hint: bool,
    /// What serves the hints.
    #[serde(flatten)]
    pub served_by: ServedBy<'a>,
    /// Its other options.
    #[serde(flatten)]
    pub options: DeviceOptions,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_device_is_one_flat_object() {
        let options = [("queue-size".into(), json!(64))].into_iter().collect();
        let options = DeviceOptions::new(options).unwrap();
        let device = DeviceAdd::VirtioBlk(VirtioBlk {
            id: "d",
            address: PciAddress {
                bus: "rp0",
                addr: "0x0".into(),
            },
            drive: "d",
            serial: Some("d"),
            num_queues: 2,
            served_by: ServedBy {
                iothread: None,
                iothread_vq_mapping: vec![IoThreadVirtQueueMapping {
                    iothread: "t".into(),
                    vqs: Some(vec![0, 1]),
                }],
            },
            options,
        });
        let expected = json!({
            "driver": "virtio-blk-pci", "id": "d", "bus": "rp0", "addr": "0x0", "drive": "d",
            "serial": "d", "num-queues": 2, "queue-size": 64,
            "iothread-vq-mapping": [{"iothread": "t", "vqs": [0, 1]}],
        });
        assert_eq!(json!(device), expected);
    }
}

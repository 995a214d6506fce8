//! A disk's block node and device, as QMP arguments.

use std::path::{Path, PathBuf};

use iothread_pool::{DeviceId, Lease, PciSlot, ScsiAddress};
use qmp_client::command::{
    BlockdevAdd, Cache, DeviceAdd, DeviceOptions, FileNode, NodeOptions, ScsiHd, VirtioBlk,
};
use serde_json::Value;

use crate::action::{GuestAddress, GuestDisk};
use crate::error::StepError;
use crate::wire;

/// QEMU's limit, in bytes: `Node name too long`.
const LONGEST_NODE_NAME: usize = 31;

/// How many characters of a serial virtio-blk has room for. QEMU silently drops the others.
const LONGEST_SERIAL: usize = 20;

/// A disk to attach.
#[derive(Debug, Clone, PartialEq)]
pub struct DiskSpec {
    /// Its id: of the device and of the block node.
    pub id: DeviceId,
    /// An image, or a block device of the host.
    pub path: PathBuf,
    /// Whether the guest may only read it.
    pub read_only: bool,
    /// How many queues it has. As many as the VM has CPUs if `None`, as with Kata.
    pub queues: Option<u16>,
    /// The serial that the guest reads: 20 characters of a virtio-blk disk, 36 of a SCSI disk.
    pub serial: Option<String>,
    /// The block node, instead of a raw one on the path: any format, descriptors of `add-fd`, throttling
    /// and so on. The path is then not used.
    pub node: Option<NodeOptions>,
    /// Further options of `device_add`, such as `share-rw`.
    pub device_options: DeviceOptions,
}

impl DiskSpec {
    /// A raw image that the guest may write, with a queue for each CPU, and its id as the serial.
    pub fn new(id: DeviceId, path: impl Into<PathBuf>) -> Self {
        Self {
            serial: Some(id.to_string()),
            id,
            path: path.into(),
            read_only: false,
            queues: None,
            node: None,
            device_options: DeviceOptions::default(),
        }
    }

    /// Checks the serial of a virtio-blk disk. QEMU itself refuses one that is too long for a SCSI disk.
    pub(crate) fn check_serial(&self) -> Result<(), StepError> {
        match &self.serial {
            Some(serial) if serial.len() > LONGEST_SERIAL => {
                let serial = serial.clone();
                Err(StepError::SerialTooLong { serial })
            }
            _ => Ok(()),
        }
    }

    /// The arguments of `blockdev-add`.
    pub(crate) fn node(&self, options: &BlockOptions) -> Result<Value, StepError> {
        let node_name = self.id.as_str();
        if node_name.len() > LONGEST_NODE_NAME {
            return Err(StepError::NodeNameTooLong {
                id: self.id.clone(),
            });
        }
        if let Some(options) = self.node.clone() {
            return Ok(wire::json(&BlockdevAdd { node_name, options }));
        }
        // QMP is JSON, so a path must be text.
        let filename = self.path.to_str().ok_or_else(|| StepError::PathNotUtf8 {
            path: self.path.clone(),
        })?;
        let file = FileNode {
            driver: file_driver(&self.path),
            filename,
            aio: options.aio,
            cache: Cache {
                direct: options.cache_direct,
                no_flush: options.cache_no_flush,
            },
        };
        let options = NodeOptions::raw(&file, self.read_only);
        Ok(wire::json(&BlockdevAdd { node_name, options }))
    }

    /// The arguments of `device_add`.
    pub(crate) fn device(&self, lease: &Lease, options: &BlockOptions) -> Value {
        let id = self.id.as_str();
        let device = DeviceAdd::VirtioBlk(VirtioBlk {
            id,
            address: wire::address(&lease.slot),
            drive: id,
            serial: self.serial.as_deref(),
            num_queues: lease.queues,
            served_by: wire::served_by(&lease.assignment),
            options: wire::with_queue_size(&self.device_options, "queue-size", options.queue_size),
        });
        wire::json(&device)
    }

    /// The arguments of `device_add` on a controller.
    pub(crate) fn device_on(&self, address: &ScsiAddress) -> Value {
        let id = self.id.as_str();
        let device = DeviceAdd::ScsiHd(ScsiHd {
            id,
            bus: format!("{}.0", address.controller),
            scsi_id: address.target,
            lun: ScsiAddress::LUN,
            drive: id,
            serial: self.serial.as_deref(),
            options: self.device_options.clone(),
        });
        wire::json(&device)
    }

    /// How the guest finds it.
    pub(crate) fn in_guest(&self, address: GuestAddress) -> GuestDisk {
        GuestDisk {
            id: self.id.clone(),
            serial: self.serial.clone(),
            address,
        }
    }
}

/// Where the guest finds a disk on a controller in this slot.
pub(crate) fn scsi_address(controller: PciSlot, address: &ScsiAddress) -> GuestAddress {
    GuestAddress::Scsi {
        controller,
        target: address.target,
        lun: ScsiAddress::LUN,
    }
}

/// How QEMU opens disks on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockOptions {
    /// QEMU's `aio`: `threads`, `native` or `io_uring`.
    pub aio: &'static str,
    /// QEMU's `cache.direct`: bypasses the host's page cache.
    pub cache_direct: bool,
    /// QEMU's `cache.no-flush`: ignores the guest's flushes.
    pub cache_no_flush: bool,
    /// The number of queues of a disk that does not state it.
    pub queues: u16,
    /// How many requests a queue of a disk or a SCSI controller has whose options do not state it: a power
    /// of two from 4 to 1024. `None`: QEMU's default.
    pub queue_size: Option<u16>,
}

/// QEMU has a separate driver for the host's block devices.
fn file_driver(path: &Path) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let is_block_device =
        std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_block_device());
    if is_block_device {
        "host_device"
    } else {
        "file"
    }
}

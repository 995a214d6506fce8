//! A disk as QEMU is told of it: a block node, and a device on it.

use std::path::{Path, PathBuf};

use super::{StepError, wire};
use crate::config::HypervisorConfig;
use crate::pool::{DeviceId, Lease};
use crate::qmp::command::{BlockdevAdd, Cache, DeviceAdd, FileNode, VirtioBlk};

/// A disk to attach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskSpec {
    /// Its id: of the device, of the block node, and the serial in the guest.
    pub id: DeviceId,
    /// A raw image, or a block device of the host.
    pub path: PathBuf,
    /// Whether the guest may only read it.
    pub read_only: bool,
    /// How many queues it has. As many as the VM has CPUs if `None`, as with Kata.
    pub queues: Option<u16>,
}

impl DiskSpec {
    /// A disk that the guest may write, with a queue for each CPU.
    pub fn new(id: DeviceId, path: impl Into<PathBuf>) -> Self {
        Self {
            id,
            path: path.into(),
            read_only: false,
            queues: None,
        }
    }

    /// The block node.
    pub(super) fn node(&self, options: &BlockOptions) -> Result<BlockdevAdd<'_>, StepError> {
        // QMP is JSON, so a path must be text.
        let filename = self.path.to_str().ok_or_else(|| StepError::PathNotText {
            path: self.path.clone(),
        })?;
        Ok(BlockdevAdd {
            driver: "raw",
            node_name: self.id.as_str(),
            read_only: self.read_only,
            file: FileNode {
                driver: file_driver(&self.path),
                filename,
                aio: options.aio,
                cache: Cache {
                    direct: options.cache_direct,
                    no_flush: options.cache_no_flush,
                },
            },
        })
    }

    /// The device on it.
    pub(super) fn device<'a>(&'a self, lease: &'a Lease) -> DeviceAdd<'a> {
        let id = self.id.as_str();
        DeviceAdd::VirtioBlk(VirtioBlk {
            id,
            address: wire::address(&lease.slot),
            drive: id,
            serial: id,
            num_queues: lease.queues,
            served_by: wire::served_by(&lease.assignment),
        })
    }
}

/// How disks are opened on the host, from Kata's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockOptions {
    aio: &'static str,
    cache_direct: bool,
    cache_no_flush: bool,
    /// Queues of a disk that does not say how many.
    pub(super) queues: u16,
}

impl From<&HypervisorConfig> for BlockOptions {
    fn from(config: &HypervisorConfig) -> Self {
        Self {
            aio: config.aio.as_str(),
            cache_direct: config.cache_direct,
            cache_no_flush: config.cache_no_flush,
            queues: u16::try_from(config.vcpus).unwrap_or(u16::MAX),
        }
    }
}

/// QEMU has a driver of its own for the host's block devices.
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

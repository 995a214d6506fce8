//! A disk's block node and device, as QMP arguments.

use std::path::{Path, PathBuf};

use super::{StepError, wire};
use iothread_pool::{DeviceId, Lease};
use qmp_client::command::{
    BlockdevAdd, Cache, DeviceAdd, DeviceOptions, FileNode, NodeOptions, VirtioBlk,
};

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
        Ok(BlockdevAdd {
            node_name: self.id.as_str(),
            options: NodeOptions::raw(&file, self.read_only),
        })
    }

    /// The device on it.
    pub(super) fn device<'a>(&'a self, lease: &'a Lease) -> DeviceAdd<'a> {
        let id = self.id.as_str();
        DeviceAdd::VirtioBlk(VirtioBlk {
            id,
            address: wire::address(&lease.slot),
            drive: id,
            serial: Some(id),
            num_queues: lease.queues,
            served_by: wire::served_by(&lease.assignment),
            options: DeviceOptions::default(),
        })
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

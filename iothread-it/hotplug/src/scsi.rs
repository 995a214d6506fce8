//! A SCSI controller: it has threads, and the disks on it go where it goes.
//!
//! A disk on a controller asks the guest for nothing when it leaves: QEMU takes it away and tells
//! the guest, whose event may come after QEMU's DEVICE_DELETED.

use iothread_pool::{DeviceId, Lease};
use qmp_client::command::{DeviceAdd, DeviceOptions, VirtioBalloon, VirtioScsi};
use serde_json::Value;

use crate::disk::BlockOptions;
use crate::wire;

/// A SCSI controller to attach.
#[derive(Debug, Clone, PartialEq)]
pub struct ScsiController {
    /// Its id.
    pub id: DeviceId,
    /// How many queues for commands it has. As many as the VM has CPUs if `None`.
    pub queues: Option<u16>,
    /// Further options of `device_add`, such as `iommu_platform`.
    pub device_options: DeviceOptions,
}

impl ScsiController {
    /// A controller with a queue for each CPU.
    pub fn new(id: DeviceId) -> Self {
        Self {
            id,
            queues: None,
            device_options: DeviceOptions::default(),
        }
    }

    pub(crate) fn device(&self, lease: &Lease, options: &BlockOptions) -> Value {
        let device = DeviceAdd::VirtioScsi(VirtioScsi {
            id: self.id.as_str(),
            address: wire::address(&lease.slot),
            num_queues: lease.queues,
            served_by: wire::served_by(&lease.assignment),
            options: wire::with_queue_size(
                &self.device_options,
                "virtqueue_size",
                options.queue_size,
            ),
        });
        wire::json(&device)
    }
}

/// The arguments of a balloon that hints at free pages (`free-page-hint=on`).
pub(crate) fn balloon(id: &DeviceId, lease: &Lease) -> Value {
    let device = DeviceAdd::VirtioBalloon(VirtioBalloon {
        id: id.as_str(),
        address: wire::address(&lease.slot),
        free_page_hint: true,
        served_by: wire::served_by(&lease.assignment),
        options: DeviceOptions::default(),
    });
    wire::json(&device)
}

//! Devices that are there from the start: on QEMU's command line, and in the pool like any other.
//!
//! They hold leases before QEMU is started, and can be detached like those that were hot-plugged.
//! QEMU gets the same objects, as JSON.

use std::ffi::OsString;

use serde::Serialize;
use serde_json::json;

use super::plug::mapping_of;
use super::state::{Disk, DiskState};
use super::{BlockOptions, DiskSpec, Hotplug, ScsiController, StepError, mapping};
use iothread_pool::{DeviceId, Lease, Placement, Pool, ScsiAddress};
use qmp_client::QemuVersion;
use qmp_client::Qmp;
use qmp_client::command::{BlockdevAdd, DeviceAdd};
use qmp_client::wait::Deadline;

/// The devices that a shape has from the start, and the pool that they draw from.
#[derive(Debug, Clone, Default)]
pub struct ColdPlugged {
    /// Made with the first device. The shape's threads and slots do not change from then on.
    pool: Option<Pool>,
    /// Each with whether it has a block node.
    devices: Vec<(DeviceId, bool)>,
    arguments: Vec<OsString>,
}

impl ColdPlugged {
    /// Returns whether there is no device.
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// Returns QEMU's arguments for them. They belong behind those of the threads and buses.
    pub fn arguments(&self) -> &[OsString] {
        &self.arguments
    }

    fn option(&mut self, flag: &str, value: impl Serialize) {
        self.arguments.push(flag.into());
        self.arguments.push(json!(value).to_string().into());
    }

    fn add(&mut self, id: &DeviceId, node: Option<BlockdevAdd<'_>>, device: DeviceAdd<'_>) {
        self.devices.push((id.clone(), node.is_some()));
        if let Some(node) = node {
            self.option("-blockdev", node);
        }
        self.option("-device", device);
    }
}

impl ColdPlugged {
    /// Plugs a disk in before QEMU starts. `fresh` is the pool of a VM without devices.
    ///
    /// # Errors
    /// If the pool cannot place it so, or its path is not valid UTF-8.
    pub fn plug(
        &mut self,
        fresh: Pool,
        options: &BlockOptions,
        disk: &DiskSpec,
        placement: &Placement,
    ) -> Result<Lease, StepError> {
        let node = disk.node(options)?;
        let queues = disk.queues.unwrap_or(options.queues);
        let lease = self.pool(fresh).lease(&disk.id, queues, placement)?;
        self.add(&disk.id, Some(node), disk.device(&lease));
        Ok(lease)
    }

    /// Plugs a SCSI controller in before QEMU starts. `fresh` is the pool of a VM without devices.
    ///
    /// # Errors
    /// If the pool cannot place it so.
    pub fn plug_controller(
        &mut self,
        fresh: Pool,
        options: &BlockOptions,
        controller: &ScsiController,
        placement: &Placement,
    ) -> Result<Lease, StepError> {
        let id = &controller.id;
        let queues = controller.queues.unwrap_or(options.queues);
        let lease = self.pool(fresh).lease_controller(id, queues, placement)?;
        self.add(id, None, controller.device(&lease));
        Ok(lease)
    }

    /// Plugs a disk into a controller before QEMU starts. `fresh` is the pool of a VM without
    /// devices.
    ///
    /// # Errors
    /// If there is no such controller, or its path is not valid UTF-8.
    pub fn plug_on(
        &mut self,
        fresh: Pool,
        options: &BlockOptions,
        controller: &DeviceId,
        disk: &DiskSpec,
    ) -> Result<ScsiAddress, StepError> {
        let node = disk.node(options)?;
        let address = self.pool(fresh).lease_address(&disk.id, controller)?;
        self.add(&disk.id, Some(node), disk.device_on(&address));
        Ok(address)
    }

    fn pool(&mut self, fresh: Pool) -> &mut Pool {
        self.pool.get_or_insert(fresh)
    }
}

impl Hotplug {
    /// Takes over a VM that has started, with the devices that it has from the start. `fresh` is the
    /// pool of a VM without devices.
    pub fn with_cold_plugged(
        fresh: Pool,
        cold: &ColdPlugged,
        options: BlockOptions,
        qemu: QemuVersion,
        qmp: &Qmp,
    ) -> Self {
        let pool = cold.pool.clone().unwrap_or(fresh);
        let since = qmp.cursor();
        let disk = |(id, has_node): &(DeviceId, bool)| {
            let disk = Disk {
                state: DiskState::Attached,
                has_node: *has_node,
                since,
            };
            (id.clone(), disk)
        };
        Self {
            disks: cold.devices.iter().map(disk).collect(),
            ..Self::new(pool, options, qemu)
        }
    }

    /// Checks that QEMU gave the devices that are there the mappings that they were to have.
    ///
    /// # Errors
    /// If one has another, or QEMU does not say.
    pub fn verify_vq_mappings(&self, qmp: &Qmp, deadline: Deadline) -> Result<(), StepError> {
        for id in self.disks.keys() {
            let lease = self.pool.lease_of(id);
            if let Some(mapping) = lease.and_then(|lease| mapping_of(&lease.assignment)) {
                mapping::verify(qmp, id, mapping, deadline)?;
            }
        }
        Ok(())
    }
}

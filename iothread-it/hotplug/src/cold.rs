//! Devices that are there from the start: on QEMU's command line, and in the pool like any other.
//!
//! They hold leases before QEMU is started, and can be detached like those that were hot-plugged.
//! QEMU gets the same objects, as JSON.

use std::ffi::OsString;

use iothread_pool::{DeviceId, Lease, Placement, Pool, ScsiAddress};
use qmp_client::QemuVersion;
use serde_json::Value;

use crate::disk::{BlockOptions, DiskSpec};
use crate::error::StepError;
use crate::machine::Hotplug;
use crate::scsi::ScsiController;
use crate::state::{Device, DiskState};

/// The devices that a shape has from the start, and the pool that they draw from.
#[derive(Debug, Clone, Default)]
pub struct ColdPlugged {
    /// Made with the first device. The shape's threads and slots do not change from then on.
    pool: Option<Pool>,
    /// Each with the arguments of its node, if it has one, and of its device.
    devices: Vec<(DeviceId, Option<Value>, Value)>,
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

    fn add(&mut self, id: &DeviceId, node: Option<Value>, device: Value) {
        let options = node.iter().map(|node| ("-blockdev", node));
        for (flag, value) in options.chain([("-device", &device)]) {
            self.arguments.push(flag.into());
            self.arguments.push(value.to_string().into());
        }
        self.devices.push((id.clone(), node, device));
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
        disk.check_serial()?;
        let node = disk.node(options)?;
        let queues = disk.queues.unwrap_or(options.queues);
        let lease = self.pool(fresh).lease(&disk.id, queues, placement)?;
        self.add(&disk.id, Some(node), disk.device(&lease, options));
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
        self.add(id, None, controller.device(&lease, options));
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
    ) -> Self {
        let pool = cold.pool.clone().unwrap_or(fresh);
        let mut hotplug = Self::new(pool, options, qemu);
        for (id, node, device) in &cold.devices {
            let mut device = Device::new(DiskState::Attached, node.clone(), device.clone(), 0);
            device.confirmed = true;
            hotplug.core.devices.insert(id.clone(), device);
        }
        hotplug
    }
}

//! Devices that a VM has from the start.

use iothread_hotplug::{BlockOptions, DiskSpec, Hotplug, ScsiController, StepError};
use iothread_pool::{DeviceId, Lease, Placement, Pool, ScsiAddress};
use qmp_client::{QemuVersion, Qmp};

use super::{Shape, slots};

impl Shape {
    /// Plugs a disk in before QEMU starts. Change threads, topology and CPUs before, not after.
    ///
    /// # Errors
    /// If the pool cannot place it so, or its path is not valid UTF-8.
    pub fn plug(&mut self, disk: &DiskSpec, placement: &Placement) -> Result<Lease, StepError> {
        let (pool, options) = (self.fresh_pool(), BlockOptions::from(&self.config));
        self.cold.plug(pool, &options, disk, placement)
    }

    /// Plugs a SCSI controller in before QEMU starts.
    ///
    /// # Errors
    /// If the pool cannot place it so.
    pub fn plug_controller(
        &mut self,
        controller: &ScsiController,
        placement: &Placement,
    ) -> Result<Lease, StepError> {
        let (pool, options) = (self.fresh_pool(), BlockOptions::from(&self.config));
        self.cold
            .plug_controller(pool, &options, controller, placement)
    }

    /// Plugs a disk into a controller before QEMU starts.
    ///
    /// # Errors
    /// If there is no such controller, or its path is not valid UTF-8.
    pub fn plug_on(
        &mut self,
        controller: &DeviceId,
        disk: &DiskSpec,
    ) -> Result<ScsiAddress, StepError> {
        let (pool, options) = (self.fresh_pool(), BlockOptions::from(&self.config));
        self.cold.plug_on(pool, &options, controller, disk)
    }

    /// Takes over a VM of this shape that has started, with the devices that it has.
    pub fn hotplug(&self, qemu: QemuVersion, qmp: &Qmp) -> Hotplug {
        let options = BlockOptions::from(&self.config);
        Hotplug::started(self.fresh_pool(), &self.cold, options, qemu, qmp)
    }

    fn fresh_pool(&self) -> Pool {
        Pool::new(self.threads(), slots(self)).expect("a shape numbers its threads")
    }
}

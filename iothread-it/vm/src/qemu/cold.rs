//! Cold-plugs devices: adds them to the command line.

use iothread_hotplug::blocking::Hotplug;
use iothread_hotplug::{BlockOptions, DiskSpec, ScsiController, StepError};
use iothread_pool::{DeviceId, Lease, Placement, Pool, ScsiAddress};
use qmp_client::{QemuVersion, Qmp};

use super::{VmSpec, slots};

impl VmSpec {
    /// Cold-plugs a disk. Set threads, topology and vCPUs before.
    ///
    /// # Errors
    /// If the placement is not possible, or the path is not valid UTF-8.
    pub fn cold_plug(
        &mut self,
        disk: &DiskSpec,
        placement: &Placement,
    ) -> Result<Lease, StepError> {
        let (pool, options) = (self.fresh_pool(), BlockOptions::from(&self.config));
        self.cold.plug(pool, &options, disk, placement)
    }

    /// Cold-plugs a SCSI controller.
    ///
    /// # Errors
    /// If the placement is not possible.
    pub fn cold_plug_controller(
        &mut self,
        controller: &ScsiController,
        placement: &Placement,
    ) -> Result<Lease, StepError> {
        let (pool, options) = (self.fresh_pool(), BlockOptions::from(&self.config));
        self.cold
            .plug_controller(pool, &options, controller, placement)
    }

    /// Cold-plugs a disk on a SCSI controller.
    ///
    /// # Errors
    /// If there is no such controller, or its path is not valid UTF-8.
    pub fn cold_plug_on(
        &mut self,
        controller: &DeviceId,
        disk: &DiskSpec,
    ) -> Result<ScsiAddress, StepError> {
        let (pool, options) = (self.fresh_pool(), BlockOptions::from(&self.config));
        self.cold.plug_on(pool, &options, controller, disk)
    }

    /// Makes the hotplug state of a running VM of this spec, including the cold-plugged devices.
    pub(crate) fn hotplug(&self, qemu: QemuVersion, qmp: &Qmp) -> Hotplug {
        let options = BlockOptions::from(&self.config);
        Hotplug::with_cold_plugged(self.fresh_pool(), &self.cold, options, qemu, qmp)
    }

    fn fresh_pool(&self) -> Pool {
        Pool::new(self.threads(), slots(self)).expect("thread ids are unique")
    }
}

//! SCSI: a controller that has threads, and disks on it that go where it goes.
//!
//! A disk on a controller asks the guest for nothing when it leaves: QEMU takes it away and tells
//! the guest, whose event may come after QEMU's DEVICE_DELETED.

use super::plug::{Plug, mapping_of, not_started};
use super::{AttachError, DiskSpec, DiskState, Guest, Hotplug, Step, StepError, wire};
use iothread_pool::{DeviceId, Lease, Placement, ScsiAddress};
use qmp_client::Driver;
use qmp_client::Qmp;
use qmp_client::command::{DeviceAdd, DeviceOptions, ScsiHd, VirtioScsi};
use qmp_client::wait::Deadline;

/// A SCSI controller to attach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScsiController {
    /// Its id.
    pub id: DeviceId,
    /// How many queues for commands it has. As many as the VM has CPUs if `None`.
    pub queues: Option<u16>,
}

impl ScsiController {
    /// A controller with a queue for each CPU.
    pub fn new(id: DeviceId) -> Self {
        Self { id, queues: None }
    }

    pub(super) fn device<'a>(&'a self, lease: &'a Lease) -> DeviceAdd<'a> {
        DeviceAdd::VirtioScsi(VirtioScsi {
            id: self.id.as_str(),
            address: wire::address(&lease.slot),
            num_queues: lease.queues,
            served_by: wire::served_by(&lease.assignment),
            options: DeviceOptions::default(),
        })
    }
}

impl DiskSpec {
    /// The device on a controller.
    pub(super) fn device_on(&self, address: &ScsiAddress) -> DeviceAdd<'_> {
        let id = self.id.as_str();
        DeviceAdd::ScsiHd(ScsiHd {
            id,
            bus: format!("{}.0", address.controller),
            scsi_id: address.target,
            lun: ScsiAddress::LUN,
            drive: id,
            serial: Some(id),
            options: DeviceOptions::default(),
        })
    }
}

impl Hotplug {
    /// Attaches a SCSI controller. Its queues can be mapped to several threads from QEMU 10.0 on.
    ///
    /// # Errors
    /// If a step fails. What was done until then is undone, and the error says if that failed too.
    pub fn attach_controller(
        &mut self,
        qmp: &Qmp,
        controller: &ScsiController,
        placement: &Placement,
        deadline: Deadline,
    ) -> Result<Lease, AttachError> {
        let id = &controller.id;
        let refused = |source| not_started(id, Step::Lease, source);
        self.require_vq_mapping(qmp, Driver::VirtioScsi, placement, deadline)
            .map_err(refused)?;
        let queues = controller.queues.unwrap_or(self.options.queues);
        let lease = self
            .pool
            .lease_controller(id, queues, placement)
            .map_err(|source| refused(source.into()))?;
        let plug = Plug {
            id,
            node: None,
            device: controller.device(&lease),
            mapping: mapping_of(&lease.assignment),
            guest: None,
        };
        self.plug_or_roll_back(qmp, &plug, deadline)?;
        Ok(lease)
    }

    /// Attaches a disk to a controller and waits until the guest has it. The threads of the
    /// controller serve the disk.
    ///
    /// # Errors
    /// If a step fails. What was done until then is undone, and the error says if that failed too.
    pub fn attach_on(
        &mut self,
        qmp: &Qmp,
        guest: &dyn Guest,
        controller: &DeviceId,
        disk: &DiskSpec,
        deadline: Deadline,
    ) -> Result<ScsiAddress, AttachError> {
        let id = &disk.id;
        let state = self.state_of(controller);
        if state.is_some_and(|state| state != DiskState::Attached) {
            let controller = controller.clone();
            let leaves = StepError::ControllerRemovalPending { controller };
            return Err(not_started(id, Step::Lease, leaves));
        }
        let options = self.options;
        let node = disk
            .node(&options)
            .map_err(|source| not_started(id, Step::BlockdevAdd, source))?;
        let address = self
            .pool
            .lease_address(id, controller)
            .map_err(|source| not_started(id, Step::Lease, source))?;
        let plug = Plug {
            id,
            node: Some(node),
            device: disk.device_on(&address),
            mapping: None,
            guest: Some(guest),
        };
        self.plug_or_roll_back(qmp, &plug, deadline)?;
        Ok(address)
    }
}

//! The driver over the blocking QMP client: one operation at a time, each call waits for its end.

mod drive;
mod guest;

use std::time::Duration;

use iothread_pool::{DeviceId, IoThreadId, Lease, Placement, Pool, ScsiAddress, ThreadLease};
use qmp_client::wait::Deadline;
use qmp_client::{Cursor, QemuVersion, Qmp, QmpError};

pub use self::guest::Guest;
use crate::cold::ColdPlugged;
use crate::disk::{BlockOptions, DiskSpec};
use crate::error::{
    AttachError, DetachError, MoveError, RemoveThreadError, StepError, UnplugEventsError,
    UnplugProgress,
};
use crate::iothread::Polling;
use crate::machine;
use crate::mapping;
use crate::plug::mapping_of;
use crate::reconcile::Difference;
use crate::scsi::ScsiController;
use crate::state::DiskState;

/// Timeout for the creation or deletion of a thread.
const THREAD_TIMEOUT: Duration = Duration::from_millis(if cfg!(test) { 200 } else { 10_000 });

/// The [state machine](machine::Hotplug), driven by a [`Qmp`] that is given to each call. It can be
/// another one than in the call before: QEMU is then queried for what may have been missed.
#[derive(Debug)]
pub struct Hotplug {
    machine: machine::Hotplug,
    /// The first event that the machine has not got.
    cursor: Option<Cursor>,
}

impl Hotplug {
    /// Starts with no disk.
    pub fn new(pool: Pool, options: BlockOptions, qemu: QemuVersion) -> Self {
        Self::of(machine::Hotplug::new(pool, options, qemu))
    }

    /// Drives a machine, such as one from a [saved state](crate::Saved). Its operations that have not
    /// ended are cancelled.
    pub fn of(mut machine: machine::Hotplug) -> Self {
        let operations: Vec<_> = machine.operations().collect();
        for operation in operations {
            machine.cancel(operation);
        }
        Self {
            machine,
            cursor: None,
        }
    }

    /// Takes over a VM that has started, with the devices that it has from the start. `fresh` is the
    /// pool of a VM without devices.
    pub fn with_cold_plugged(
        fresh: Pool,
        cold: &ColdPlugged,
        options: BlockOptions,
        qemu: QemuVersion,
        qmp: &Qmp,
    ) -> Self {
        Self {
            machine: machine::Hotplug::with_cold_plugged(fresh, cold, options, qemu),
            cursor: Some(qmp.cursor()),
        }
    }

    /// Returns the machine.
    pub fn machine(&self) -> &machine::Hotplug {
        &self.machine
    }

    /// Returns the pool.
    pub fn pool(&self) -> &Pool {
        self.machine.pool()
    }

    /// Returns what QEMU has of a disk. `None`: nothing.
    pub fn state_of(&self, id: &DeviceId) -> Option<DiskState> {
        self.machine.state_of(id)
    }

    /// Returns the disks that QEMU has something of.
    pub fn disks(&self) -> impl Iterator<Item = (&DeviceId, DiskState)> {
        self.machine.disks()
    }

    /// Returns the threads that QEMU may have though the pool has not; see
    /// [`stray_threads`](machine::Hotplug::stray_threads).
    pub fn stray_threads(&self) -> impl Iterator<Item = &IoThreadId> {
        self.machine.stray_threads()
    }

    /// Adds a thread; see [`add_thread`](machine::Hotplug::add_thread).
    ///
    /// # Errors
    /// If QEMU refuses or does not answer.
    pub fn add_thread(&mut self, qmp: &Qmp, polling: Polling) -> Result<IoThreadId, QmpError> {
        let deadline = Deadline::after(THREAD_TIMEOUT);
        self.run(qmp, None, deadline, |machine, now| {
            machine.add_thread(polling, deadline, now)
        })
    }

    /// Removes an idle or stray thread; see [`remove_thread`](machine::Hotplug::remove_thread).
    ///
    /// # Errors
    /// If it serves a device, or QEMU refuses or does not answer.
    pub fn remove_thread(
        &mut self,
        qmp: &Qmp,
        thread: &IoThreadId,
    ) -> Result<(), RemoveThreadError> {
        let deadline = Deadline::after(THREAD_TIMEOUT);
        self.run(qmp, None, deadline, |machine, now| {
            machine.remove_thread(thread, deadline, now)
        })
    }

    /// Attaches a disk and waits until the guest has it; see [`attach`](machine::Hotplug::attach).
    ///
    /// # Errors
    /// If a step fails.
    pub fn attach(
        &mut self,
        qmp: &Qmp,
        guest: &dyn Guest,
        disk: &DiskSpec,
        placement: &Placement,
        deadline: Deadline,
    ) -> Result<Lease, AttachError> {
        self.run(qmp, Some(guest), deadline, |machine, now| {
            machine.attach(disk, placement, deadline, now)
        })
    }

    /// Attaches a SCSI controller; see [`attach_controller`](machine::Hotplug::attach_controller).
    ///
    /// # Errors
    /// If a step fails.
    pub fn attach_controller(
        &mut self,
        qmp: &Qmp,
        controller: &ScsiController,
        placement: &Placement,
        deadline: Deadline,
    ) -> Result<Lease, AttachError> {
        self.run(qmp, None, deadline, |machine, now| {
            machine.attach_controller(controller, placement, deadline, now)
        })
    }

    /// Attaches a disk to a controller and waits until the guest has it; see
    /// [`attach_on`](machine::Hotplug::attach_on).
    ///
    /// # Errors
    /// If a step fails.
    pub fn attach_on(
        &mut self,
        qmp: &Qmp,
        guest: &dyn Guest,
        controller: &DeviceId,
        disk: &DiskSpec,
        deadline: Deadline,
    ) -> Result<ScsiAddress, AttachError> {
        self.run(qmp, Some(guest), deadline, |machine, now| {
            machine.attach_on(controller, disk, deadline, now)
        })
    }

    /// Attaches a balloon; see [`attach_balloon`](machine::Hotplug::attach_balloon).
    ///
    /// # Errors
    /// If a step fails, or several threads are asked for.
    pub fn attach_balloon(
        &mut self,
        qmp: &Qmp,
        id: &DeviceId,
        placement: &Placement,
        deadline: Deadline,
    ) -> Result<Lease, AttachError> {
        self.run(qmp, None, deadline, |machine, now| {
            machine.attach_balloon(id, placement, deadline, now)
        })
    }

    /// Detaches a disk, a controller without disks or a balloon; see
    /// [`detach`](machine::Hotplug::detach).
    ///
    /// # Errors
    /// If a step fails, or a controller has disks. The device then keeps what it has, and the call
    /// can be repeated.
    pub fn detach(
        &mut self,
        qmp: &Qmp,
        id: &DeviceId,
        deadline: Deadline,
    ) -> Result<(), DetachError> {
        self.run(qmp, None, deadline, |machine, now| {
            machine.detach(id, deadline, now)
        })
    }

    /// Moves a virtio-blk disk to other threads; see [`move_disk`](machine::Hotplug::move_disk).
    ///
    /// # Errors
    ///
    /// | error | where the disk is |
    /// |---|---|
    /// | `NotAttached`, `Pool`, `Unsupported` | where it was |
    /// | `Detach` | where it was, or its removal is pending, or only its node is left: see [`DetachError`] |
    /// | `Attach`, `back` is `Ok` | on its former threads, with its former queues, in another slot; a dedicated disk may get another idle thread |
    /// | `Attach`, `back` is `Err` | detached; if the `rollback` in `back` failed, it holds a lease of its former threads until it is detached |
    /// | `RollbackPending` | in QEMU with its new lease, until [`process_unplug_events`](Self::process_unplug_events) or [`detach`](Self::detach) completes the removal |
    pub fn move_disk(
        &mut self,
        qmp: &Qmp,
        guest: &dyn Guest,
        disk: &DiskSpec,
        placement: &Placement,
        deadline: Deadline,
    ) -> Result<Lease, MoveError> {
        self.run(qmp, Some(guest), deadline, |machine, now| {
            machine.move_disk(disk, placement, deadline, now)
        })
    }

    /// Opens an image as a block node that no device uses; see
    /// [`open_node`](machine::Hotplug::open_node).
    ///
    /// # Errors
    /// If a step fails.
    pub fn open_node(
        &mut self,
        qmp: &Qmp,
        disk: &DiskSpec,
        placement: &Placement,
        deadline: Deadline,
    ) -> Result<ThreadLease, AttachError> {
        self.run(qmp, None, deadline, |machine, now| {
            machine.open_node(disk, placement, deadline, now)
        })
    }

    /// Moves a node that no device and no export uses; see
    /// [`move_node`](machine::Hotplug::move_node).
    ///
    /// # Errors
    /// If the pool cannot place it so, or QEMU refuses or does not answer.
    pub fn move_node(
        &mut self,
        qmp: &Qmp,
        id: &DeviceId,
        placement: &Placement,
        deadline: Deadline,
    ) -> Result<ThreadLease, MoveError> {
        self.run(qmp, None, deadline, |machine, now| {
            machine.move_node(id, placement, deadline, now)
        })
    }

    /// Opens an image and exports it by NBD; see [`export`](machine::Hotplug::export).
    ///
    /// # Errors
    /// If a step fails, or this QEMU would not survive its clients on a thread.
    pub fn export(
        &mut self,
        qmp: &Qmp,
        disk: &DiskSpec,
        placement: &Placement,
        deadline: Deadline,
    ) -> Result<ThreadLease, AttachError> {
        self.run(qmp, None, deadline, |machine, now| {
            machine.export(disk, placement, deadline, now)
        })
    }

    /// Closes a node that the guest does not see; see [`close_node`](machine::Hotplug::close_node).
    ///
    /// # Errors
    /// If a step fails. The node then keeps what it has, and the call can be repeated.
    pub fn close_node(
        &mut self,
        qmp: &Qmp,
        id: &DeviceId,
        deadline: Deadline,
    ) -> Result<(), DetachError> {
        self.run(qmp, None, deadline, |machine, now| {
            machine.close_node(id, deadline, now)
        })
    }

    /// Completes the removals whose events have arrived since the last call; see
    /// [`settle`](machine::Hotplug::settle).
    ///
    /// # Errors
    /// If a step fails for one of them. The others are still completed, and the error lists them. The
    /// call can be repeated.
    pub fn process_unplug_events(
        &mut self,
        qmp: &Qmp,
        deadline: Deadline,
    ) -> Result<UnplugProgress, UnplugEventsError> {
        self.run(qmp, None, deadline, |machine, now| {
            machine.settle(deadline, now)
        })
    }

    /// Compares the records with what QEMU has; see [`reconcile`](machine::Hotplug::reconcile).
    ///
    /// # Errors
    /// If a query fails.
    pub fn reconcile(
        &mut self,
        qmp: &Qmp,
        deadline: Deadline,
    ) -> Result<Vec<Difference>, QmpError> {
        self.run(qmp, None, deadline, |machine, now| {
            machine.reconcile(deadline, now)
        })
    }

    /// Checks that QEMU gave the devices that are there the mappings that they were to have.
    ///
    /// # Errors
    /// If one has another, or QEMU does not say.
    pub fn verify_vq_mappings(&self, qmp: &Qmp, deadline: Deadline) -> Result<(), StepError> {
        for (id, _) in self.disks() {
            let lease = self.pool().lease_of(id);
            if let Some(mapping) = lease.and_then(|lease| mapping_of(&lease.assignment)) {
                let path = format!("/machine/peripheral/{id}");
                let found = qmp.execute(&mapping::query(&path), deadline)?;
                mapping::compare(mapping, &found)?;
            }
        }
        Ok(())
    }
}

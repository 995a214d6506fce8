//! Disks come and go while the guest runs.
//!
//! An attach goes through four steps, a detach back through three; what each needs of the others
//! is in `Stage`. A failed attach is rolled back by the very code that detaches, from the stage
//! that was reached. A detach that did not come to its end can be called again and goes on where
//! it was: until then the disk keeps its thread and its slot.

mod disk;
mod error;
mod guest;
mod mapping;
mod wire;

use std::collections::BTreeMap;
use std::time::Duration;

pub use disk::{BlockOptions, DiskSpec};
pub use error::{AttachError, DetachError, RetireError, Step, StepError};
pub use guest::{Guest, GuestError};

use crate::config::Polling;
use crate::pool::{Assignment, DeviceId, IoThreadId, Lease, Placement, Pool};
use crate::qemu::{QemuVersion, iothread};
use crate::qmp::command::{BlockdevDel, DeviceDel, ObjectDel};
use crate::qmp::{Cursor, Event, Qmp, QmpError};
use crate::wait::Deadline;

/// How long a single QMP reply may take. QEMU answers at once, if its main loop is not blocked.
const REPLY_SPAN: Duration = Duration::from_secs(10);

/// How long the guest may take to let go of a disk whose attach failed.
const ROLLBACK_SPAN: Duration = Duration::from_secs(15);

/// How much of a disk QEMU has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// A block node, and no device on it.
    NodeOnly,
    /// A device on its node.
    Plugged,
    /// The guest was asked to let go. The event may come at any time from here on.
    Leaving(Cursor),
}

/// The disks of one VM, and the pool that they draw from.
#[derive(Debug)]
pub struct Hotplug {
    pool: Pool,
    options: BlockOptions,
    qemu: QemuVersion,
    disks: BTreeMap<DeviceId, Stage>,
}

impl Hotplug {
    /// Starts with no disk.
    pub fn new(pool: Pool, options: BlockOptions, qemu: QemuVersion) -> Self {
        Self {
            pool,
            options,
            qemu,
            disks: BTreeMap::new(),
        }
    }

    /// Returns the pool.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Adds a thread to the pool, and to QEMU before that.
    ///
    /// # Errors
    /// If QEMU refuses. Its id is then spent.
    pub fn add_thread(&mut self, qmp: &Qmp, polling: Polling) -> Result<IoThreadId, QmpError> {
        let new = self.pool.new_thread();
        qmp.execute(&iothread::object(new.id(), polling), reply_deadline())?;
        Ok(self.pool.admit(new))
    }

    /// Takes a thread that serves nobody out of the pool, and then out of QEMU.
    ///
    /// # Errors
    /// If it serves a device, or QEMU refuses. It is out of the pool in the second case: nobody
    /// can tell whether it is there.
    pub fn retire_thread(&mut self, qmp: &Qmp, thread: &IoThreadId) -> Result<(), RetireError> {
        self.pool.retire(thread)?;
        let command = ObjectDel {
            id: thread.as_str(),
        };
        qmp.execute(&command, reply_deadline())?;
        Ok(())
    }

    /// Attaches a disk and waits until the guest has it.
    ///
    /// # Errors
    /// If a step fails. What was done until then is undone, and the error says if that failed too.
    pub fn attach(
        &mut self,
        qmp: &Qmp,
        guest: &dyn Guest,
        disk: &DiskSpec,
        placement: &Placement,
        deadline: Deadline,
    ) -> Result<Lease, AttachError> {
        let id = &disk.id;
        let failed = |step, source, rollback| AttachError {
            device: id.clone(),
            step,
            source,
            rollback,
        };
        let lease = self
            .lease(disk, placement)
            .map_err(|source| failed(Step::Lease, source, Ok(())))?;
        match self.plug(qmp, guest, disk, &lease, deadline) {
            Ok(()) => Ok(lease),
            Err((step, source)) => {
                let rollback = self
                    .remove(qmp, id, Deadline::after(ROLLBACK_SPAN))
                    .map_err(Box::new);
                Err(failed(step, source, rollback))
            }
        }
    }

    /// Detaches a disk and frees its thread and slot.
    ///
    /// # Errors
    /// If a step fails. The disk then keeps what it has, and the call can be repeated.
    pub fn detach(
        &mut self,
        qmp: &Qmp,
        id: &DeviceId,
        deadline: Deadline,
    ) -> Result<(), DetachError> {
        if self.pool.lease_of(id).is_none() {
            return Err(DetachError::NotAttached { device: id.clone() });
        }
        self.remove(qmp, id, deadline)
    }

    fn lease(&mut self, disk: &DiskSpec, placement: &Placement) -> Result<Lease, StepError> {
        let maps = matches!(placement, Placement::Spread(_) | Placement::Mapped(_));
        if maps && self.qemu < QemuVersion::MAPS_QUEUES {
            return Err(StepError::NoMapping { qemu: self.qemu });
        }
        let queues = disk.queues.unwrap_or(self.options.queues);
        Ok(self.pool.lease(&disk.id, queues, placement)?)
    }

    fn plug(
        &mut self,
        qmp: &Qmp,
        guest: &dyn Guest,
        disk: &DiskSpec,
        lease: &Lease,
        deadline: Deadline,
    ) -> Result<(), (Step, StepError)> {
        let id = &disk.id;
        let node = disk
            .node(&self.options)
            .map_err(|source| (Step::BlockdevAdd, source))?;
        let added = qmp.execute(&node, deadline.or_after(REPLY_SPAN));
        self.reach(id, Stage::NodeOnly, added)
            .map_err(|source| (Step::BlockdevAdd, source))?;
        let added = qmp.execute(&disk.device(lease), deadline.or_after(REPLY_SPAN));
        self.reach(id, Stage::Plugged, added)
            .map_err(|source| (Step::DeviceAdd, source))?;
        if let Assignment::Mapped(mapping) = &lease.assignment {
            mapping::prove(qmp, id, mapping, deadline.or_after(REPLY_SPAN))
                .map_err(|source| (Step::MappingProof, source))?;
        }
        guest
            .await_present(id, deadline)
            .map_err(|source| (Step::GuestHasDisk, source.into()))
    }

    /// Notes the stage that a command leads to. Only a refusal tells that it did nothing: without
    /// an answer it may have been carried out.
    fn reach<T>(
        &mut self,
        id: &DeviceId,
        stage: Stage,
        outcome: Result<T, QmpError>,
    ) -> Result<(), StepError> {
        if !matches!(outcome, Err(QmpError::Refused { .. })) {
            self.disks.insert(id.clone(), stage);
        }
        outcome?;
        Ok(())
    }

    /// Takes away what QEMU has of a disk, from whatever stage, and then its lease.
    fn remove(&mut self, qmp: &Qmp, id: &DeviceId, deadline: Deadline) -> Result<(), DetachError> {
        let failed = |step, source: QmpError| DetachError::Failed {
            device: id.clone(),
            step,
            source,
        };
        let stage = self.disks.get(id).copied();
        let since = match stage {
            Some(Stage::Plugged) => Some(qmp.cursor()),
            Some(Stage::Leaving(since)) => Some(since),
            Some(Stage::NodeOnly) | None => None,
        };
        if let Some(since) = since {
            // Noted before the request: its answer may be lost, and the guest may have it.
            self.disks.insert(id.clone(), Stage::Leaving(since));
            let removal = request_removal(qmp, id).map_err(|e| failed(Step::DeviceDel, e))?;
            if let Removal::Requested = removal {
                self.await_removal(qmp, id, since, deadline)?;
            }
        }
        if stage.is_some() {
            self.remove_node(qmp, id)?;
        }
        self.disks.remove(id);
        self.pool.release(id);
        Ok(())
    }

    /// Waits for the end of the device. QEMU sends two DEVICE_DELETED: the first, of the device's
    /// child, carries a path only.
    fn await_removal(
        &mut self,
        qmp: &Qmp,
        id: &DeviceId,
        since: Cursor,
        deadline: Deadline,
    ) -> Result<(), DetachError> {
        let awaited = format!("DEVICE_DELETED of {id}");
        let about = |event: &Event| event.str("device") == Some(id.as_str());
        let outcome = qmp.wait_event(&awaited, since, deadline, |event| {
            match event.name.as_str() {
                "DEVICE_DELETED" if about(event) => Some(true),
                "DEVICE_UNPLUG_GUEST_ERROR" if about(event) => Some(false),
                _ => None,
            }
        });
        match outcome {
            Ok(true) => Ok(()),
            Ok(false) => {
                // The next attempt must not meet this refusal again.
                self.disks.insert(id.clone(), Stage::Plugged);
                Err(DetachError::GuestRefused { device: id.clone() })
            }
            Err(source) => Err(DetachError::Failed {
                device: id.clone(),
                step: Step::DeviceDeleted,
                source,
            }),
        }
    }

    fn remove_node(&mut self, qmp: &Qmp, id: &DeviceId) -> Result<(), DetachError> {
        self.disks.insert(id.clone(), Stage::NodeOnly);
        let command = BlockdevDel {
            node_name: id.as_str(),
        };
        match qmp.execute(&command, reply_deadline()) {
            Ok(_) => Ok(()),
            // It was never made, or an earlier call removed it and its reply was lost.
            Err(QmpError::Refused { desc, .. }) if desc.contains("Failed to find node") => Ok(()),
            Err(source) => Err(DetachError::Failed {
                device: id.clone(),
                step: Step::BlockdevDel,
                source,
            }),
        }
    }
}

enum Removal {
    Requested,
    Gone,
}

/// Asks the guest to let go. That it was asked before is no error, nor that the device is gone.
fn request_removal(qmp: &Qmp, id: &DeviceId) -> Result<Removal, QmpError> {
    let command = DeviceDel { id: id.as_str() };
    match qmp.execute(&command, reply_deadline()) {
        Ok(_) => Ok(Removal::Requested),
        Err(QmpError::Refused { class, .. }) if class == "DeviceNotFound" => Ok(Removal::Gone),
        // QEMU has no class of its own for this.
        Err(QmpError::Refused { desc, .. }) if desc.contains("in the process of unplug") => {
            Ok(Removal::Requested)
        }
        Err(error) => Err(error),
    }
}

fn reply_deadline() -> Deadline {
    Deadline::after(REPLY_SPAN)
}

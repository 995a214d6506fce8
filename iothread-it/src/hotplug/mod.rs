//! Disks come and go while the guest runs.
//!
//! An attach goes through four steps, a detach back through three; how far a disk has come is its
//! [`DiskState`]. A failed attach is rolled back by the very code that detaches, from the state
//! that was reached. A detach that did not come to its end can be called again and goes on where
//! it was: until then the disk keeps its thread and its slot.

mod disk;
mod error;
mod guest;
mod mapping;
mod removal;
mod state;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

pub use disk::{BlockOptions, DiskSpec};
pub use error::{AttachError, DetachError, RetireError, Step, StepError};
pub use guest::{Guest, GuestError};
pub use removal::Settled;
pub use state::DiskState;

use crate::config::Polling;
use crate::pool::{Assignment, DeviceId, IoThreadId, Lease, Placement, Pool};
use crate::qemu::{QemuVersion, iothread};
use crate::qmp::command::ObjectDel;
use crate::qmp::{Qmp, QmpError};
use crate::wait::Deadline;
use state::Disk;

/// How long a single QMP reply may take. QEMU answers at once, if its main loop is not blocked.
const REPLY_SPAN: Duration = Duration::from_secs(10);

/// How long the guest may take at the most to let go of a disk whose attach failed. It has no
/// longer than the attach itself had.
const ROLLBACK_SPAN: Duration = Duration::from_secs(15);

/// The disks of one VM, and the pool that they draw from.
#[derive(Debug)]
pub struct Hotplug {
    pool: Pool,
    options: BlockOptions,
    qemu: QemuVersion,
    disks: BTreeMap<DeviceId, Disk>,
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

    /// Returns what QEMU has of a disk. `None`: nothing.
    pub fn state_of(&self, id: &DeviceId) -> Option<DiskState> {
        self.disks.get(id).map(|disk| disk.state)
    }

    /// Returns the disks that QEMU has something of.
    pub fn disks(&self) -> impl Iterator<Item = (&DeviceId, DiskState)> {
        self.disks.iter().map(|(id, disk)| (id, disk.state))
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
                let span = deadline.span().min(ROLLBACK_SPAN);
                let rollback = self
                    .remove(qmp, id, Deadline::after(span))
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
        let since = qmp.cursor();
        let mut reach = |state| {
            let disk = Disk { state, since };
            self.disks.insert(id.clone(), disk);
        };
        let added = qmp.execute(&node, reply_by(deadline));
        carried_out(added, || reach(DiskState::NodeOnly))
            .map_err(|source| (Step::BlockdevAdd, source))?;
        let added = qmp.execute(&disk.device(lease), reply_by(deadline));
        carried_out(added, || reach(DiskState::Plugged))
            .map_err(|source| (Step::DeviceAdd, source))?;
        if let Assignment::Mapped(mapping) = &lease.assignment {
            mapping::prove(qmp, id, mapping, reply_by(deadline))
                .map_err(|source| (Step::MappingProof, source))?;
        }
        guest
            .await_present(id, deadline)
            .map_err(|source| (Step::GuestHasDisk, source.into()))
    }
}

/// Notes that a command may have been carried out. Only a refusal tells that it was not.
fn carried_out<T>(outcome: Result<T, QmpError>, note: impl FnOnce()) -> Result<(), StepError> {
    if !matches!(outcome, Err(QmpError::Refused { .. })) {
        note();
    }
    outcome?;
    Ok(())
}

/// A reply's deadline: the caller's, unless QEMU must have answered before.
fn reply_by(deadline: Deadline) -> Deadline {
    deadline.or_after(REPLY_SPAN)
}

fn reply_deadline() -> Deadline {
    Deadline::after(REPLY_SPAN)
}

//! Devices come and go while the guest runs.
//!
//! An attach goes through four steps, a detach back through three; how far a device has come is its
//! [`DiskState`]. A failed attach is rolled back by the very code that detaches, from the state
//! that was reached. A detach that did not come to its end can be called again and goes on where
//! it was: until then the device keeps its thread and its slot.
//!
//! | what a thread serves | file | queues on several threads |
//! |---|---|---|
//! | a virtio-blk disk | `disk` | from QEMU 9.2 on |
//! | a SCSI controller, and the disks on it | `scsi` | from QEMU 10.0 on |
//! | a balloon's free page hints | `balloon` | no |
//! | an NBD export, from QEMU 9.0 on; a block node without a device | `node` | no |
//!
//! `cold` has devices that are there from the start, and `moving` takes a disk to another thread.
//! QEMU's own monitors take no thread of ours, and colo-compare is not here: it compares the network
//! packets of two VMs, which are no disks, and nobody hot-plugs it.

mod balloon;
mod cold;
mod disk;
mod error;
mod guest;
mod iothread;
mod mapping;
mod moving;
mod node;
mod plug;
mod removal;
mod scsi;
mod state;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

pub use cold::ColdPlugged;
pub use disk::{BlockOptions, DiskSpec};
pub use error::{AttachError, DetachError, RetireError, Step, StepError};
pub use guest::{Guest, GuestError};
pub use iothread::{Polling, object as iothread_object};
pub use moving::MoveError;
pub use removal::Settled;
pub use scsi::ScsiController;
pub use state::DiskState;

use iothread_pool::{DeviceId, Holding, IoThreadId, Lease, Placement, Pool};
use node::Node;
use plug::{Plug, mapping_of, nothing_done};
use qmp_client::command::ObjectDel;
use qmp_client::wait::Deadline;
use qmp_client::{Capabilities, Driver, QemuVersion};
use qmp_client::{Qmp, QmpError};
use state::Disk;

/// How long a single QMP reply may take. QEMU answers at once, if its main loop is not blocked.
const REPLY_SPAN: Duration = Duration::from_secs(10);

/// The disks of one VM, and the pool that they draw from.
#[derive(Debug)]
pub struct Hotplug {
    pool: Pool,
    options: BlockOptions,
    capabilities: Capabilities,
    disks: BTreeMap<DeviceId, Disk>,
    nodes: BTreeMap<DeviceId, Node>,
}

impl Hotplug {
    /// Starts with no disk.
    pub fn new(pool: Pool, options: BlockOptions, qemu: QemuVersion) -> Self {
        Self {
            pool,
            options,
            capabilities: Capabilities::new(qemu),
            disks: BTreeMap::new(),
            nodes: BTreeMap::new(),
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

    /// Adds a thread to the pool, and to QEMU before that. It may run on all of QEMU's CPUs: only the
    /// host can bind it, by its number in `query-iothreads`.
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
        let refused = |source| nothing_done(id, Step::Lease, source);
        let options = self.options;
        let node = disk
            .node(&options)
            .map_err(|source| nothing_done(id, Step::BlockdevAdd, source))?;
        self.must_map(qmp, Driver::VirtioBlk, placement, deadline)
            .map_err(refused)?;
        let queues = disk.queues.unwrap_or(options.queues);
        let lease = self
            .pool
            .lease(id, queues, placement)
            .map_err(|source| refused(source.into()))?;
        let plug = Plug {
            id,
            node: Some(node),
            device: disk.device(&lease),
            mapping: mapping_of(&lease.assignment),
            guest: Some(guest),
        };
        self.plug_or_undo(qmp, &plug, deadline)?;
        Ok(lease)
    }

    /// Detaches a disk, a controller without disks or a balloon, and frees its thread and slot.
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
        match self.pool.holding_of(id) {
            Some(Holding::Device(_) | Holding::Controller(_) | Holding::Scsi(_)) => {}
            Some(Holding::Thread(_)) | None => {
                return Err(DetachError::NotAttached { device: id.clone() });
            }
        }
        let disks: Vec<&str> = self.pool.disks_on(id).map(DeviceId::as_str).collect();
        if !disks.is_empty() {
            return Err(DetachError::HasDisks {
                device: id.clone(),
                disks: disks.join(", "),
            });
        }
        self.remove(qmp, id, deadline)
    }

    /// Checks that QEMU can do what a placement asks of a kind of device.
    fn must_map(
        &mut self,
        qmp: &Qmp,
        driver: Driver,
        placement: &Placement,
        deadline: Deadline,
    ) -> Result<(), StepError> {
        if matches!(placement, Placement::Spread(_) | Placement::Mapped(_)) {
            self.capabilities.mapping(qmp, driver, reply_by(deadline))?;
        }
        Ok(())
    }
}

/// A reply's deadline: the caller's, unless QEMU must have answered before.
fn reply_by(deadline: Deadline) -> Deadline {
    deadline.or_after(REPLY_SPAN)
}

fn reply_deadline() -> Deadline {
    Deadline::after(REPLY_SPAN)
}

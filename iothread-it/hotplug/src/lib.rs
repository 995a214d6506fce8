//! Devices come and go while the guest runs.
//!
//! An attach goes through four steps, a detach back through three; how far a device has come is its
//! [`DiskState`]. A failed attach is rolled back by the very code that detaches, from the state
//! that was reached. An unfinished detach can be called again and continues where
//! it was: until then the device keeps its thread and its slot.
//!
//! A deadline is for all of an operation, what undoes a failure included.
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
//! packets of two VMs, which are not disks, and is not hot-plugged.

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

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use cold::ColdPlugged;
pub use disk::{BlockOptions, DiskSpec};
pub use error::{AttachError, DetachError, RemoveThreadError, Step, StepError};
pub use guest::{Guest, GuestError};
pub use iothread::{Polling, object as iothread_object};
pub use moving::MoveError;
pub use removal::{UnplugEventsError, UnplugProgress};
pub use scsi::ScsiController;
pub use state::DiskState;

use iothread_pool::{Allocation, DeviceId, IoThreadId, Lease, Placement, Pool};
use node::Node;
use plug::{Plug, mapping_of, not_started};
use qmp_client::command::{ObjectDel, QueryIothreads};
use qmp_client::wait::Deadline;
use qmp_client::{Capabilities, Driver, QemuVersion};
use qmp_client::{Qmp, QmpError};
use state::Disk;

/// Timeout for the creation or deletion of a thread.
const THREAD_TIMEOUT: Duration = Duration::from_millis(if cfg!(test) { 200 } else { 10_000 });

/// The disks of one VM, and the pool that allocates their threads.
#[derive(Debug)]
pub struct Hotplug {
    pool: Pool,
    options: BlockOptions,
    capabilities: Capabilities,
    disks: BTreeMap<DeviceId, Disk>,
    nodes: BTreeMap<DeviceId, Node>,
    /// Threads that QEMU may have, and that are not in the pool.
    stray_threads: BTreeSet<IoThreadId>,
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
            stray_threads: BTreeSet::new(),
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
    /// If QEMU refuses. Its id is then spent. If QEMU does not answer, the thread is among the
    /// [stray ones](Self::stray_threads).
    pub fn add_thread(&mut self, qmp: &Qmp, polling: Polling) -> Result<IoThreadId, QmpError> {
        let new = self.pool.new_thread();
        self.stray_threads.insert(new.id().clone());
        let added = qmp.execute(&iothread::object(new.id(), polling), thread_deadline());
        if matches!(added, Ok(_) | Err(QmpError::Refused { .. })) {
            self.stray_threads.remove(new.id());
        }
        added?;
        Ok(self.pool.commit_thread(new))
    }

    /// Removes an idle thread from the pool, then from QEMU. Also removes a
    /// [stray thread](Self::stray_threads).
    ///
    /// # Errors
    /// If it serves a device, or QEMU refuses. If QEMU does not answer, the thread is out of the pool
    /// and among the stray ones, and the call can be repeated.
    pub fn remove_thread(
        &mut self,
        qmp: &Qmp,
        thread: &IoThreadId,
    ) -> Result<(), RemoveThreadError> {
        let before = self.pool.clone();
        if !self.stray_threads.contains(thread) {
            self.pool.remove_thread(thread)?;
            self.stray_threads.insert(thread.clone());
        }
        let deadline = thread_deadline();
        let command = ObjectDel {
            id: thread.as_str(),
        };
        match qmp.execute(&command, deadline) {
            Ok(_) => {}
            // It was never made, an earlier call deleted it, or it stays.
            Err(refusal @ QmpError::Refused { .. }) => {
                let threads = qmp.execute(&QueryIothreads {}, deadline)?;
                if threads.iter().any(|info| info.id == thread.as_str()) {
                    if before.threads().contains(thread) {
                        self.stray_threads.remove(thread);
                        self.pool = before;
                    }
                    return Err(refusal.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
        self.stray_threads.remove(thread);
        Ok(())
    }

    /// Returns the threads that QEMU may have though the pool has not: its answer to `object-add` or
    /// `object-del` was lost. They serve no device; [`remove_thread`](Self::remove_thread) removes them.
    pub fn stray_threads(&self) -> impl Iterator<Item = &IoThreadId> {
        self.stray_threads.iter()
    }

    /// Attaches a disk and waits until the guest has it.
    ///
    /// # Errors
    /// If a step fails. What was done until then is undone by the same deadline, and the error says
    /// if that failed too. When the time is up QEMU is still asked to undo it, but not waited for:
    /// [`process_unplug_events`](Self::process_unplug_events) or [`detach`](Self::detach) completes it.
    pub fn attach(
        &mut self,
        qmp: &Qmp,
        guest: &dyn Guest,
        disk: &DiskSpec,
        placement: &Placement,
        deadline: Deadline,
    ) -> Result<Lease, AttachError> {
        let id = &disk.id;
        let refused = |source| not_started(id, Step::Lease, source);
        let options = self.options;
        let node = disk
            .node(&options)
            .map_err(|source| not_started(id, Step::BlockdevAdd, source))?;
        self.require_vq_mapping(qmp, Driver::VirtioBlk, placement, deadline)
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
        self.plug_or_roll_back(qmp, &plug, deadline)?;
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
        match self.pool.allocation_of(id) {
            Some(Allocation::Device(_) | Allocation::Controller(_) | Allocation::Scsi(_)) => {}
            Some(Allocation::Thread(_)) | None => {
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
    fn require_vq_mapping(
        &mut self,
        qmp: &Qmp,
        driver: Driver,
        placement: &Placement,
        deadline: Deadline,
    ) -> Result<(), StepError> {
        if matches!(placement, Placement::Spread(_) | Placement::Mapped(_)) {
            self.capabilities.mapping(qmp, driver, deadline)?;
        }
        Ok(())
    }
}

fn thread_deadline() -> Deadline {
    Deadline::after(THREAD_TIMEOUT)
}

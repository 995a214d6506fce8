//! The pool of IOThreads and hotplug slots: who has what.
//!
//! It performs no I/O, so a VM manager can use it with a QMP client of its own. It, and not QEMU,
//! is the place that knows what is in use: QEMU deletes an IOThread under a running device, and
//! 7.2 puts a second device on an occupied root port.

mod error;
mod id;
mod mapping;
mod placement;
mod slot;
mod state;
mod threads;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use error::{MappingError, PoolError};
pub use id::{DeviceId, IdError, IoThreadId};
pub use mapping::Mapping;
pub use placement::{Assignment, Placement};
pub(crate) use slot::root_port_id;
pub use slot::{PciSlot, SlotTable};
pub use state::{Served, State, ThreadState};
pub use threads::NewThread;
use threads::Threads;

/// What a device holds until it is released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What serves it.
    pub assignment: Assignment,
    /// How many queues it has.
    pub queues: u16,
    /// Where it is plugged in.
    pub slot: PciSlot,
    /// Why it is served so, for a person.
    pub why: String,
}

/// The threads and slots of one VM, and the leases on them.
#[derive(Debug, Clone)]
pub struct Pool {
    threads: Threads,
    slots: SlotTable,
    leases: BTreeMap<DeviceId, Lease>,
}

impl Pool {
    /// Makes a pool of the threads and slots that a VM was started with.
    pub fn new(threads: Vec<IoThreadId>, slots: SlotTable) -> Self {
        Self {
            threads: Threads::new(threads),
            slots,
            leases: BTreeMap::new(),
        }
    }

    /// Gives a device with so many queues a slot and what serves it.
    ///
    /// # Errors
    /// If it cannot be placed as asked, no slot is free, or the device has a lease. Nothing is
    /// taken then.
    pub fn lease(
        &mut self,
        device: &DeviceId,
        queues: u16,
        placement: &Placement,
    ) -> Result<Lease, PoolError> {
        if self.leases.contains_key(device) {
            return Err(PoolError::AlreadyLeased {
                device: device.clone(),
            });
        }
        let choice = self.threads.choose(placement, queues)?;
        let slot = self.slots.take().ok_or(PoolError::NoFreeSlot {
            total: self.slots.total(),
        })?;
        self.threads
            .take(device, placement, &choice.assignment, queues);
        let lease = Lease {
            assignment: choice.assignment,
            queues,
            slot,
            why: choice.why,
        };
        self.leases.insert(device.clone(), lease.clone());
        Ok(lease)
    }

    /// Takes a device's lease back. Only for a device that QEMU has let go of.
    pub fn release(&mut self, device: &DeviceId) -> Option<Lease> {
        let lease = self.leases.remove(device)?;
        self.threads
            .give_back(device, &lease.assignment, lease.queues);
        self.slots.give_back(lease.slot.clone());
        Some(lease)
    }

    /// Returns a device's lease.
    pub fn lease_of(&self, device: &DeviceId) -> Option<&Lease> {
        self.leases.get(device)
    }

    /// Returns the threads, in the order in which they were made.
    pub fn threads(&self) -> &[IoThreadId] {
        self.threads.all()
    }

    /// Returns the devices that a thread serves.
    pub fn served_by(&self, thread: &IoThreadId) -> impl Iterator<Item = &DeviceId> {
        self.leases
            .iter()
            .filter(move |(_, lease)| lease.assignment.queues_of(thread, lease.queues) > 0)
            .map(|(device, _)| device)
    }

    /// Returns the number of free slots.
    pub fn free_slots(&self) -> usize {
        self.slots.free()
    }

    /// Returns an id for one more thread. Make it with `object-add`, and then
    /// [admit](Self::admit) it.
    pub fn new_thread(&mut self) -> NewThread {
        self.threads.make()
    }

    /// Takes in a thread that QEMU has made.
    pub fn admit(&mut self, new: NewThread) -> IoThreadId {
        self.threads.admit(new)
    }

    /// Takes out a thread that serves nobody. Only then delete it with `object-del`: QEMU does not
    /// look whether it is in use.
    ///
    /// # Errors
    /// If it serves a device, or is not in the pool.
    pub fn retire(&mut self, thread: &IoThreadId) -> Result<(), PoolError> {
        self.threads.must_exist(thread)?;
        let devices: Vec<&str> = self.served_by(thread).map(DeviceId::as_str).collect();
        if !devices.is_empty() {
            return Err(PoolError::InUse {
                thread: thread.clone(),
                devices: devices.join(", "),
            });
        }
        self.threads.remove(thread);
        Ok(())
    }

    /// Returns who serves what, and why.
    pub fn state(&self) -> State {
        State::of(self)
    }
}

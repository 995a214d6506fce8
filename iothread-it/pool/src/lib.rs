//! The pool of IOThreads and hotplug slots: who has what.
//!
//! It performs no I/O, so a VM manager can use it with its own QMP client. It, and not QEMU,
//! is the place that knows what is in use: QEMU deletes an IOThread under a running device, and
//! 7.2 puts a second device on an occupied root port.

mod allocation;
mod error;
mod id;
mod placement;
mod slot;
mod state;
mod threads;
mod vq_mapping;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use allocation::{Allocation, Lease, ScsiAddress, ThreadLease};
pub use error::{PoolError, VqMappingError};
pub use id::{DeviceId, IdError, IoThreadId};
pub use placement::{Assignment, Placement};
pub use slot::{PciSlot, SlotTable, root_port_id};
pub use state::{Served, State, ThreadState};
pub use threads::NewThread;
use threads::{Choice, Threads};
pub use vq_mapping::VqMapping;

/// Maximum number of queues of a virtio device (`VIRTIO_QUEUE_MAX`).
const DEVICE_QUEUES: u16 = 1024;

/// A SCSI controller needs two for itself.
const CONTROLLER_QUEUES: u16 = DEVICE_QUEUES - 2;

/// Checks what QEMU refuses, or, where a disk has too many, ends by.
fn check_queues(queues: u16, limit: u16) -> Result<(), PoolError> {
    if (1..=limit).contains(&queues) {
        Ok(())
    } else {
        Err(PoolError::Queues { queues, limit })
    }
}

/// The threads and slots of one VM, and the leases on them.
#[derive(Debug, Clone)]
pub struct Pool {
    threads: Threads,
    slots: SlotTable,
    allocations: BTreeMap<DeviceId, Allocation>,
    /// Beside their own, threads that devices may be on: see [`may_be_on`](Pool::may_be_on).
    possible: Vec<(DeviceId, Assignment)>,
    /// The target that each controller gave last.
    last_targets: BTreeMap<DeviceId, u8>,
}

impl Pool {
    /// Makes a pool of the threads and slots of a VM.
    ///
    /// The threads can also be those that `query-iothreads` lists, when a manager starts anew while
    /// its VM runs. Such a list does not tell which ids removed threads had, so pass the number of
    /// the earlier pool to [`skip_thread_numbers_below`](Self::skip_thread_numbers_below) too.
    ///
    /// # Errors
    /// If a thread is named twice.
    pub fn new(threads: Vec<IoThreadId>, slots: SlotTable) -> Result<Self, PoolError> {
        Ok(Self {
            threads: Threads::new(threads)?,
            slots,
            allocations: BTreeMap::new(),
            possible: Vec::new(),
            last_targets: BTreeMap::new(),
        })
    }

    /// Returns the number that the next new thread's id has at the least. Keep it where it outlives
    /// the manager, as long as the VM lives.
    pub fn next_thread_number(&self) -> usize {
        self.threads.next_number()
    }

    /// Makes no id with a number below this: an earlier pool of the same VM used them. QEMU may still
    /// refer to a removed thread by its id, and would mix it up with a new one.
    pub fn skip_thread_numbers_below(&mut self, number: usize) {
        self.threads.skip_numbers_below(number);
    }

    /// Gives a PCI device with so many queues a slot and what serves it.
    ///
    /// # Errors
    /// If it cannot be placed as asked, also over more threads than it has queues; if no slot is
    /// free, or the device has a lease. Nothing is taken then.
    pub fn lease(
        &mut self,
        device: &DeviceId,
        queues: u16,
        placement: &Placement,
    ) -> Result<Lease, PoolError> {
        check_queues(queues, DEVICE_QUEUES)?;
        let lease = self.make_lease(device, queues, placement)?;
        self.hold(device, Allocation::Device(lease.clone()));
        Ok(lease)
    }

    /// Gives a SCSI controller with so many queues a slot and what serves it, and its disks.
    ///
    /// # Errors
    /// As for [`lease`](Self::lease).
    pub fn lease_controller(
        &mut self,
        controller: &DeviceId,
        queues: u16,
        placement: &Placement,
    ) -> Result<Lease, PoolError> {
        check_queues(queues, CONTROLLER_QUEUES)?;
        let lease = self.make_lease(controller, queues, placement)?;
        self.hold(controller, Allocation::Controller(lease.clone()));
        Ok(lease)
    }

    /// Gives a disk an address on a controller, whose threads then serve it.
    ///
    /// # Errors
    /// If there is no such controller, it is full, or the disk has a lease.
    pub fn lease_address(
        &mut self,
        disk: &DeviceId,
        controller: &DeviceId,
    ) -> Result<ScsiAddress, PoolError> {
        self.check_not_leased(disk)?;
        if !matches!(
            self.allocations.get(controller),
            Some(Allocation::Controller(_))
        ) {
            return Err(PoolError::NoSuchController {
                wanted: controller.clone(),
            });
        }
        let taken: BTreeSet<u8> = self
            .addresses(controller)
            .map(|(_, address)| address.target)
            .collect();
        // A target that has just been left is given last: the guest may still see the disk that was
        // there, and would take the new one for it.
        let after = self
            .last_targets
            .get(controller)
            .map_or(0, |last| last.wrapping_add(1));
        let mut in_turn = (after..=u8::MAX).chain(0..after);
        let free = in_turn.find(|target| !taken.contains(target));
        let address = ScsiAddress {
            controller: controller.clone(),
            target: free.ok_or_else(|| PoolError::NoFreeTarget {
                controller: controller.clone(),
                total: taken.len(),
            })?,
        };
        self.last_targets.insert(controller.clone(), address.target);
        self.hold(disk, Allocation::Scsi(address.clone()));
        Ok(address)
    }

    /// Gives a thread to something that the guest does not see, and so has no slot: a block export,
    /// or a block node without a device.
    ///
    /// # Errors
    /// If it cannot be placed as asked, and it cannot be on several threads; or it has a lease.
    pub fn lease_thread(
        &mut self,
        id: &DeviceId,
        placement: &Placement,
    ) -> Result<ThreadLease, PoolError> {
        self.check_not_leased(id)?;
        if matches!(placement, Placement::Spread(_) | Placement::Mapped(_)) {
            return Err(PoolError::OneThread { id: id.clone() });
        }
        let Choice { assignment, why } = self.threads.choose(placement, 1)?;
        self.threads.take(id, placement, &assignment, 1);
        let lease = ThreadLease { assignment, why };
        self.hold(id, Allocation::Thread(lease.clone()));
        Ok(lease)
    }

    /// Records that a device that holds a thread may also be on another: the reply to its move is
    /// outstanding. Both threads are in use until it is [released](Self::release).
    pub fn may_be_on(&mut self, id: &DeviceId, lease: &ThreadLease, placement: &Placement) {
        self.threads.take(id, placement, &lease.assignment, 1);
        self.possible.push((id.clone(), lease.assignment.clone()));
    }

    /// Records that a device that holds a thread [may be on](Self::may_be_on) this one no more: QEMU has
    /// refused to move it there.
    pub fn is_not_on(&mut self, id: &DeviceId, lease: &ThreadLease) {
        let mut possible = self.possible.iter();
        let found = possible.position(|(known, on)| known == id && *on == lease.assignment);
        if let Some(found) = found {
            self.possible.remove(found);
            self.threads.give_one_back(id, &lease.assignment);
        }
    }

    /// Records that a device that holds a thread has been moved to another, which it
    /// [may be on](Self::may_be_on). Any other is free.
    ///
    /// # Errors
    /// If it holds no lease.
    pub fn is_on(
        &mut self,
        id: &DeviceId,
        lease: ThreadLease,
        placement: &Placement,
    ) -> Result<(), PoolError> {
        self.release(id)?;
        self.threads.take(id, placement, &lease.assignment, 1);
        self.hold(id, Allocation::Thread(lease));
        Ok(())
    }

    fn make_lease(
        &mut self,
        device: &DeviceId,
        queues: u16,
        placement: &Placement,
    ) -> Result<Lease, PoolError> {
        self.check_not_leased(device)?;
        let Choice { assignment, why } = self.threads.choose(placement, queues)?;
        let slot = self.slots.take().ok_or(PoolError::NoFreeSlot {
            total: self.slots.total(),
        })?;
        self.threads.take(device, placement, &assignment, queues);
        Ok(Lease {
            assignment,
            queues,
            slot,
            why,
        })
    }

    fn check_not_leased(&self, device: &DeviceId) -> Result<(), PoolError> {
        if self.allocations.contains_key(device) {
            return Err(PoolError::AlreadyLeased {
                device: device.clone(),
            });
        }
        Ok(())
    }

    fn hold(&mut self, device: &DeviceId, allocation: Allocation) {
        self.allocations.insert(device.clone(), allocation);
    }

    /// Releases a device's lease. Call it only after QEMU has removed the device.
    ///
    /// # Errors
    /// If it holds no lease, or is a controller that still has disks.
    pub fn release(&mut self, device: &DeviceId) -> Result<Allocation, PoolError> {
        let disks: Vec<&str> = self.disks_on(device).map(DeviceId::as_str).collect();
        if !disks.is_empty() {
            return Err(PoolError::HasDisks {
                controller: device.clone(),
                disks: disks.join(", "),
            });
        }
        let Some(allocation) = self.allocations.remove(device) else {
            return Err(PoolError::NotLeased {
                device: device.clone(),
            });
        };
        if let Some((assignment, queues)) = allocation.assignment() {
            self.threads.give_back(device, assignment, queues);
        }
        for (_, assignment) in self.possible.extract_if(.., |(id, _)| id == device) {
            self.threads.give_back(device, &assignment, 1);
        }
        if let Some(lease) = allocation.lease() {
            self.slots.give_back(lease.slot.clone());
        }
        self.last_targets.remove(device);
        Ok(allocation)
    }

    /// Returns what a device holds.
    pub fn allocation_of(&self, device: &DeviceId) -> Option<&Allocation> {
        self.allocations.get(device)
    }

    /// Returns a PCI device's lease.
    pub fn lease_of(&self, device: &DeviceId) -> Option<&Lease> {
        self.allocation_of(device)?.lease()
    }

    /// Returns the disks on a controller.
    pub fn disks_on(&self, controller: &DeviceId) -> impl Iterator<Item = &DeviceId> {
        self.addresses(controller).map(|(disk, _)| disk)
    }

    fn addresses(&self, controller: &DeviceId) -> impl Iterator<Item = (&DeviceId, &ScsiAddress)> {
        let on_it = move |address: &&ScsiAddress| address.controller == *controller;
        self.allocations
            .iter()
            .filter_map(move |(disk, allocation)| match allocation {
                Allocation::Scsi(address) => Some((disk, address)).filter(|(_, a)| on_it(a)),
                Allocation::Device(_) | Allocation::Controller(_) | Allocation::Thread(_) => None,
            })
    }

    /// Returns the threads, in the order in which they were made.
    pub fn threads(&self) -> &[IoThreadId] {
        self.threads.all()
    }

    /// Returns the devices that a thread serves: also the disks of a controller that it serves, and
    /// devices whose mapping names it without giving it a queue, since QEMU refers to it then.
    pub fn served_by(&self, thread: &IoThreadId) -> impl Iterator<Item = &DeviceId> {
        let serves = move |device: &DeviceId| {
            self.assignments_of(device)
                .any(|(assignment, queues)| assignment.queues_of(thread, queues).is_some())
        };
        self.allocations
            .iter()
            .filter(move |(device, allocation)| match allocation {
                Allocation::Scsi(address) => serves(&address.controller),
                Allocation::Device(_) | Allocation::Controller(_) | Allocation::Thread(_) => {
                    serves(device)
                }
            })
            .map(|(device, _)| device)
    }

    /// Returns what serves a device, and what [may](Self::may_be_on), each with the number of queues.
    fn assignments_of(&self, device: &DeviceId) -> impl Iterator<Item = (&Assignment, u16)> {
        let own = self
            .allocations
            .get(device)
            .and_then(Allocation::assignment);
        let possible = self.possible.iter().filter(move |(id, _)| id == device);
        own.into_iter()
            .chain(possible.map(|(_, assignment)| (assignment, 1)))
    }

    /// Returns the number of free slots.
    pub fn free_slots(&self) -> usize {
        self.slots.free()
    }

    /// Returns an id for one more thread. Make it with `object-add`, and then
    /// [commit](Self::commit_thread) it.
    pub fn new_thread(&mut self) -> NewThread {
        self.threads.make()
    }

    /// Adds a thread that QEMU has created.
    pub fn commit_thread(&mut self, new: NewThread) -> IoThreadId {
        self.threads.commit_thread(new)
    }

    /// Removes an idle thread. Call this before `object-del`: QEMU does not check whether the thread
    /// is in use.
    ///
    /// # Errors
    /// If it serves a device, or is not in the pool.
    pub fn remove_thread(&mut self, thread: &IoThreadId) -> Result<(), PoolError> {
        self.threads.check_exists(thread)?;
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

    /// Puts a removed thread back where it was: QEMU has refused to delete it.
    pub fn restore_thread(&mut self, thread: IoThreadId, position: usize) {
        self.threads.restore(thread, position);
    }

    /// Returns who serves what, and why.
    pub fn state(&self) -> State {
        State::of(self)
    }
}

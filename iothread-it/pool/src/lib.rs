//! The pool of IOThreads and hotplug slots: who has what.
//!
//! It performs no I/O, so a VM manager can use it with its own QMP client. It, and not QEMU,
//! records what is in use: QEMU deletes an IOThread under a running device, and
//! 7.2 puts a second device on an occupied root port.
//!
//! ```
//! use iothread_pool::{DeviceId, IoThreadId, PciSlot, Placement, Pool, PoolError, SlotTable};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Two threads, and the slots of two bridges. The manager put its network card into one of them.
//! let threads = vec![IoThreadId::indep(0), IoThreadId::indep(1)];
//! let slots = ["br0", "br1"].into_iter().flat_map(|bus| (1..=30).map(move |n| (bus, n)));
//! let slots: Vec<_> = slots.map(|(bus, n)| PciSlot::new(bus, n)).collect::<Result<_, _>>()?;
//! let mut pool = Pool::new(threads, SlotTable::new(slots)?)?;
//! pool.reserve_slot(&PciSlot::new("br0", 1)?)?;
//!
//! // Three disks: the pool says which thread and which slot each gets, for `device_add`.
//! let disks = ["root", "data", "log"].map(|id| DeviceId::new(id).unwrap());
//! let [root, data, log] = &disks;
//! let lease = pool.lease(root, 4, &Placement::LeastLoaded)?;
//! assert_eq!(lease.assignment.thread(), Some(&IoThreadId::indep(0)));
//! assert_eq!((lease.slot.bus(), lease.slot.addr().as_str()), ("br0", "0x2"));
//! pool.lease(data, 1, &Placement::LeastLoaded)?;
//! pool.lease(log, 1, &Placement::LeastLoaded)?;
//! let served: Vec<_> = pool.served_by(&IoThreadId::indep(1)).collect();
//! assert_eq!(served, [data, log]);
//!
//! // A thread that serves disks is not removed. QEMU would remove it.
//! let busy = pool.remove_thread(&IoThreadId::indep(1));
//! assert!(matches!(busy, Err(PoolError::InUse { .. })));
//!
//! // A manager that is started again goes on where it was.
//! let saved = pool.save();
//! let mut pool = Pool::restore(saved)?;
//! pool.release(data)?;
//! pool.release(log)?;
//! pool.remove_thread(&IoThreadId::indep(1))?;
//! // Its id is never used again.
//! assert_eq!(pool.new_thread().id(), &IoThreadId::indep(2));
//! # Ok(())
//! # }
//! ```
//!
//! | what a device needs | call |
//! |---|---|
//! | threads and a free slot | [`Pool::lease`], [`Pool::lease_controller`] |
//! | threads, and a slot that the caller chooses | [`Pool::lease_in`], [`Pool::lease_controller_in`] |
//! | threads, and no slot of the pool | [`Pool::lease_threads`] |
//! | one thread: an export, a node without a device | [`Pool::lease_thread`] |
//! | an address on a SCSI controller | [`Pool::lease_address`] |
//! | a slot for a device that no thread serves | [`Pool::reserve_slot`], [`Pool::reserve_any_slot`] |
//!
//! [`Placement`] has the built-in policies, and [`Policy`] is the trait for others. With the feature
//! `serde` the pool and its types can be serialized.

mod allocation;
mod assignment;
mod cpu_time;
mod error;
mod id;
mod moves;
mod placement;
mod policy;
mod reservation;
mod saved;
mod slot;
mod state;
mod text;
mod threads;
mod vq_mapping;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use allocation::Share;
pub use allocation::{Allocation, Lease, ScsiAddress, ThreadLease};
pub use assignment::Assignment;
pub use cpu_time::cpu_ticks;
pub use error::{PoolError, VqMappingError};
pub use id::{DeviceId, IdError, IoThreadId};
pub use placement::Placement;
pub use policy::{Choice, Demand, PlacementRequest, Policy};
pub use saved::{RestoreError, SavedPool};
pub use slot::{PciSlot, SlotError, SlotTable, root_port_id};
pub use state::{Served, State, ThreadState};
use text::list;
pub use threads::NewThread;
use threads::Threads;
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
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "SavedPool", into = "SavedPool"))]
pub struct Pool {
    threads: Threads,
    slots: SlotTable,
    allocations: BTreeMap<DeviceId, Allocation>,
    /// Beside their own, threads that devices may be on: see [`may_be_on`](Pool::may_be_on).
    possible: Vec<(DeviceId, ThreadLease)>,
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
        self.threads.next_number
    }

    /// Makes no id with a number below this: an earlier pool of the same VM used them. QEMU may still
    /// refer to a removed thread by its id, and would mix it up with a new one.
    pub fn skip_thread_numbers_below(&mut self, number: usize) {
        self.threads.next_number = self.threads.next_number.max(number);
    }

    /// Gives a PCI device with so many queues a slot and what serves it.
    ///
    /// # Errors
    /// If the placement is impossible, also over more threads than it has queues; if no slot is
    /// free, or the device has a lease. Nothing is taken then.
    pub fn lease(
        &mut self,
        device: &DeviceId,
        queues: u16,
        policy: &dyn Policy,
    ) -> Result<Lease, PoolError> {
        self.lease_in(device, Demand::new(queues), policy, None)
    }

    /// Gives a PCI device a slot and what serves it: this slot, or any if `None`.
    ///
    /// # Errors
    /// As for [`lease`](Self::lease), or if this slot is not free.
    pub fn lease_in(
        &mut self,
        device: &DeviceId,
        demand: Demand,
        policy: &dyn Policy,
        slot: Option<&PciSlot>,
    ) -> Result<Lease, PoolError> {
        let lease = self.make_lease(device, (demand, DEVICE_QUEUES), policy, slot)?;
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
        policy: &dyn Policy,
    ) -> Result<Lease, PoolError> {
        self.lease_controller_in(controller, Demand::new(queues), policy, None)
    }

    /// Gives a SCSI controller a slot and what serves it: this slot, or any if `None`.
    ///
    /// # Errors
    /// As for [`lease_in`](Self::lease_in).
    pub fn lease_controller_in(
        &mut self,
        controller: &DeviceId,
        demand: Demand,
        policy: &dyn Policy,
        slot: Option<&PciSlot>,
    ) -> Result<Lease, PoolError> {
        let lease = self.make_lease(controller, (demand, CONTROLLER_QUEUES), policy, slot)?;
        self.hold(controller, Allocation::Controller(lease.clone()));
        Ok(lease)
    }

    /// Gives a device what serves it, and no slot: the caller chooses its address.
    ///
    /// # Errors
    /// If the placement is impossible, or it has a lease. Nothing is taken then.
    pub fn lease_threads(
        &mut self,
        device: &DeviceId,
        demand: Demand,
        policy: &dyn Policy,
    ) -> Result<ThreadLease, PoolError> {
        check_queues(demand.queues, DEVICE_QUEUES)?;
        self.hold_threads(device, demand, policy, false)
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
    /// If the placement is impossible, if it would be on several threads; or it has a lease.
    pub fn lease_thread(
        &mut self,
        id: &DeviceId,
        policy: &dyn Policy,
    ) -> Result<ThreadLease, PoolError> {
        self.hold_threads(id, Demand::new(1), policy, true)
    }

    fn make_lease(
        &mut self,
        device: &DeviceId,
        (demand, limit): (Demand, u16),
        policy: &dyn Policy,
        slot: Option<&PciSlot>,
    ) -> Result<Lease, PoolError> {
        check_queues(demand.queues, limit)?;
        let threads = self.choose(device, demand, policy, false)?;
        let slot = self.take_slot(slot)?;
        self.note_turn(&threads);
        Ok(Lease::new(threads, slot))
    }

    fn hold_threads(
        &mut self,
        id: &DeviceId,
        demand: Demand,
        policy: &dyn Policy,
        one_thread: bool,
    ) -> Result<ThreadLease, PoolError> {
        let lease = self.choose(id, demand, policy, one_thread)?;
        self.note_turn(&lease);
        self.hold(id, Allocation::Thread(lease.clone()));
        Ok(lease)
    }

    /// Lets a policy choose, and checks its choice. Changes nothing.
    fn choose(
        &self,
        device: &DeviceId,
        demand: Demand,
        policy: &dyn Policy,
        one_thread: bool,
    ) -> Result<ThreadLease, PoolError> {
        self.check_not_leased(device)?;
        let request = PlacementRequest {
            device,
            demand,
            one_thread,
        };
        let choice = policy.choose(&request, &self.state())?;
        for thread in choice.assignment.threads() {
            self.threads.check_exists(thread)?;
            if let Some(device) = self.dedicated_to(thread) {
                return Err(PoolError::Dedicated {
                    thread: thread.clone(),
                    device: device.clone(),
                });
            }
            if choice.dedicated && self.served_by(thread).next().is_some() {
                return Err(PoolError::NotIdle {
                    thread: thread.clone(),
                    devices: list(self.served_by(thread), ""),
                });
            }
        }
        match &choice.assignment {
            Assignment::Mapped(_) if one_thread => {
                let id = device.clone();
                return Err(PoolError::OneThread { id });
            }
            Assignment::Mapped(mapping) => mapping.check(demand.queues)?,
            Assignment::MainLoop | Assignment::Thread(_) => {}
        }
        Ok(ThreadLease::new(choice, demand))
    }

    fn note_turn(&mut self, lease: &ThreadLease) {
        if let (true, Some(thread)) = (lease.in_turn, lease.assignment.thread()) {
            self.threads.last_in_turn = Some(thread.clone());
        }
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
        if self.disks_on(device).next().is_some() {
            return Err(PoolError::HasDisks {
                controller: device.clone(),
                disks: list(self.disks_on(device), ""),
            });
        }
        let Some(allocation) = self.allocations.remove(device) else {
            return Err(PoolError::NotLeased {
                device: device.clone(),
            });
        };
        self.possible.retain(|(id, _)| id != device);
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
        &self.threads.all
    }

    /// Returns the devices that a thread serves: also the disks of a controller that it serves, and
    /// devices whose mapping names it without giving it a queue, since QEMU refers to it then.
    pub fn served_by(&self, thread: &IoThreadId) -> impl Iterator<Item = &DeviceId> {
        let serves = move |device: &DeviceId| {
            let mut shares = self.shares_of(device);
            shares.any(|share| share.assignment.names(thread))
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

    /// Returns what each device takes of threads, and what it [may](Self::may_be_on).
    fn shares(&self) -> impl Iterator<Item = (&DeviceId, Share<'_>)> {
        let held = self.allocations.iter();
        let held = held.filter_map(|(device, allocation)| Some((device, allocation.share()?)));
        let possible = self.possible.iter();
        held.chain(possible.map(|(device, lease)| (device, lease.share())))
    }

    fn shares_of(&self, device: &DeviceId) -> impl Iterator<Item = Share<'_>> {
        let own = self.allocations.get(device);
        let own = own.and_then(Allocation::share);
        let possible = self.possible.iter().filter(move |(id, _)| id == device);
        own.into_iter()
            .chain(possible.map(|(_, lease)| lease.share()))
    }

    fn dedicated_to(&self, thread: &IoThreadId) -> Option<&DeviceId> {
        let mut shares = self.shares();
        let owns = |share: &Share<'_>| share.dedicated && share.assignment.names(thread);
        shares.find_map(|(device, share)| owns(&share).then_some(device))
    }

    /// Returns an id for one more thread. Make it with `object-add`, and then
    /// [commit](Self::commit_thread) it.
    pub fn new_thread(&mut self) -> NewThread {
        self.threads.make()
    }

    /// Adds a thread that QEMU has created.
    pub fn commit_thread(&mut self, new: NewThread) -> IoThreadId {
        self.threads.commit(new)
    }

    /// Removes an idle thread. Call this before `object-del`: QEMU does not check whether the thread
    /// is in use.
    ///
    /// # Errors
    /// If it serves a device, or is not in the pool.
    pub fn remove_thread(&mut self, thread: &IoThreadId) -> Result<(), PoolError> {
        self.threads.check_exists(thread)?;
        if self.served_by(thread).next().is_some() {
            return Err(PoolError::InUse {
                thread: thread.clone(),
                devices: list(self.served_by(thread), ""),
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

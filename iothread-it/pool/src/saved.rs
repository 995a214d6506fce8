//! The pool as plain data, to be kept while a VM manager is not running.

use std::collections::{BTreeMap, BTreeSet};

use super::slot::SlotTable;
use super::threads::{Threads, number_after};
use super::{
    Allocation, Assignment, CONTROLLER_QUEUES, DEVICE_QUEUES, DeviceId, IoThreadId, PciSlot, Pool,
    PoolError, ThreadLease, check_queues,
};

/// The state of a pool. Save it before each command to QEMU whose effect it has, and after.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub struct SavedPool {
    /// The threads, in the order in which they were made.
    pub threads: Vec<IoThreadId>,
    /// The number of the next new thread.
    pub next_thread_number: usize,
    /// The thread that had the last turn.
    pub last_in_turn: Option<IoThreadId>,
    /// Every slot.
    pub slots: Vec<PciSlot>,
    /// The free ones, in the order in which they will be given.
    pub free_slots: Vec<PciSlot>,
    /// Those of devices that the pool does not know.
    pub reserved_slots: Vec<PciSlot>,
    /// What each device holds.
    pub leases: Vec<(DeviceId, Allocation)>,
    /// Threads that devices may be on, in addition to those that they hold.
    pub possible: Vec<(DeviceId, ThreadLease)>,
    /// The target that each SCSI controller gave last.
    pub last_targets: Vec<(DeviceId, u8)>,
}

/// Saved state that contradicts itself. No pool is made of it.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestoreError {
    /// Threads or slots are listed twice, or a lease is invalid on its own.
    #[error("the saved pool is invalid")]
    Invalid(#[from] PoolError),
    /// The next new thread would get an id that is in use.
    #[error("the saved number of the next IOThread is {number}, but IOThread `{thread}` exists")]
    ThreadNumber {
        /// The number.
        number: usize,
        /// The thread with the greatest number.
        thread: IoThreadId,
    },
    /// A lease names a thread that is not listed.
    #[error("IOThread `{thread}` of {of} is not among the saved IOThreads")]
    UnknownThread {
        /// The thread.
        thread: IoThreadId,
        /// What names it.
        of: String,
    },
    /// A thread is dedicated to a device, and another uses it.
    #[error("IOThread `{thread}` is dedicated to `{device}`, but also leased to `{other}`")]
    NotDedicated {
        /// The thread.
        thread: IoThreadId,
        /// The device that it is dedicated to.
        device: DeviceId,
        /// The other device.
        other: DeviceId,
    },
    /// A device has two leases.
    #[error("device `{device}` has two leases")]
    TwoLeases {
        /// The device.
        device: DeviceId,
    },
    /// A slot is not listed.
    #[error("slot {slot}, which is {state}, is not among the saved slots")]
    UnknownSlot {
        /// The slot.
        slot: PciSlot,
        /// Free, reserved or leased, as text.
        state: String,
    },
    /// A slot is in two states.
    #[error("slot {slot} is both {first} and {second}")]
    SlotTwice {
        /// The slot.
        slot: PciSlot,
        /// Free, reserved or leased, as text.
        first: String,
        /// The same.
        second: String,
    },
    /// A slot is neither free nor reserved nor leased.
    #[error("slot {slot} is neither free nor reserved nor leased")]
    LostSlot {
        /// The slot.
        slot: PciSlot,
    },
    /// A disk's controller holds no lease of a controller.
    #[error("disk `{disk}` is on `{controller}`, which is not a saved SCSI controller")]
    NoController {
        /// The disk.
        disk: DeviceId,
        /// The controller.
        controller: DeviceId,
    },
    /// Two disks have one target.
    #[error("disks `{first}` and `{second}` have the same target of a SCSI controller")]
    TargetTwice {
        /// One disk.
        first: DeviceId,
        /// The other.
        second: DeviceId,
    },
    /// What may be on a thread holds none.
    #[error("device `{device}` may be on an IOThread, but holds no lease of one")]
    NoLease {
        /// The device.
        device: DeviceId,
    },
}

impl Pool {
    /// Returns the state of the pool.
    pub fn save(&self) -> SavedPool {
        self.clone().into()
    }

    /// Makes a pool of what another [saved](Self::save).
    ///
    /// # Errors
    /// If it contradicts itself.
    pub fn restore(saved: SavedPool) -> Result<Self, RestoreError> {
        let SavedPool {
            threads,
            next_thread_number,
            last_in_turn,
            slots,
            free_slots,
            reserved_slots,
            leases,
            possible,
            last_targets,
        } = saved;
        let mut allocations = BTreeMap::new();
        for (device, allocation) in leases {
            if allocations.insert(device.clone(), allocation).is_some() {
                return Err(RestoreError::TwoLeases { device });
            }
        }
        if number_after(&threads) > next_thread_number
            && let Some(thread) = threads.iter().max_by_key(|thread| thread.indep_number())
        {
            return Err(RestoreError::ThreadNumber {
                number: next_thread_number,
                thread: thread.clone(),
            });
        }
        let mut threads = Threads::new(threads)?;
        threads.next_number = next_thread_number;
        threads.last_in_turn = last_in_turn;
        let all = SlotTable::new(slots)?.all;
        let pool = Self {
            threads,
            slots: SlotTable {
                free: free_slots.into(),
                all,
                reserved: BTreeSet::new(),
            },
            allocations,
            possible,
            last_targets: last_targets.into_iter().collect(),
        };
        pool.check_threads()?;
        pool.check_slots(&reserved_slots)?;
        pool.check_disks()?;
        Ok(Self {
            slots: SlotTable {
                reserved: reserved_slots.into_iter().collect(),
                ..pool.slots
            },
            ..pool
        })
    }

    fn check_threads(&self) -> Result<(), RestoreError> {
        let known = |thread: &IoThreadId, of: &dyn Fn() -> String| {
            let unknown = || RestoreError::UnknownThread {
                thread: thread.clone(),
                of: of(),
            };
            let found = self.threads.all.contains(thread);
            found.then_some(()).ok_or_else(unknown)
        };
        if let Some(thread) = &self.threads.last_in_turn {
            known(thread, &|| "the last turn".to_owned())?;
        }
        for (device, _) in &self.possible {
            if !matches!(self.allocations.get(device), Some(Allocation::Thread(_))) {
                let device = device.clone();
                return Err(RestoreError::NoLease { device });
            }
        }
        for (device, share) in self.shares() {
            let limit = match self.allocations.get(device) {
                Some(Allocation::Controller(_)) => CONTROLLER_QUEUES,
                _ => DEVICE_QUEUES,
            };
            check_queues(share.queues, limit)?;
            if let Assignment::Mapped(mapping) = share.assignment {
                mapping.check(share.queues).map_err(PoolError::from)?;
            }
            for thread in share.assignment.threads() {
                known(thread, &|| format!("`{device}`"))?;
                let owner = self.dedicated_to(thread);
                if let Some(owner) = owner.filter(|owner| *owner != device) {
                    return Err(RestoreError::NotDedicated {
                        thread: thread.clone(),
                        device: owner.clone(),
                        other: device.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    fn check_slots(&self, reserved: &[PciSlot]) -> Result<(), RestoreError> {
        let free = self.slots.free.iter().map(|slot| (slot, "free".to_owned()));
        let reserved = reserved.iter().map(|slot| (slot, "reserved".to_owned()));
        let leases = self.allocations.iter();
        let leased = leases.filter_map(|(device, allocation)| {
            let lease = allocation.lease()?;
            Some((&lease.slot, format!("leased to `{device}`")))
        });
        let mut states = BTreeMap::new();
        for (slot, state) in free.chain(reserved).chain(leased) {
            if !self.slots.all.contains(slot) {
                let slot = slot.clone();
                return Err(RestoreError::UnknownSlot { slot, state });
            }
            if let Some(first) = states.insert(slot, state.clone()) {
                return Err(RestoreError::SlotTwice {
                    slot: slot.clone(),
                    first,
                    second: state,
                });
            }
        }
        let mut all = self.slots.all.iter();
        match all.find(|slot| !states.contains_key(slot)) {
            Some(slot) => Err(RestoreError::LostSlot { slot: slot.clone() }),
            None => Ok(()),
        }
    }

    fn check_disks(&self) -> Result<(), RestoreError> {
        let mut targets = BTreeMap::new();
        for (disk, allocation) in &self.allocations {
            let Allocation::Scsi(address) = allocation else {
                continue;
            };
            let controller = &address.controller;
            let held = self.allocations.get(controller);
            if !matches!(held, Some(Allocation::Controller(_))) {
                return Err(RestoreError::NoController {
                    disk: disk.clone(),
                    controller: controller.clone(),
                });
            }
            if let Some(first) = targets.insert(address, disk) {
                return Err(RestoreError::TargetTwice {
                    first: first.clone(),
                    second: disk.clone(),
                });
            }
        }
        Ok(())
    }
}

impl From<Pool> for SavedPool {
    fn from(pool: Pool) -> Self {
        Self {
            threads: pool.threads.all,
            next_thread_number: pool.threads.next_number,
            last_in_turn: pool.threads.last_in_turn,
            slots: pool.slots.all,
            free_slots: pool.slots.free.into(),
            reserved_slots: pool.slots.reserved.into_iter().collect(),
            leases: pool.allocations.into_iter().collect(),
            possible: pool.possible,
            last_targets: pool.last_targets.into_iter().collect(),
        }
    }
}

impl TryFrom<SavedPool> for Pool {
    type Error = RestoreError;

    fn try_from(saved: SavedPool) -> Result<Self, RestoreError> {
        Self::restore(saved)
    }
}

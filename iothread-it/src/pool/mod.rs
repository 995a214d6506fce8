//! The pool of IOThreads and hotplug slots: who has what.
//!
//! It performs no I/O, so a VM manager can use it with a QMP client of its own. It, and not QEMU,
//! is the place that knows what is in use: QEMU deletes an IOThread under a running device, and
//! 7.2 puts a second device on an occupied root port.

mod id;
mod slot;

use std::collections::BTreeMap;

pub use id::{DeviceId, IdError, IoThreadId};
pub(crate) use slot::root_port_id;
pub use slot::{PciSlot, SlotTable};

/// Which thread is to serve a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Placement {
    /// The pool's first thread, as Kata does for every disk.
    #[default]
    First,
    /// This thread.
    Pinned(IoThreadId),
    /// QEMU's main loop, and no thread of the pool.
    MainLoop,
}

/// What a device holds until it is released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The thread that serves it. `None` is the main loop.
    pub thread: Option<IoThreadId>,
    /// Where it is plugged in.
    pub slot: PciSlot,
}

/// Why the pool gives no lease.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PoolError {
    /// There is no such thread.
    #[error("the pool has no IOThread `{wanted}`; it has {have}")]
    NoSuchThread {
        /// The thread that was asked for.
        wanted: IoThreadId,
        /// Those that there are, for a person.
        have: String,
    },
    /// No thread at all.
    #[error(
        "the pool has no IOThreads; set `enable_iothreads = true` and `indep_iothreads` to their number"
    )]
    NoThreads,
    /// Every slot is taken.
    #[error("all {total} hotplug slots are taken")]
    NoFreeSlot {
        /// How many there are.
        total: usize,
    },
    /// The device has a lease already.
    #[error("device `{device}` is attached already")]
    AlreadyLeased {
        /// The device.
        device: DeviceId,
    },
}

/// The threads and slots of one VM, and the leases on them.
#[derive(Debug, Clone)]
pub struct Pool {
    threads: Vec<IoThreadId>,
    slots: SlotTable,
    leases: BTreeMap<DeviceId, Lease>,
}

impl Pool {
    /// Makes a pool of the threads and slots that a VM was started with.
    pub fn new(threads: Vec<IoThreadId>, slots: SlotTable) -> Self {
        Self {
            threads,
            slots,
            leases: BTreeMap::new(),
        }
    }

    /// Gives a device a slot and a thread.
    ///
    /// # Errors
    /// If the thread is not in the pool, no slot is free, or the device has a lease.
    pub fn lease(&mut self, device: &DeviceId, placement: &Placement) -> Result<Lease, PoolError> {
        if self.leases.contains_key(device) {
            return Err(PoolError::AlreadyLeased {
                device: device.clone(),
            });
        }
        let thread = self.place(placement)?;
        let slot = self.slots.take().ok_or(PoolError::NoFreeSlot {
            total: self.slots.total(),
        })?;
        let lease = Lease { thread, slot };
        self.leases.insert(device.clone(), lease.clone());
        Ok(lease)
    }

    /// Takes a device's lease back. Only for a device that QEMU has let go of.
    pub fn release(&mut self, device: &DeviceId) -> Option<Lease> {
        let lease = self.leases.remove(device)?;
        self.slots.give_back(lease.slot.clone());
        Some(lease)
    }

    /// Returns a device's lease.
    pub fn lease_of(&self, device: &DeviceId) -> Option<&Lease> {
        self.leases.get(device)
    }

    /// Returns the threads, in the order in which they were made.
    pub fn threads(&self) -> &[IoThreadId] {
        &self.threads
    }

    /// Returns the devices that a thread serves.
    pub fn served_by(&self, thread: &IoThreadId) -> impl Iterator<Item = &DeviceId> {
        self.leases
            .iter()
            .filter(move |(_, lease)| lease.thread.as_ref() == Some(thread))
            .map(|(device, _)| device)
    }

    /// Returns the number of free slots.
    pub fn free_slots(&self) -> usize {
        self.slots.free()
    }

    fn place(&self, placement: &Placement) -> Result<Option<IoThreadId>, PoolError> {
        match placement {
            Placement::MainLoop => Ok(None),
            Placement::First => match self.threads.first() {
                Some(first) => Ok(Some(first.clone())),
                None => Err(PoolError::NoThreads),
            },
            Placement::Pinned(wanted) if self.threads.contains(wanted) => Ok(Some(wanted.clone())),
            Placement::Pinned(wanted) => Err(PoolError::NoSuchThread {
                wanted: wanted.clone(),
                have: self.names(),
            }),
        }
    }

    fn names(&self) -> String {
        if self.threads.is_empty() {
            return "none".into();
        }
        let names: Vec<&str> = self.threads.iter().map(IoThreadId::as_str).collect();
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn device(n: usize) -> DeviceId {
        DeviceId::new(format!("disk{n}")).unwrap()
    }

    fn pool(threads: usize, slots: usize) -> Pool {
        Pool::new(
            (0..threads).map(IoThreadId::indep).collect(),
            SlotTable::root_ports(slots),
        )
    }

    #[test]
    fn a_thread_that_is_not_there_is_refused_and_takes_no_slot() {
        let mut pool = pool(2, 1);
        let wanted = IoThreadId::new("nope").unwrap();
        let error = pool
            .lease(&device(0), &Placement::Pinned(wanted))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the pool has no IOThread `nope`; it has indep_iothread_0, indep_iothread_1"
        );
        assert_eq!(pool.free_slots(), 1);
    }

    #[test]
    fn a_pool_without_threads_says_which_keys_make_them() {
        let error = pool(0, 1).lease(&device(0), &Placement::First).unwrap_err();
        assert_eq!(error, PoolError::NoThreads);
    }

    proptest! {
        /// Whatever is leased and released in whatever order: no slot twice, no thread from
        /// outside, and all comes back.
        #[test]
        fn no_slot_is_given_twice_and_none_is_lost(
            steps in prop::collection::vec((any::<bool>(), 0usize..8, 0usize..4), 0..200)
        ) {
            const SLOTS: usize = 5;
            let mut pool = pool(3, SLOTS);
            let mut model: BTreeMap<DeviceId, Lease> = BTreeMap::new();
            for (lease, n, thread) in steps {
                let device = device(n);
                if lease {
                    let placement = match thread {
                        3 => Placement::MainLoop,
                        n => Placement::Pinned(IoThreadId::indep(n)),
                    };
                    match pool.lease(&device, &placement) {
                        Ok(lease) => {
                            prop_assert!(model.values().all(|other| other.slot != lease.slot));
                            prop_assert!(model.insert(device, lease).is_none());
                        }
                        Err(PoolError::AlreadyLeased { .. }) => {
                            prop_assert!(model.contains_key(&device));
                        }
                        Err(error) => {
                            prop_assert_eq!(error, PoolError::NoFreeSlot { total: SLOTS });
                            prop_assert_eq!(model.len(), SLOTS);
                        }
                    }
                } else {
                    prop_assert_eq!(pool.release(&device), model.remove(&device));
                }
                prop_assert_eq!(pool.free_slots(), SLOTS - model.len());
                for thread in pool.threads() {
                    let ours = model.values().filter(|l| l.thread.as_ref() == Some(thread));
                    prop_assert_eq!(pool.served_by(thread).count(), ours.count());
                }
            }
        }
    }
}

//! Slots: for a lease, or for a device that the pool does not know.

use super::{Allocation, PciSlot, Pool, PoolError};

impl Pool {
    /// Takes a slot for a device that the pool does not serve, such as a network card. No lease gets
    /// it until it is [free again](Self::free_slot).
    ///
    /// # Errors
    /// If it is not free, or the pool does not have it.
    pub fn reserve_slot(&mut self, slot: &PciSlot) -> Result<(), PoolError> {
        let slot = self.take_slot(Some(slot))?;
        self.slots.reserved.insert(slot);
        Ok(())
    }

    /// Takes any free slot for a device that the pool does not serve.
    ///
    /// # Errors
    /// If none is free.
    pub fn reserve_any_slot(&mut self) -> Result<PciSlot, PoolError> {
        let slot = self.take_slot(None)?;
        self.slots.reserved.insert(slot.clone());
        Ok(slot)
    }

    /// Frees a reserved slot. Call it only after QEMU has removed the device.
    ///
    /// # Errors
    /// If it is not reserved. The slot of a lease is freed by [`release`](Self::release).
    pub fn free_slot(&mut self, slot: &PciSlot) -> Result<(), PoolError> {
        let reserved = self.slots.reserved.take(slot);
        let slot = reserved.ok_or_else(|| PoolError::NotReserved { slot: slot.clone() })?;
        self.slots.give_back(slot);
        Ok(())
    }

    /// Returns the number of free slots.
    pub fn free_slots(&self) -> usize {
        self.slots.free.len()
    }

    /// Returns the slots that are neither free nor leased.
    pub fn reserved_slots(&self) -> impl Iterator<Item = &PciSlot> {
        self.slots.reserved.iter()
    }

    /// Takes this slot, or any if `None`.
    pub(super) fn take_slot(&mut self, slot: Option<&PciSlot>) -> Result<PciSlot, PoolError> {
        let Some(slot) = slot else {
            let total = self.slots.all.len();
            return self.slots.take().ok_or(PoolError::NoFreeSlot { total });
        };
        if let Some(taken) = self.slots.take_this(slot) {
            return Ok(taken);
        }
        if !self.slots.all.contains(slot) {
            return Err(PoolError::NoSuchSlot { slot: slot.clone() });
        }
        let in_it = |allocation: &Allocation| allocation.lease().is_some_and(|l| l.slot == *slot);
        let mut leases = self.allocations.iter();
        let by = leases.find(|(_, allocation)| in_it(allocation));
        Err(PoolError::SlotInUse {
            slot: slot.clone(),
            by: match by {
                Some((device, _)) => format!("in use by `{device}`"),
                None => "reserved".to_owned(),
            },
        })
    }
}

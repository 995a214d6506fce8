//! PCI slots that can take a hot-plugged device.

use std::collections::VecDeque;
use std::fmt;
use std::ops::RangeInclusive;

/// A slot: a bus and a device number on it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciSlot {
    bus: String,
    device: u8,
}

impl PciSlot {
    /// Returns the bus's id, such as `rp0`.
    pub fn bus(&self) -> &str {
        &self.bus
    }

    /// Returns the value of QEMU's `addr` property. QEMU reads it as hexadecimal, with or without
    /// the `0x`: a decimal 10 would land in slot 16.
    pub fn addr(&self) -> String {
        format!("{:#x}", self.device)
    }
}

impl fmt::Display for PciSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.bus, self.addr())
    }
}

/// The slots of a VM. The one that has been free for longest is given first, and of those that were
/// never taken the lowest.
///
/// So a device hardly ever comes to where another has just left: a guest that was asked twice
/// ejects a slot twice, and by the second time takes what is there by then.
#[derive(Debug, Clone)]
pub struct SlotTable {
    free: VecDeque<PciSlot>,
    all: Vec<PciSlot>,
}

impl SlotTable {
    /// Makes a table of root ports `rp0`, `rp1`, …, which take one device each.
    pub fn root_ports(count: usize) -> Self {
        Self::new((0..count).map(|n| PciSlot {
            bus: root_port_id(n),
            device: 0,
        }))
    }

    /// Makes a table of device numbers on one conventional bus.
    pub fn on_bus(bus: &str, devices: RangeInclusive<u8>) -> Self {
        Self::new(devices.map(|device| PciSlot {
            bus: bus.to_owned(),
            device,
        }))
    }

    fn new(slots: impl Iterator<Item = PciSlot>) -> Self {
        let all: Vec<_> = slots.collect();
        Self {
            free: all.iter().cloned().collect(),
            all,
        }
    }

    /// Returns every slot, free or taken, in the order in which they are given at first.
    pub fn all(&self) -> &[PciSlot] {
        &self.all
    }

    pub(super) fn take(&mut self) -> Option<PciSlot> {
        self.free.pop_front()
    }

    pub(super) fn give_back(&mut self, slot: PciSlot) {
        debug_assert!(self.all.contains(&slot), "{slot} is of another table");
        self.free.push_back(slot);
    }

    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    pub(super) fn total(&self) -> usize {
        self.all.len()
    }
}

/// Returns the id of the *n*th root port.
pub fn root_port_id(n: usize) -> String {
    format!("rp{n}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_hexadecimal() {
        let mut table = SlotTable::on_bus("pci.0", 0x9..=0x1f);
        let addrs: Vec<_> = std::iter::from_fn(|| table.take())
            .map(|s| s.addr())
            .collect();
        assert_eq!(addrs.len(), 0x17);
        assert_eq!(addrs[..2], ["0x9", "0xa"]);
        assert_eq!(addrs.last().unwrap(), "0x1f");
    }

    #[test]
    fn released_slot_is_reused_last() {
        let mut table = SlotTable::root_ports(3);
        let first = table.take().unwrap();
        assert_eq!(first.bus(), "rp0");
        table.give_back(first);
        let buses: Vec<_> = std::iter::from_fn(|| table.take())
            .map(|slot| slot.bus().to_owned())
            .collect();
        assert_eq!(buses, ["rp1", "rp2", "rp0"]);
    }
}

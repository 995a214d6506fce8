//! PCI slots that can take a hot-plugged device.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::ops::RangeInclusive;

use super::id::check;
use super::{IdError, PoolError};

/// A slot: a bus and a device number on it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "SlotFields", into = "SlotFields"))]
pub struct PciSlot {
    bus: String,
    device: u8,
}

/// An invalid slot.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlotError {
    /// The bus has no valid name.
    #[error(transparent)]
    Bus(#[from] IdError),
    /// A PCI bus has 32 device numbers.
    #[error(
        "device number {device} on bus `{bus}`: the highest is {:#x}",
        PciSlot::LAST_DEVICE
    )]
    Device {
        /// The bus.
        bus: String,
        /// The device number.
        device: u8,
    },
}

impl PciSlot {
    /// The highest device number on a bus.
    const LAST_DEVICE: u8 = 0x1f;

    /// Makes a slot of a bus, such as `rp0` or `pci.0`, and a device number.
    ///
    /// # Errors
    /// If QEMU would refuse either.
    pub fn new(bus: impl Into<String>, device: u8) -> Result<Self, SlotError> {
        let bus = bus.into();
        check(&bus)?;
        if device > Self::LAST_DEVICE {
            return Err(SlotError::Device { bus, device });
        }
        Ok(Self { bus, device })
    }

    /// Returns the bus's id, such as `rp0`.
    pub fn bus(&self) -> &str {
        &self.bus
    }

    /// Returns the device number.
    pub fn device(&self) -> u8 {
        self.device
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
/// never taken the first.
///
/// So a slot is rarely used again right after it was freed: a guest that got two requests
/// ejects a slot twice, and by the second time takes what is there by then.
///
/// A VM manager that chooses the addresses of its devices itself has an empty table, and
/// [leases threads](super::Pool::lease_threads) alone.
#[derive(Debug, Clone, Default)]
pub struct SlotTable {
    pub(super) free: VecDeque<PciSlot>,
    pub(super) all: Vec<PciSlot>,
    /// Neither free nor leased: a device has it that the pool does not know.
    pub(super) reserved: BTreeSet<PciSlot>,
}

impl SlotTable {
    /// Makes a table of any slots, which can be on several buses.
    ///
    /// # Errors
    /// If a slot is listed twice.
    pub fn new(slots: impl IntoIterator<Item = PciSlot>) -> Result<Self, PoolError> {
        let all: Vec<_> = slots.into_iter().collect();
        let mut seen = BTreeSet::new();
        if let Some(slot) = all.iter().find(|slot| !seen.insert(*slot)) {
            return Err(PoolError::DuplicateSlot { slot: slot.clone() });
        }
        Ok(Self {
            free: all.iter().cloned().collect(),
            all,
            reserved: BTreeSet::new(),
        })
    }

    /// Makes a table of root ports `rp0`, `rp1`, …, which take one device each.
    pub fn root_ports(count: usize) -> Self {
        let ports = (0..count).map(|n| PciSlot {
            bus: root_port_id(n),
            device: 0,
        });
        Self::new(ports).expect("the ports differ")
    }

    /// Makes a table of device numbers on one conventional bus.
    ///
    /// # Errors
    /// If the bus or a device number is invalid.
    pub fn on_bus(bus: &str, devices: RangeInclusive<u8>) -> Result<Self, SlotError> {
        let slots: Result<Vec<_>, _> = devices.map(|device| PciSlot::new(bus, device)).collect();
        Ok(Self::new(slots?).expect("the numbers differ"))
    }

    /// Returns every slot, free or taken, in the order in which they are given at first.
    pub fn all(&self) -> &[PciSlot] {
        &self.all
    }

    pub(super) fn take(&mut self) -> Option<PciSlot> {
        self.free.pop_front()
    }

    /// Takes this slot, if it is free.
    pub(super) fn take_this(&mut self, slot: &PciSlot) -> Option<PciSlot> {
        let place = self.free.iter().position(|free| free == slot)?;
        self.free.remove(place)
    }

    pub(super) fn give_back(&mut self, slot: PciSlot) {
        debug_assert!(self.all.contains(&slot), "{slot} is of another table");
        self.free.push_back(slot);
    }
}

/// Returns the id of the *n*th root port.
pub fn root_port_id(n: usize) -> String {
    format!("rp{n}")
}

#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
struct SlotFields {
    bus: String,
    device: u8,
}

#[cfg(feature = "serde")]
impl From<PciSlot> for SlotFields {
    fn from(PciSlot { bus, device }: PciSlot) -> Self {
        Self { bus, device }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<SlotFields> for PciSlot {
    type Error = SlotError;

    fn try_from(fields: SlotFields) -> Result<Self, SlotError> {
        Self::new(fields.bus, fields.device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_hexadecimal() {
        let mut table = SlotTable::on_bus("pci.0", 0x9..=0x1f).unwrap();
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

    #[test]
    fn slots_that_pci_does_not_have_are_refused() {
        let text = |bus, device| PciSlot::new(bus, device).unwrap_err().to_string();
        assert_eq!(
            text("br0", 32),
            "device number 32 on bus `br0`: the highest is 0x1f"
        );
        assert!(text("br,0", 1).starts_with("`br,0` is not a valid QEMU id"));
        assert!(SlotTable::on_bus("br0", 1..=32).is_err());
        let twice = ["br0", "br1", "br0"].map(|bus| PciSlot::new(bus, 1).unwrap());
        assert_eq!(
            SlotTable::new(twice).unwrap_err().to_string(),
            "duplicate slot br0 0x1"
        );
    }
}

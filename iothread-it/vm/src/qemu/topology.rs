//! Where a VM's hot-plugged devices go: the machine type, its buses, and who tells the guest.

use std::fmt;
use std::str::FromStr;

use super::Shape;
use crate::config::Machine;
use iothread_pool::SlotTable;

/// The bus of the `pc` machine that takes hot-plugged devices, and its slots that nothing of
/// ours or the machine's own occupies.
const PC_BUS: &str = "pci.0";
const PC_SLOTS: std::ops::RangeInclusive<u8> = 0x08..=0x1f;

/// The bridge, and its slots. Slot 0 is that of its own hotplug controller (SHPC).
pub(super) const BRIDGE: &str = "br0";
const BRIDGE_SLOTS: std::ops::RangeInclusive<u8> = 0x01..=0x1f;

/// How the PCI buses of a VM are laid out, and so how its guest learns of a hot-plugged device.
///
/// | topology | slots | told by | a detach takes |
/// |---|---|---|---|
/// | `pc` | `pci.0` | ACPI | a tenth of a second |
/// | `q35` | root ports | ACPI | a tenth of a second |
/// | `q35-native` | root ports | PCI Express itself: the attention button | 6 s, 5 of which the guest waits for a second press that takes the first back |
/// | `q35-bridge` | a conventional bus behind a `pcie-pci-bridge` | ACPI | a tenth of a second |
///
/// There is no `microvm`: that machine has no slot that takes a device, and QEMU refuses both
/// `device_add` and `device_del` on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topology {
    /// i440FX: conventional PCI, with ACPI hotplug on its root bus.
    Pc,
    /// PCI Express: root ports for one device each, with ACPI hotplug, QEMU's default since 6.1.
    Q35,
    /// PCI Express: root ports with their own, native hotplug.
    Q35Native,
    /// PCI Express with a conventional bus, as Kata has it: a `pcie-pci-bridge` that is there from
    /// the start, with ACPI hotplug.
    Q35Bridge,
}

impl Topology {
    /// Every topology.
    pub const ALL: [Self; 4] = [Self::Q35, Self::Pc, Self::Q35Native, Self::Q35Bridge];

    /// Returns its name here.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pc => "pc",
            Self::Q35 => "q35",
            Self::Q35Native => "q35-native",
            Self::Q35Bridge => "q35-bridge",
        }
    }

    /// Returns its machine type.
    pub fn machine(self) -> Machine {
        match self {
            Self::Pc => Machine::Pc,
            Self::Q35 | Self::Q35Native | Self::Q35Bridge => Machine::Q35,
        }
    }
}

impl From<Machine> for Topology {
    /// Returns what QEMU makes of a machine type by default.
    fn from(machine: Machine) -> Self {
        match machine {
            Machine::Pc => Self::Pc,
            Machine::Q35 => Self::Q35,
        }
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// There is no topology of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no topology; there are q35, pc, q35-native and q35-bridge")]
pub struct NoTopology(String);

impl FromStr for Topology {
    type Err = NoTopology;

    fn from_str(text: &str) -> Result<Self, NoTopology> {
        let known = Self::ALL.into_iter().find(|known| known.as_str() == text);
        known.ok_or_else(|| NoTopology(text.to_owned()))
    }
}

/// Returns the hotplug slots that a VM of this shape has.
pub fn slots(shape: &Shape) -> SlotTable {
    match shape.topology {
        Topology::Pc => SlotTable::on_bus(PC_BUS, PC_SLOTS),
        Topology::Q35 | Topology::Q35Native => SlotTable::root_ports(shape.root_ports),
        Topology::Q35Bridge => SlotTable::on_bus(BRIDGE, BRIDGE_SLOTS),
    }
}

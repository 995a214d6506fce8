//! The machine type and the PCI buses with hotplug.

use std::fmt;
use std::str::FromStr;

use super::VmSpec;
use crate::config::Machine;
use iothread_pool::SlotTable;

/// The bus with hotplug of the `pc` machine, and its slots that are free at the start.
const PC_BUS: &str = "pci.0";
const PC_SLOTS: std::ops::RangeInclusive<u8> = 0x08..=0x1f;

/// The bridge and its slots. Slot 0 is its hotplug controller (SHPC).
pub(super) const BRIDGE: &str = "br0";
const BRIDGE_SLOTS: std::ops::RangeInclusive<u8> = 0x01..=0x1f;

/// The PCI buses of a VM, which determine the hotplug method.
///
/// | topology | slots | hotplug method | duration of a detach |
/// |---|---|---|---|
/// | `pc` | `pci.0` | ACPI | 0.1 s |
/// | `q35` | root ports | ACPI | 0.1 s |
/// | `q35-native` | root ports | native PCIe: attention button | 6 s, of which the guest waits 5 s for a second press, which cancels the first |
/// | `q35-bridge` | a conventional bus behind a `pcie-pci-bridge` | ACPI | 0.1 s |
///
/// `microvm` is not supported: it has no slots, and QEMU refuses `device_add` and `device_del`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topology {
    /// i440FX: conventional PCI, with ACPI hotplug on the root bus.
    Pc,
    /// PCI Express root ports with ACPI hotplug, QEMU's default since 6.1.
    Q35,
    /// PCI Express root ports with native hotplug.
    Q35Native,
    /// A conventional bus behind a cold-plugged `pcie-pci-bridge`, as in Kata, with ACPI hotplug.
    Q35Bridge,
}

impl Topology {
    /// Every topology.
    pub const ALL: [Self; 4] = [Self::Q35, Self::Pc, Self::Q35Native, Self::Q35Bridge];

    /// Returns the name, such as `q35-native`.
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
    /// Returns the default topology of a machine type.
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

/// The name of the topology is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown topology `{0}`; expected q35, pc, q35-native or q35-bridge")]
pub struct UnknownTopology(String);

impl FromStr for Topology {
    type Err = UnknownTopology;

    fn from_str(text: &str) -> Result<Self, UnknownTopology> {
        let known = Self::ALL.into_iter().find(|known| known.as_str() == text);
        known.ok_or_else(|| UnknownTopology(text.to_owned()))
    }
}

/// Returns the hotplug slots of a VM.
pub fn slots(spec: &VmSpec) -> SlotTable {
    let on_bus = |bus, slots| SlotTable::on_bus(bus, slots).expect("a bus and its slots");
    match spec.topology {
        Topology::Pc => on_bus(PC_BUS, PC_SLOTS),
        Topology::Q35 | Topology::Q35Native => SlotTable::root_ports(spec.root_ports),
        Topology::Q35Bridge => on_bus(BRIDGE, BRIDGE_SLOTS),
    }
}

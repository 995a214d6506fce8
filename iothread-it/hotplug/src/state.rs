//! State of a disk in QEMU.

use qmp_client::Cursor;

/// State of a disk in QEMU: an upper bound. QEMU has less only after a lost reply or before an event
/// is processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskState {
    /// A block node without a device.
    NodeOnly,
    /// A device on its block node.
    Attached,
    /// Attached, with an unplug requested. DEVICE_DELETED may arrive at any time:
    /// [`process_unplug_events`](super::Hotplug::process_unplug_events) and
    /// [`detach`](super::Hotplug::detach) continue the removal.
    RemovalPending,
}

impl DiskState {
    /// Returns whether a device is a part of it.
    pub(super) fn has_device(self) -> bool {
        match self {
            Self::NodeOnly => false,
            Self::Attached | Self::RemovalPending => true,
        }
    }
}

/// A disk that QEMU has something of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Disk {
    pub(super) state: DiskState,
    /// Whether it has a block node. A controller and a balloon have none.
    pub(super) has_node: bool,
    /// From here on, events of a device with the disk's id are about this disk, and not about one
    /// that had the id before.
    pub(super) since: Cursor,
}

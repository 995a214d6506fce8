//! What QEMU has of a disk.

use qmp_client::Cursor;

/// The most that QEMU has of a disk. It has less only where an answer was lost, or where an event
/// has come that nobody has looked at yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskState {
    /// Its block node, and no device on it.
    NodeOnly,
    /// A device on its node.
    Attached,
    /// The same, but the guest was asked to let go and has not yet. DEVICE_DELETED may come at any
    /// time: [`process_unplug_events`](super::Hotplug::process_unplug_events) and [`detach`](super::Hotplug::detach) go on from
    /// there.
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

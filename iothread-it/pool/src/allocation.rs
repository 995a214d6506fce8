//! What a device holds of the pool until it is released.

use std::fmt;

use super::{Assignment, DeviceId, PciSlot};

/// Anything that a device can hold. Each kind of device has its own, so a disk behind a controller
/// cannot be mistaken for one that has a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allocation {
    /// A PCI device has a slot, and what serves it: a virtio-blk disk, a balloon.
    Device(Lease),
    /// So has a SCSI controller, and there are addresses on it.
    Controller(Lease),
    /// What the guest does not see has a thread alone: a block export, a block node without a
    /// device.
    Thread(ThreadLease),
    /// A disk on a SCSI controller has an address there. Who serves it is the controller's affair.
    Scsi(ScsiAddress),
}

/// A slot, and what serves the device in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What serves it.
    pub assignment: Assignment,
    /// How many queues it has.
    pub queues: u16,
    /// Where it is plugged in.
    pub slot: PciSlot,
    /// The reason for the choice, as text.
    pub why: String,
}

/// What serves something without a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadLease {
    /// The main loop, or one thread.
    pub assignment: Assignment,
    /// The reason for the choice, as text.
    pub why: String,
}

/// A place on a SCSI controller. Each disk is a target of its own, with the one LUN 0: so one that
/// goes leaves the others as they are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScsiAddress {
    /// The controller.
    pub controller: DeviceId,
    /// The target: `scsi-id`.
    pub target: u8,
}

impl ScsiAddress {
    /// The LUN: `lun`.
    pub const LUN: u8 = 0;
}

impl fmt::Display for ScsiAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "target {} of {}", self.target, self.controller)
    }
}

impl Allocation {
    /// Returns the lease of a PCI device.
    pub fn lease(&self) -> Option<&Lease> {
        match self {
            Self::Device(lease) | Self::Controller(lease) => Some(lease),
            Self::Thread(_) | Self::Scsi(_) => None,
        }
    }

    /// Returns what serves it, if that is said of it and not of its controller, and how many queues
    /// it has.
    pub fn assignment(&self) -> Option<(&Assignment, u16)> {
        match self {
            Self::Device(lease) | Self::Controller(lease) => {
                Some((&lease.assignment, lease.queues))
            }
            Self::Thread(lease) => Some((&lease.assignment, 1)),
            Self::Scsi(_) => None,
        }
    }

    /// Returns the reason for the choice, as text.
    pub(super) fn why(&self) -> String {
        match self {
            Self::Device(lease) | Self::Controller(lease) => lease.why.clone(),
            Self::Thread(lease) => lease.why.clone(),
            Self::Scsi(address) => address.to_string(),
        }
    }
}

//! What a device holds of the pool until it is released.

use std::fmt;

use super::{Assignment, Choice, Demand, DeviceId, IoThreadId, PciSlot};

/// Anything that a device can hold. Each kind of device has its own, so a disk behind a controller
/// cannot be mistaken for one that has a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Allocation {
    /// A PCI device has a slot, and what serves it: a virtio-blk disk, a balloon.
    Device(Lease),
    /// So has a SCSI controller, and there are addresses on it.
    Controller(Lease),
    /// What has no slot of the pool has threads alone: a block export, a block node without a device,
    /// or a device whose address the caller chooses.
    Thread(ThreadLease),
    /// A disk on a SCSI controller has an address there. Who serves it is the controller's affair.
    Scsi(ScsiAddress),
}

/// A slot, and what serves the device in it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub struct Lease {
    /// What serves it.
    pub assignment: Assignment,
    /// How many queues it has.
    pub queues: u16,
    /// The load of each queue.
    pub weight: u32,
    /// Whether its threads serve nothing else.
    pub dedicated: bool,
    /// Where it is plugged in.
    pub slot: PciSlot,
    /// The reason for the choice, as text.
    pub why: String,
}

/// What serves something without a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub struct ThreadLease {
    /// What serves it.
    pub assignment: Assignment,
    /// How many queues it has. An export and a node count as one.
    pub queues: u16,
    /// The load of each queue.
    pub weight: u32,
    /// Whether its threads serve nothing else.
    pub dedicated: bool,
    /// Whether its thread was the next in turn.
    pub in_turn: bool,
    /// The reason for the choice, as text.
    pub why: String,
}

impl ThreadLease {
    pub(super) fn new(choice: Choice, demand: Demand) -> Self {
        let Choice {
            assignment,
            dedicated,
            in_turn,
            why,
        } = choice;
        Self {
            assignment,
            queues: demand.queues,
            weight: demand.weight,
            dedicated,
            in_turn,
            why,
        }
    }

    pub(super) fn share(&self) -> Share<'_> {
        Share {
            assignment: &self.assignment,
            queues: self.queues,
            weight: self.weight,
            dedicated: self.dedicated,
        }
    }
}

impl Lease {
    pub(super) fn new(threads: ThreadLease, slot: PciSlot) -> Self {
        let ThreadLease {
            assignment,
            queues,
            weight,
            dedicated,
            in_turn: _,
            why,
        } = threads;
        Self {
            assignment,
            queues,
            weight,
            dedicated,
            slot,
            why,
        }
    }
}

/// What a device takes of threads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share<'a> {
    pub(super) assignment: &'a Assignment,
    pub(super) queues: u16,
    pub(super) weight: u32,
    pub(super) dedicated: bool,
}

impl Share<'_> {
    /// Returns how many queues a thread serves, if it is named.
    pub(super) fn queues_of(&self, thread: &IoThreadId) -> Option<usize> {
        self.assignment.queues_of(thread, self.queues)
    }
}

/// A place on a SCSI controller. Each disk is a target of its own, with the one LUN 0: so one that
/// goes leaves the others as they are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
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

    /// Returns what serves it, if that is configured for it and not for its controller, and how many queues
    /// it has.
    pub fn assignment(&self) -> Option<(&Assignment, u16)> {
        self.share().map(|share| (share.assignment, share.queues))
    }

    pub(super) fn share(&self) -> Option<Share<'_>> {
        match self {
            Self::Device(lease) | Self::Controller(lease) => Some(Share {
                assignment: &lease.assignment,
                queues: lease.queues,
                weight: lease.weight,
                dedicated: lease.dedicated,
            }),
            Self::Thread(lease) => Some(lease.share()),
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

//! What the machine has its driver do, and what the driver gives back.

use iothread_pool::{DeviceId, PciSlot};
use qmp_client::Request;

/// An operation that was started. Ids are never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub(crate) u64);

/// A command that was given out. Ids are never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub(crate) u64);

/// A question to the guest. Ids are never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuestionId(pub(crate) u64);

/// What a driver has to do, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Send a command to QEMU, and give its reply to [`reply`](crate::Hotplug::reply). It is sent
    /// even if the operation that needed it has ended.
    Send {
        /// Which command the reply is to.
        id: CommandId,
        /// The command.
        command: Request,
    },
    /// Look whether the guest has a disk, and give what was found to
    /// [`answer`](crate::Hotplug::answer).
    AskGuest {
        /// Which question the answer is to.
        id: QuestionId,
        /// The disk.
        disk: GuestDisk,
        /// What to wait for.
        awaited: Presence,
    },
}

/// Whether a disk is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is there.
    Present,
    /// It is not.
    Absent,
}

/// A disk as the guest can find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestDisk {
    /// Its id, which the guest does not see.
    pub id: DeviceId,
    /// The serial that the guest reads, if it has one.
    pub serial: Option<String>,
    /// Where it is plugged in.
    pub address: GuestAddress,
}

/// Where a disk is plugged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestAddress {
    /// A PCI device. What the guest calls its bus, the caller that made the buses knows.
    Pci(PciSlot),
    /// A disk on a SCSI controller.
    Scsi {
        /// Where the controller is plugged in.
        controller: PciSlot,
        /// The target.
        target: u8,
        /// The LUN.
        lun: u8,
    },
}

/// The error of a query of the guest's disks.
pub type GuestError = Box<dyn std::error::Error + Send + Sync>;

/// What the guest has, as far as it was looked at.
#[derive(Debug)]
pub enum Answer {
    /// It is as awaited.
    Yes,
    /// It is not, so far. The machine asks again, or finds that it has waited long enough.
    NotYet(GuestError),
    /// The guest cannot tell. This ends the operation.
    Failed(GuestError),
}

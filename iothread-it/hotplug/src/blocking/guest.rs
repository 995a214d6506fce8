//! The guest's view of its disks.

use qmp_client::wait::Deadline;

use crate::action::{GuestDisk, GuestError};

/// Access to the guest's view of its disks, such as a VM manager's guest agent.
pub trait Guest {
    /// Waits until the guest has the disk. The deadline is strict.
    ///
    /// # Errors
    /// If it does not appear before the deadline. An error before the deadline ends the attach.
    fn await_present(&self, disk: &GuestDisk, deadline: Deadline) -> Result<(), GuestError>;

    /// Waits until the guest does not have the disk. The deadline is strict.
    ///
    /// # Errors
    /// If it does not disappear before the deadline.
    fn await_absent(&self, disk: &GuestDisk, deadline: Deadline) -> Result<(), GuestError>;
}

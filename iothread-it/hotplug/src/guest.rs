//! The guest's view of its disks, which an attach needs.

use iothread_pool::DeviceId;
use qmp_client::wait::Deadline;

/// The error of a query of the guest's disks.
pub type GuestError = Box<dyn std::error::Error + Send + Sync>;

/// Access to the guest's view of its disks, such as a VM manager's guest agent.
pub trait Guest {
    /// Waits until the guest has the disk whose serial is this id. The deadline is
    /// strict.
    ///
    /// # Errors
    /// If it does not appear before the deadline. An error before the deadline ends the attach.
    fn await_present(&self, disk: &DeviceId, deadline: Deadline) -> Result<(), GuestError>;

    /// Waits until the guest has no disk whose serial is this id. The deadline is strict.
    ///
    /// # Errors
    /// If it does not disappear before the deadline.
    fn await_absent(&self, disk: &DeviceId, deadline: Deadline) -> Result<(), GuestError>;
}

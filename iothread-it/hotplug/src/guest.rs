//! What an attach needs to know of the guest.

use iothread_pool::DeviceId;
use qmp_client::wait::Deadline;

/// Why the guest's view is not known.
pub type GuestError = Box<dyn std::error::Error + Send + Sync>;

/// Somebody who sees the guest's disks. A VM manager has an agent of its own for this.
pub trait Guest {
    /// Waits until the guest has the disk whose serial is this id. The deadline is strict: nothing is
    /// added to it.
    ///
    /// # Errors
    /// If it does not come in time. An error before the deadline ends the attach.
    fn await_present(&self, disk: &DeviceId, deadline: Deadline) -> Result<(), GuestError>;

    /// Waits until the guest has no disk whose serial is this id. The deadline is strict.
    ///
    /// # Errors
    /// If it does not go in time.
    fn await_absent(&self, disk: &DeviceId, deadline: Deadline) -> Result<(), GuestError>;
}

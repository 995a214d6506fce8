//! Implements [`Guest`] with the agent: hotplug waits for a disk in the guest.

use guest_agent::protocol::{Presence, Serial};
use iothread_hotplug::blocking::Guest;
use iothread_hotplug::{GuestDisk, GuestError};
use qmp_client::wait::Deadline;

use super::Agent;

impl Guest for Agent {
    fn await_present(&self, disk: &GuestDisk, deadline: Deadline) -> Result<(), GuestError> {
        self.await_disk(&serial(disk)?, Presence::Present, deadline)?;
        Ok(())
    }

    fn await_absent(&self, disk: &GuestDisk, deadline: Deadline) -> Result<(), GuestError> {
        self.await_disk(&serial(disk)?, Presence::Absent, deadline)?;
        Ok(())
    }
}

/// The agent finds disks by their serial.
fn serial(disk: &GuestDisk) -> Result<Serial, GuestError> {
    let serial = disk.serial.clone();
    let missing = || {
        format!(
            "disk `{}` has no serial, by which the agent finds it",
            disk.id
        )
    };
    Ok(Serial(serial.ok_or_else(missing)?))
}

//! Implements [`Guest`] with the agent: hotplug waits for a disk in the guest.

use guest_agent::protocol::{Presence, Serial};
use iothread_hotplug::{Guest, GuestError};
use iothread_pool::DeviceId;
use qmp_client::wait::Deadline;

use super::Agent;

impl Guest for Agent {
    fn await_present(&self, disk: &DeviceId, deadline: Deadline) -> Result<(), GuestError> {
        let serial = Serial(disk.as_str().to_owned());
        self.await_disk(&serial, Presence::Present, deadline)?;
        Ok(())
    }

    fn await_absent(&self, disk: &DeviceId, deadline: Deadline) -> Result<(), GuestError> {
        let serial = Serial(disk.as_str().to_owned());
        self.await_disk(&serial, Presence::Absent, deadline)?;
        Ok(())
    }
}

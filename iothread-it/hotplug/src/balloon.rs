//! A balloon whose free page hints have a thread.

use super::plug::{Plug, not_started};
use super::{AttachError, Hotplug, Step, wire};
use iothread_pool::{DeviceId, Lease, Placement};
use qmp_client::Driver;
use qmp_client::Qmp;
use qmp_client::command::{DeviceAdd, DeviceOptions, VirtioBalloon};
use qmp_client::wait::Deadline;

impl Hotplug {
    /// Attaches a balloon that hints at free pages (`free-page-hint=on`), so that a migration leaves
    /// them out. Its thread takes the hints: it has nothing to do unless the VM is migrated.
    ///
    /// # Errors
    /// If a step fails, or several threads are asked for: a balloon can use only one. What
    /// was done until then is undone, and the error says if that failed too.
    pub fn attach_balloon(
        &mut self,
        qmp: &Qmp,
        id: &DeviceId,
        placement: &Placement,
        deadline: Deadline,
    ) -> Result<Lease, AttachError> {
        let refused = |source| not_started(id, Step::Lease, source);
        self.require_vq_mapping(qmp, Driver::VirtioBalloon, placement, deadline)
            .map_err(refused)?;
        let lease = self
            .pool
            .lease(id, 1, placement)
            .map_err(|source| refused(source.into()))?;
        let device = DeviceAdd::VirtioBalloon(VirtioBalloon {
            id: id.as_str(),
            address: wire::address(&lease.slot),
            free_page_hint: true,
            served_by: wire::served_by(&lease.assignment),
            options: DeviceOptions::default(),
        });
        let plug = Plug {
            id,
            node: None,
            device,
            mapping: None,
            guest: None,
        };
        self.plug_or_roll_back(qmp, &plug, deadline)?;
        Ok(lease)
    }
}

//! Hot-plug: into QEMU, then into the guest.

use std::time::Duration;

use super::state::{Disk, DiskState};
use super::{AttachError, Guest, Hotplug, Step, StepError, mapping};
use iothread_pool::{Assignment, DeviceId, VqMapping};
use qmp_client::command::{BlockdevAdd, DeviceAdd};
use qmp_client::wait::Deadline;
use qmp_client::{Cursor, Qmp, QmpError};

/// Maximum number of attempts if the guest ejects the device each time.
const MAX_PLUG_ATTEMPTS: u32 = 3;

/// Interval between checks that QEMU still has the device: the wait for the guest is not interrupted
/// by QEMU's events. (Tests use mocks that reply at once.)
const CHECK_INTERVAL: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 1000 });

/// The result of the wait for the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GuestView {
    /// The guest has it.
    Present,
    /// The guest ejected it.
    Ejected,
}

/// All that is done for one device, once the pool has given it what it needs.
pub(super) struct Plug<'a> {
    pub(super) id: &'a DeviceId,
    /// The block node behind it, if it has one.
    pub(super) node: Option<BlockdevAdd<'a>>,
    pub(super) device: DeviceAdd<'a>,
    /// The mapping that it must turn out to have.
    pub(super) mapping: Option<&'a VqMapping>,
    /// Who sees it in the guest, if it can be seen there.
    pub(super) guest: Option<&'a dyn Guest>,
}

/// Returns the mapping among what serves a device.
pub(super) fn mapping_of(assignment: &Assignment) -> Option<&VqMapping> {
    match assignment {
        Assignment::Mapped(mapping) => Some(mapping),
        Assignment::MainLoop | Assignment::Thread(_) => None,
    }
}

/// An attach that failed before anything was done.
pub(super) fn not_started(id: &DeviceId, step: Step, source: impl Into<StepError>) -> AttachError {
    AttachError {
        device: id.clone(),
        step,
        source: source.into(),
        rollback: Ok(()),
    }
}

impl Hotplug {
    /// Plugs a device in. If a step fails, what was done is undone, and what the pool gave it is
    /// given back.
    pub(super) fn plug_or_roll_back(
        &mut self,
        qmp: &Qmp,
        plug: &Plug<'_>,
        deadline: Deadline,
    ) -> Result<(), AttachError> {
        self.plug(qmp, plug, deadline).map_err(|(step, source)| {
            let rollback = self.remove(qmp, plug.id, deadline);
            AttachError {
                device: plug.id.clone(),
                step,
                source,
                rollback: rollback.map_err(Box::new),
            }
        })
    }

    /// Plugs a device in, again if the guest ejects it before it has found it.
    ///
    /// A guest does so that is still at an older request for the same slot: it was asked twice for
    /// what was there before, or was notified twice of one request, and by the second time a new
    /// device is there.
    fn plug(
        &mut self,
        qmp: &Qmp,
        plug: &Plug<'_>,
        deadline: Deadline,
    ) -> Result<(), (Step, StepError)> {
        if let Some(node) = &plug.node {
            let since = qmp.cursor();
            let added = qmp.execute(node, deadline);
            note_unless_refused(added, || self.reached(plug, DiskState::NodeOnly, since))
                .map_err(|source| (Step::BlockdevAdd, source))?;
        }
        for _ in 0..MAX_PLUG_ATTEMPTS {
            self.plug_device(qmp, plug, deadline)?;
            let Some(guest) = plug.guest else {
                return Ok(());
            };
            let found = self.await_guest(qmp, plug.id, guest, deadline);
            if found.map_err(|source| (Step::AwaitPresent, source))? == GuestView::Present {
                return Ok(());
            }
            self.reached(plug, DiskState::NodeOnly, qmp.cursor());
        }
        Err((
            Step::AwaitPresent,
            StepError::Ejected {
                times: MAX_PLUG_ATTEMPTS,
            },
        ))
    }

    fn plug_device(
        &mut self,
        qmp: &Qmp,
        plug: &Plug<'_>,
        deadline: Deadline,
    ) -> Result<(), (Step, StepError)> {
        if let Some(guest) = plug.guest {
            // Else the guest would seem to have found the device that had this id before: QEMU is
            // done with a SCSI disk before the guest has heard of it.
            guest
                .await_absent(plug.id, deadline)
                .map_err(|source| (Step::AwaitAbsent, StepError::Guest(source)))?;
        }
        let since = qmp.cursor();
        let added = qmp.execute(&plug.device, deadline);
        note_unless_refused(added, || self.reached(plug, DiskState::Attached, since))
            .map_err(|source| (Step::DeviceAdd, source))?;
        if let Some(mapping) = plug.mapping {
            mapping::verify(qmp, plug.id, mapping, deadline)
                .map_err(|source| (Step::VerifyVqMapping, source))?;
        }
        Ok(())
    }

    fn await_guest(
        &mut self,
        qmp: &Qmp,
        id: &DeviceId,
        guest: &dyn Guest,
        deadline: Deadline,
    ) -> Result<GuestView, StepError> {
        loop {
            let look = deadline.capped_at(CHECK_INTERVAL);
            let Err(source) = guest.await_present(id, look) else {
                return Ok(GuestView::Present);
            };
            if !look.has_passed() {
                return Err(StepError::Guest(source));
            }
            if self.was_ejected(qmp, id, deadline)? {
                return Ok(GuestView::Ejected);
            }
            if deadline.has_passed() {
                let within = deadline;
                return Err(StepError::NotInGuest { within, source });
            }
        }
    }

    /// Notes the most that QEMU can have of a device.
    fn reached(&mut self, plug: &Plug<'_>, state: DiskState, since: Cursor) {
        let has_node = plug.node.is_some();
        let disk = Disk {
            state,
            has_node,
            since,
        };
        self.disks.insert(plug.id.clone(), disk);
    }
}

/// Notes that a command may have been carried out. Only a refusal tells that it was not.
pub(super) fn note_unless_refused<T>(
    outcome: Result<T, QmpError>,
    note: impl FnOnce(),
) -> Result<(), StepError> {
    if !matches!(outcome, Err(QmpError::Refused { .. })) {
        note();
    }
    outcome?;
    Ok(())
}

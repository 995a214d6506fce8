//! The way there: into QEMU, and into the guest.

use super::state::{Disk, DiskState};
use super::{AttachError, Guest, Hotplug, Step, StepError, mapping, reply_by};
use crate::pool::{Assignment, DeviceId, Mapping};
use crate::qmp::command::{BlockdevAdd, DeviceAdd};
use crate::qmp::{Qmp, QmpError};
use crate::wait::Deadline;

/// How long the guest may take at the most to let go of a device whose attach failed. It has no
/// longer than the attach itself had.
const ROLLBACK_SPAN: std::time::Duration = std::time::Duration::from_secs(15);

/// All that is done for one device, once the pool has given it what it needs.
pub(super) struct Plug<'a> {
    pub(super) id: &'a DeviceId,
    /// The block node behind it, if it has one.
    pub(super) node: Option<BlockdevAdd<'a>>,
    pub(super) device: DeviceAdd<'a>,
    /// The mapping that it must turn out to have.
    pub(super) mapping: Option<&'a Mapping>,
    /// Who sees it in the guest, if it can be seen there.
    pub(super) guest: Option<&'a dyn Guest>,
}

/// Returns the mapping among what serves a device.
pub(super) fn mapping_of(assignment: &Assignment) -> Option<&Mapping> {
    match assignment {
        Assignment::Mapped(mapping) => Some(mapping),
        Assignment::MainLoop | Assignment::Thread(_) => None,
    }
}

/// An attach that failed before anything was done.
pub(super) fn nothing_done(id: &DeviceId, step: Step, source: impl Into<StepError>) -> AttachError {
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
    pub(super) fn plug_or_undo(
        &mut self,
        qmp: &Qmp,
        plug: &Plug<'_>,
        deadline: Deadline,
    ) -> Result<(), AttachError> {
        self.plug(qmp, plug, deadline).map_err(|(step, source)| {
            let span = deadline.span().min(ROLLBACK_SPAN);
            let rollback = self.remove(qmp, plug.id, Deadline::after(span));
            AttachError {
                device: plug.id.clone(),
                step,
                source,
                rollback: rollback.map_err(Box::new),
            }
        })
    }

    fn plug(
        &mut self,
        qmp: &Qmp,
        plug: &Plug<'_>,
        deadline: Deadline,
    ) -> Result<(), (Step, StepError)> {
        let since = qmp.cursor();
        let has_node = plug.node.is_some();
        let mut reach = |state| {
            let disk = Disk {
                state,
                has_node,
                since,
            };
            self.disks.insert(plug.id.clone(), disk);
        };
        if let Some(node) = &plug.node {
            let added = qmp.execute(node, reply_by(deadline));
            carried_out(added, || reach(DiskState::NodeOnly))
                .map_err(|source| (Step::BlockdevAdd, source))?;
        }
        let added = qmp.execute(&plug.device, reply_by(deadline));
        carried_out(added, || reach(DiskState::Plugged))
            .map_err(|source| (Step::DeviceAdd, source))?;
        if let Some(mapping) = plug.mapping {
            mapping::prove(qmp, plug.id, mapping, reply_by(deadline))
                .map_err(|source| (Step::MappingProof, source))?;
        }
        let Some(guest) = plug.guest else {
            return Ok(());
        };
        guest
            .await_present(plug.id, deadline)
            .map_err(|source| (Step::GuestHasDisk, source.into()))
    }
}

/// Notes that a command may have been carried out. Only a refusal tells that it was not.
pub(super) fn carried_out<T>(
    outcome: Result<T, QmpError>,
    note: impl FnOnce(),
) -> Result<(), StepError> {
    if !matches!(outcome, Err(QmpError::Refused { .. })) {
        note();
    }
    outcome?;
    Ok(())
}

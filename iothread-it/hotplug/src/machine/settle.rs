//! A settle: starts the removals that can be completed, and ends with the last of them.

use std::collections::BTreeSet;
use std::time::Instant;

use qmp_client::wait::Deadline;

use super::{Hotplug, Settle, Started};
use crate::action::OperationId;
use crate::close::Close;
use crate::context::Input;
use crate::error::{UnplugEventsError, UnplugProgress};
use crate::removal::note_rejection;
use crate::state::{DiskState, Subject};
use crate::task::{Outcome, Task};

impl Hotplug {
    /// Completes the removals whose events have come, also of devices that the guest ejected, and of
    /// attaches that were cancelled before `device_add`. Does not wait for other removals, nor for a device that
    /// QEMU lists no more and whose node is still in use until its event: a later settle or a detach completes it.
    pub fn settle(
        &mut self,
        deadline: Deadline,
        now: Instant,
    ) -> Started<Result<UnplugProgress, UnplugEventsError>> {
        let id = OperationId(self.core.next());
        let settle = Settle {
            deadline,
            open: BTreeSet::new(),
            progress: UnplugProgress::default(),
            failed: Vec::new(),
        };
        self.settles.insert(id, settle);
        let mut unsure = false;
        for (id, device) in &mut self.core.devices {
            if !self.core.busy.contains_key(&Subject::Device(id.clone())) {
                unsure |= std::mem::take(&mut device.unsure);
            }
        }
        if unsure {
            let asked = self.core.next();
            self.run(id, Task::List(asked), deadline, Input::Start, now);
        } else {
            self.complete(id, now);
        }
        Started::new(id)
    }

    /// Starts the removals of a settle.
    pub(super) fn complete(&mut self, settle: OperationId, now: Instant) {
        let Some(deadline) = self.settles.get(&settle).map(|settle| settle.deadline) else {
            return;
        };
        let (mut going, mut rejected) = (Vec::new(), Vec::new());
        let free = self.core.devices.keys().filter(|id| !self.core.is_busy(id));
        let free: Vec<_> = free.cloned().collect();
        for id in free {
            let Some(device) = self.core.devices.get_mut(&id) else {
                continue;
            };
            if device.state == DiskState::NodeOnly || device.is_gone() {
                going.push(id);
            } else if device.news.is_some() {
                note_rejection(device);
                rejected.push(id);
            }
        }
        // What is on a controller that goes is closed with it.
        let with_controllers: BTreeSet<_> = going
            .iter()
            .flat_map(|id| self.core.pool.disks_on(id))
            .cloned()
            .collect();
        going.retain(|id| !with_controllers.contains(id));
        let children: Vec<_> = going
            .into_iter()
            .map(|id| (OperationId(self.core.next()), id))
            .collect();
        if let Some(settle) = self.settles.get_mut(&settle) {
            settle.progress.rejected = rejected;
            settle.open = children.iter().map(|(child, _)| *child).collect();
        }
        if children.is_empty() {
            return self.end_settle(settle);
        }
        for (child, id) in children {
            let on_it = self.core.pool.disks_on(&id).cloned();
            let task = Task::Complete {
                settle,
                going: on_it.chain([id.clone()]).collect(),
                close: Close::new(&self.core.pool, &id, false),
            };
            self.run(child, task, deadline, Input::Start, now);
        }
    }

    pub(super) fn end_settle(&mut self, id: OperationId) {
        let Some(Settle {
            progress,
            mut failed,
            ..
        }) = self.settles.remove(&id)
        else {
            return;
        };
        let outcome = if failed.is_empty() {
            Ok(progress)
        } else {
            Err(UnplugEventsError {
                progress,
                first: Box::new(failed.remove(0)),
                others: failed,
            })
        };
        self.outcomes.push((id, Outcome::Settle(outcome)));
    }
}

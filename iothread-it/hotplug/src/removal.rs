//! Hot-unplug: from the guest, then from QEMU, then from the pool.
//!
//! `device_del` is a request. The guest may complete it late, reject it or never reply; a reset of
//! the guest completes it. So a removal that misses the caller's deadline is pending, and the next
//! call continues it.

use std::time::Duration;

use super::state::{Disk, DiskState};
use super::{DetachError, Hotplug, Step};
use iothread_pool::DeviceId;
use qmp_client::command::{BlockNode, BlockdevDel, DeviceDel, QomList, QueryNamedBlockNodes};
use qmp_client::wait::Deadline;
use qmp_client::{Event, Qmp, QmpError};

/// Completed and rejected hot-unplugs since the last call, including guest-initiated ejects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnplugProgress {
    /// Removed disks. Their threads and slots are free.
    pub removed: Vec<DeviceId>,
    /// Disks whose unplug the guest rejected. They stay attached.
    pub rejected: Vec<DeviceId>,
}

/// Removals that failed, beside those that completed.
#[derive(Debug, thiserror::Error)]
#[error("{} removals could not be completed; the first error", others.len() + 1)]
pub struct UnplugEventsError {
    /// The removals that completed.
    pub progress: UnplugProgress,
    /// The error of the first that failed.
    #[source]
    pub first: Box<DetachError>,
    /// The errors of the others.
    pub others: Vec<DetachError>,
}

/// What an event says about a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum UnplugEvent {
    /// DEVICE_UNPLUG_GUEST_ERROR.
    Rejected,
    /// DEVICE_DELETED.
    Deleted,
}

impl UnplugEvent {
    /// QEMU sends two DEVICE_DELETED for a PCI device: the first, of the device's child, carries a
    /// path only.
    fn of(event: &Event, id: &DeviceId) -> Option<Self> {
        if event.str("device") != Some(id.as_str()) {
            return None;
        }
        match event.name.as_str() {
            "DEVICE_DELETED" => Some(Self::Deleted),
            "DEVICE_UNPLUG_GUEST_ERROR" => Some(Self::Rejected),
            _ => None,
        }
    }
}

impl Hotplug {
    /// Completes the removals whose events have arrived since the last call. Does not wait for other
    /// removals. Disks that the guest ejected are removed too.
    ///
    /// # Errors
    /// If a step fails for one of them. The others are still completed, and the error lists them. The
    /// call can be repeated.
    pub fn process_unplug_events(
        &mut self,
        qmp: &Qmp,
        deadline: Deadline,
    ) -> Result<UnplugProgress, UnplugEventsError> {
        let mut progress = UnplugProgress::default();
        let mut failed = Vec::new();
        let disks: Vec<_> = self.disks.keys().cloned().collect();
        for id in disks {
            if let Err(error) = self.process_unplug_event(qmp, &id, deadline, &mut progress) {
                failed.push(error);
            }
        }
        if failed.is_empty() {
            return Ok(progress);
        }
        Err(UnplugEventsError {
            progress,
            first: Box::new(failed.remove(0)),
            others: failed,
        })
    }

    fn process_unplug_event(
        &mut self,
        qmp: &Qmp,
        id: &DeviceId,
        deadline: Deadline,
        progress: &mut UnplugProgress,
    ) -> Result<(), DetachError> {
        // It may have gone with its controller.
        let Some(disk) = self.disks.get(id).copied() else {
            return Ok(());
        };
        let news = match disk.state {
            DiskState::NodeOnly => Some(UnplugEvent::Deleted),
            DiskState::Attached | DiskState::RemovalPending => {
                let news = self.unplug_event(qmp, id, disk, deadline);
                news.map_err(|source| failed(id, Step::DeviceDeleted, source))?
            }
        };
        match news {
            Some(UnplugEvent::Deleted) => {
                let mut going: Vec<_> = self.pool.disks_on(id).cloned().collect();
                going.push(id.clone());
                let no_wait = Deadline::after(Duration::ZERO);
                let closed = self.close(qmp, id, deadline, no_wait);
                going.retain(|id| !self.disks.contains_key(id));
                progress.removed.extend(going);
                closed
            }
            Some(UnplugEvent::Rejected) => {
                self.note_refusal(qmp, id);
                progress.rejected.push(id.clone());
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Takes away what QEMU has of a disk, from whatever state, and then its lease.
    pub(super) fn remove(
        &mut self,
        qmp: &Qmp,
        id: &DeviceId,
        deadline: Deadline,
    ) -> Result<(), DetachError> {
        match self.disks.get(id).copied() {
            Some(disk) if disk.state.has_device() => {
                self.unplug(qmp, id, disk, deadline)?;
                self.close(qmp, id, deadline, deadline)
            }
            Some(_) => self.close(qmp, id, deadline, deadline),
            None => {
                self.pool.release(id)?;
                Ok(())
            }
        }
    }

    /// Requests the unplug and waits until it completes.
    fn unplug(
        &mut self,
        qmp: &Qmp,
        id: &DeviceId,
        disk: Disk,
        deadline: Deadline,
    ) -> Result<(), DetachError> {
        // An earlier request may have been refused by now: that is no answer to this one.
        let since = qmp.cursor();
        let news = self.unplug_event(qmp, id, disk, deadline);
        let news = news.map_err(|source| failed(id, Step::DeviceDeleted, source))?;
        if news == Some(UnplugEvent::Deleted) {
            return Ok(());
        }
        // Noted before the request: its answer may be lost, and the guest may have it.
        let state = DiskState::RemovalPending;
        let pending = Disk {
            state,
            since,
            ..disk
        };
        self.disks.insert(id.clone(), pending);
        let command = DeviceDel { id: id.as_str() };
        match qmp.execute(&command, deadline) {
            Ok(_) => self.await_removal(qmp, id, deadline),
            Err(source) if source.class() == Some("DeviceNotFound") => Ok(()),
            // QEMU takes no second request while the first is on its way, which still counts.
            Err(refusal @ QmpError::Refused { .. }) if disk.state == DiskState::RemovalPending => {
                match self.await_removal(qmp, id, deadline) {
                    Err(DetachError::Pending { device, .. }) => Err(DetachError::Pending {
                        device,
                        source: refusal,
                    }),
                    other => other,
                }
            }
            Err(source) => {
                if matches!(source, QmpError::Refused { .. }) {
                    self.disks.insert(id.clone(), disk);
                }
                Err(failed(id, Step::DeviceDel, source))
            }
        }
    }

    fn await_removal(
        &mut self,
        qmp: &Qmp,
        id: &DeviceId,
        deadline: Deadline,
    ) -> Result<(), DetachError> {
        let awaited = format!("DEVICE_DELETED of {id}");
        loop {
            let Some(disk) = self.disks.get(id).copied() else {
                return Ok(());
            };
            match qmp.wait_event(&awaited, disk.since, deadline, |e| UnplugEvent::of(e, id)) {
                Ok(UnplugEvent::Deleted) => return Ok(()),
                Ok(UnplugEvent::Rejected) => {
                    self.note_refusal(qmp, id);
                    return Err(DetachError::GuestRejected { device: id.clone() });
                }
                // A flood washed it away, perhaps. QEMU knows.
                Err(QmpError::EventsLost { .. }) => {
                    let gone = self.look_again(qmp, id, disk, deadline);
                    if gone.map_err(|source| failed(id, Step::DeviceDeleted, source))? {
                        return Ok(());
                    }
                }
                Err(source @ QmpError::TimedOut { .. }) => {
                    let device = id.clone();
                    return Err(DetachError::Pending { device, source });
                }
                Err(source) => return Err(failed(id, Step::DeviceDeleted, source)),
            }
        }
    }

    /// Returns whether a device that was plugged in has been ejected by the guest.
    pub(super) fn was_ejected(
        &mut self,
        qmp: &Qmp,
        id: &DeviceId,
        deadline: Deadline,
    ) -> Result<bool, QmpError> {
        match self.disks.get(id).copied() {
            Some(disk) => {
                Ok(self.unplug_event(qmp, id, disk, deadline)? == Some(UnplugEvent::Deleted))
            }
            None => Ok(false),
        }
    }

    /// Returns the last word about a disk's device. If events were lost, QEMU is asked.
    fn unplug_event(
        &mut self,
        qmp: &Qmp,
        id: &DeviceId,
        disk: Disk,
        deadline: Deadline,
    ) -> Result<Option<UnplugEvent>, QmpError> {
        match qmp.events_since(disk.since, |events| {
            events.filter_map(|event| UnplugEvent::of(event, id)).max()
        }) {
            Ok(news) => Ok(news),
            Err(_) => {
                let gone = self.look_again(qmp, id, disk, deadline)?;
                Ok(gone.then_some(UnplugEvent::Deleted))
            }
        }
    }

    /// Asks QEMU whether a device is gone. Its events are those from now on.
    fn look_again(
        &mut self,
        qmp: &Qmp,
        id: &DeviceId,
        disk: Disk,
        deadline: Deadline,
    ) -> Result<bool, QmpError> {
        let since = qmp.cursor();
        let list = QomList {
            path: "/machine/peripheral",
        };
        let devices = qmp.execute(&list, deadline)?;
        let gone = devices.iter().all(|device| device.name != id.as_str());
        // Also for a deleted device: it may still use its node until the event.
        self.disks.insert(id.clone(), Disk { since, ..disk });
        Ok(gone)
    }

    /// The guest keeps the disk. The next attempt must not meet this refusal again.
    fn note_refusal(&mut self, qmp: &Qmp, id: &DeviceId) {
        let since = qmp.cursor();
        if let Some(disk) = self.disks.get_mut(id) {
            disk.state = DiskState::Attached;
            disk.since = since;
        }
    }

    /// Closes the image behind a device that is gone, if it has one, and gives back its thread and
    /// its slot.
    ///
    /// A device may still use its node: its DEVICE_DELETED is awaited until `event_deadline`.
    fn close(
        &mut self,
        qmp: &Qmp,
        id: &DeviceId,
        deadline: Deadline,
        event_deadline: Deadline,
    ) -> Result<(), DetachError> {
        // What was on a controller went with it.
        let on_it: Vec<_> = self.pool.disks_on(id).cloned().collect();
        for disk in on_it {
            self.close(qmp, &disk, deadline, event_deadline)?;
        }
        let Some(disk) = self.disks.get_mut(id) else {
            return Ok(());
        };
        let before = *disk;
        disk.state = DiskState::NodeOnly;
        if before.has_node {
            delete_block_node(qmp, id, before, deadline, event_deadline)?;
        }
        self.disks.remove(id);
        self.pool.release(id)?;
        Ok(())
    }
}

/// Closes the image of a disk.
fn delete_block_node(
    qmp: &Qmp,
    id: &DeviceId,
    before: Disk,
    deadline: Deadline,
    event_deadline: Deadline,
) -> Result<(), DetachError> {
    let deleted =
        |event: &Event| UnplugEvent::of(event, id).filter(|news| *news == UnplugEvent::Deleted);
    let is_deleted = qmp.events_since(before.since, |events| {
        events.filter_map(deleted).next().is_some()
    });
    let mut closed = blockdev_del(qmp, id, deadline);
    let may_leave = before.state.has_device() && is_deleted == Ok(false);
    if may_leave && matches!(closed, Err(QmpError::Refused { .. })) {
        // QEMU removes a device from its list shortly before it releases the node.
        let awaited = format!("DEVICE_DELETED of {id}");
        if qmp
            .wait_event(&awaited, before.since, event_deadline, deleted)
            .is_ok()
        {
            closed = blockdev_del(qmp, id, deadline);
        }
    }
    closed.map_err(|source| failed(id, Step::BlockdevDel, source))
}

fn failed(id: &DeviceId, step: Step, source: QmpError) -> DetachError {
    DetachError::Failed {
        device: id.clone(),
        step,
        source,
    }
}

/// Removes a block node. That there is none is no error: it was never made, or an earlier call
/// removed it and its reply was lost.
pub(super) fn blockdev_del(qmp: &Qmp, id: &DeviceId, deadline: Deadline) -> Result<(), QmpError> {
    let command = BlockdevDel {
        node_name: id.as_str(),
    };
    match qmp.execute(&command, deadline) {
        Ok(_) => Ok(()),
        Err(refusal @ QmpError::Refused { .. }) => {
            let nodes = QueryNamedBlockNodes { flat: true };
            let nodes = qmp.execute(&nodes, deadline)?;
            let is_there = |node: &BlockNode| node.node_name.as_deref() == Some(id.as_str());
            if nodes.iter().any(is_there) {
                return Err(refusal);
            }
            Ok(())
        }
        Err(error) => Err(error),
    }
}

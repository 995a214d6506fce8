//! Block nodes that the guest does not see: bare ones, and those that are exported.
//!
//! A bare node moves from thread to thread, which a device's does not. An export has its thread
//! from the start to the end.

use super::plug::{not_started, note_unless_refused};
use super::removal::blockdev_del;
use super::{AttachError, DetachError, DiskSpec, Hotplug, MoveError, Step, StepError};
use iothread_pool::{Allocation, DeviceId, IoThreadId, Placement, ThreadLease};
use qmp_client::command::{
    BlockExportAdd, BlockExportDel, QueryBlockExports, XBlockdevSetIothread,
};
use qmp_client::wait::Deadline;
use qmp_client::{Command, Qmp, QmpError};

/// What QEMU has of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    /// The node alone.
    Bare,
    /// An export of it.
    Exported,
}

impl Hotplug {
    /// Opens an image as a block node that no device uses, and moves it to a thread
    /// (`x-blockdev-set-iothread`).
    ///
    /// Until a device or an export uses it, the thread is its own. A virtio-blk device takes its
    /// node along to its own thread.
    ///
    /// # Errors
    /// If a step fails. What was done until then is undone, and the error says if that failed too.
    pub fn open_node(
        &mut self,
        qmp: &Qmp,
        disk: &DiskSpec,
        placement: &Placement,
        deadline: Deadline,
    ) -> Result<ThreadLease, AttachError> {
        let id = &disk.id;
        self.require_command::<XBlockdevSetIothread<'_>>(qmp, deadline)
            .map_err(|source| not_started(id, Step::Lease, source))?;
        let lease = self.lease_and_open(qmp, disk, placement, deadline)?;
        let set = set_iothread(qmp, id, lease.assignment.thread(), deadline);
        self.or_close(
            qmp,
            id,
            deadline,
            set.map_err(|source| (Step::SetIothread, source.into())),
        )?;
        Ok(lease)
    }

    /// Moves a node that no device and no export uses to another thread.
    ///
    /// # Errors
    /// If the pool cannot place it so, or QEMU refuses: it then stays where it was. If QEMU does not
    /// answer, it holds both threads until it is moved again or closed: no query tells where it is.
    pub fn move_node(
        &mut self,
        qmp: &Qmp,
        id: &DeviceId,
        placement: &Placement,
        deadline: Deadline,
    ) -> Result<ThreadLease, MoveError> {
        if self.nodes.get(id) != Some(&Node::Bare) {
            return Err(MoveError::NoFreeNode { id: id.clone() });
        }
        let mut after = self.pool.clone();
        after.release(id)?;
        let lease = after.lease_thread(id, placement)?;
        let before = self.pool.clone();
        self.pool.may_be_on(id, &lease, placement);
        match set_iothread(qmp, id, lease.assignment.thread(), deadline) {
            Ok(()) => self.pool = after,
            Err(error) => {
                if matches!(error, QmpError::Refused { .. }) {
                    self.pool = before;
                }
                return Err(error.into());
            }
        }
        Ok(lease)
    }

    /// Opens an image and exports it by NBD, served by a thread and by no other: with
    /// `fixed-iothread`, since QEMU would otherwise pass over a thread that the node cannot move to.
    /// The server must have been started (`nbd-server-start`); the export's name is the disk's id.
    ///
    /// # Errors
    /// If a step fails, or this QEMU would not survive its clients on a thread. What was done until
    /// then is undone, and the error says if that failed too.
    pub fn export(
        &mut self,
        qmp: &Qmp,
        disk: &DiskSpec,
        placement: &Placement,
        deadline: Deadline,
    ) -> Result<ThreadLease, AttachError> {
        let id = &disk.id;
        self.require_command::<BlockExportAdd<'_>>(qmp, deadline)
            .map_err(|source| not_started(id, Step::Lease, source))?;
        if *placement != Placement::MainLoop {
            let can = self.capabilities.export_on_thread();
            can.map_err(|error| not_started(id, Step::Lease, error))?;
        }
        let lease = self.lease_and_open(qmp, disk, placement, deadline)?;
        let thread = lease.assignment.thread().map(IoThreadId::as_str);
        let export = BlockExportAdd {
            export_type: "nbd",
            id: id.as_str(),
            node_name: id.as_str(),
            writable: !disk.read_only,
            iothread: thread,
            fixed_iothread: thread.is_some(),
        };
        let added = qmp.execute(&export, deadline);
        let added = note_unless_refused(added, || {
            self.nodes.insert(id.clone(), Node::Exported);
        });
        self.or_close(
            qmp,
            id,
            deadline,
            added.map_err(|source| (Step::BlockExportAdd, source)),
        )?;
        Ok(lease)
    }

    /// Closes a node that the guest does not see, ends its export if it has one, and frees its
    /// thread.
    ///
    /// # Errors
    /// If a step fails, as the end of an export does that still has clients. The node then keeps
    /// what it has, and the call can be repeated.
    pub fn close_node(
        &mut self,
        qmp: &Qmp,
        id: &DeviceId,
        deadline: Deadline,
    ) -> Result<(), DetachError> {
        if !matches!(self.pool.allocation_of(id), Some(Allocation::Thread(_))) {
            return Err(DetachError::NotAttached { device: id.clone() });
        }
        let failed = |step, source| DetachError::Failed {
            device: id.clone(),
            step,
            source,
        };
        if self.nodes.get(id) == Some(&Node::Exported) {
            end_export(qmp, id, deadline).map_err(|(step, source)| failed(step, source))?;
            self.nodes.insert(id.clone(), Node::Bare);
        }
        if self.nodes.contains_key(id) {
            blockdev_del(qmp, id, deadline).map_err(|source| failed(Step::BlockdevDel, source))?;
            self.nodes.remove(id);
        }
        self.pool.release(id)?;
        Ok(())
    }

    fn lease_and_open(
        &mut self,
        qmp: &Qmp,
        disk: &DiskSpec,
        placement: &Placement,
        deadline: Deadline,
    ) -> Result<ThreadLease, AttachError> {
        let id = &disk.id;
        let options = self.options;
        let node = disk
            .node(&options)
            .map_err(|source| not_started(id, Step::BlockdevAdd, source))?;
        let lease = self
            .pool
            .lease_thread(id, placement)
            .map_err(|source| not_started(id, Step::Lease, source))?;
        let added = qmp.execute(&node, deadline);
        let added = note_unless_refused(added, || {
            self.nodes.insert(id.clone(), Node::Bare);
        });
        self.or_close(
            qmp,
            id,
            deadline,
            added.map_err(|source| (Step::BlockdevAdd, source)),
        )?;
        Ok(lease)
    }

    /// After a failure, closes what was opened.
    fn or_close(
        &mut self,
        qmp: &Qmp,
        id: &DeviceId,
        deadline: Deadline,
        outcome: Result<(), (Step, StepError)>,
    ) -> Result<(), AttachError> {
        outcome.map_err(|(step, source)| AttachError {
            device: id.clone(),
            step,
            source,
            rollback: self.close_node(qmp, id, deadline).map_err(Box::new),
        })
    }

    fn require_command<C: Command>(
        &mut self,
        qmp: &Qmp,
        deadline: Deadline,
    ) -> Result<(), StepError> {
        Ok(self.capabilities.command::<C>(qmp, deadline)?)
    }
}

fn set_iothread(
    qmp: &Qmp,
    node: &DeviceId,
    thread: Option<&IoThreadId>,
    deadline: Deadline,
) -> Result<(), QmpError> {
    let command = XBlockdevSetIothread {
        node_name: node.as_str(),
        iothread: thread.map(IoThreadId::as_str),
        force: false,
    };
    qmp.execute(&command, deadline).map(|_| ())
}

/// Deletes an export and waits until QEMU has released its node.
fn end_export(qmp: &Qmp, id: &DeviceId, deadline: Deadline) -> Result<(), (Step, QmpError)> {
    let since = qmp.cursor();
    let command = BlockExportDel { id: id.as_str() };
    if let Err(error) = qmp.execute(&command, deadline) {
        // Perhaps it was never made, or an earlier call ended it and its reply was lost.
        let ending = match error {
            QmpError::Refused { .. } => is_exported(qmp, id, deadline),
            _ => return Err((Step::BlockExportDel, error)),
        };
        match ending.map_err(|error| (Step::BlockExportDel, error))? {
            Exported::No => return Ok(()),
            Exported::Ending => {}
            Exported::Yes => return Err((Step::BlockExportDel, error)),
        }
    }
    let awaited = format!("BLOCK_EXPORT_DELETED of {id}");
    qmp.wait_event(&awaited, since, deadline, |event| {
        let deleted = event.name == "BLOCK_EXPORT_DELETED" && event.str("id") == Some(id.as_str());
        deleted.then_some(())
    })
    .map_err(|error| (Step::BlockExportDeleted, error))
}

/// What QEMU says of an export.
enum Exported {
    Yes,
    /// It was asked to end.
    Ending,
    No,
}

fn is_exported(qmp: &Qmp, id: &DeviceId, deadline: Deadline) -> Result<Exported, QmpError> {
    let exports = qmp.execute(&QueryBlockExports {}, deadline)?;
    let export = exports.iter().find(|export| export.id == id.as_str());
    Ok(match export {
        None => Exported::No,
        Some(export) if export.shutting_down => Exported::Ending,
        Some(_) => Exported::Yes,
    })
}

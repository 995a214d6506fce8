//! Moves a disk from one thread to another.
//!
//! No released QEMU moves an attached disk: `x-blockdev-set-iothread` fails for a node that a device
//! uses, with and without `force`, running and stopped (7.2, 10.0 and 11.1). So the disk is
//! hot-unplugged and hot-plugged again, and the guest must cooperate. It loses the disk meanwhile:
//! the data is kept, open files and mounts are not.

use super::{AttachError, DetachError, DiskSpec, Guest, Hotplug, StepError};
use iothread_pool::{Allocation, Assignment, DeviceId, Lease, Placement, Pool, PoolError};
use qmp_client::Driver;
use qmp_client::wait::Deadline;
use qmp_client::{Qmp, QmpError};

/// A move of a disk or a node that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MoveError {
    /// The disk is not attached, only its node is left, or it is not a virtio-blk disk.
    #[error("`{device}` is not an attached virtio-blk disk")]
    NotAttached {
        /// The disk.
        device: DeviceId,
    },
    /// The node does not exist, or an export uses it.
    #[error("block node `{id}` does not exist or is in use")]
    NoFreeNode {
        /// The node.
        id: DeviceId,
    },
    /// The pool refused the placement. Nothing was changed.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// This QEMU does not support the placement, or the path is not valid UTF-8. Nothing was changed.
    #[error(transparent)]
    Unsupported(StepError),
    /// `x-blockdev-set-iothread` failed: if QEMU refused it, the node was not moved; if the reply was
    /// lost, the node may be on either thread.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// The disk could not be detached. If the guest refused, it is attached as before; if the guest did
    /// not answer, its removal is pending; if `blockdev-del` failed, its node is left.
    #[error("cannot detach the disk")]
    Detach(#[from] DetachError),
    /// The disk was detached. Its attach to the new threads failed, and the deadline passed before
    /// that was undone. The disk holds its new lease until it is detached; then it can be attached.
    #[error(
        "the disk was detached, and its failed attach to the new IOThreads is not undone yet; detach \
         it, then attach it"
    )]
    RollbackPending(#[source] Box<AttachError>),
    /// The disk was detached, and its attach to the new threads failed and was undone.
    #[error("cannot attach the disk to its new IOThreads; {}", outcome_of(.back))]
    Attach {
        /// Why.
        source: Box<AttachError>,
        /// The result of attaching it to its former threads.
        back: Result<Lease, Box<AttachError>>,
    },
}

fn outcome_of(back: &Result<Lease, Box<AttachError>>) -> String {
    match back {
        Ok(lease) => format!("it is attached to its former ones, in slot {}", lease.slot),
        Err(error) => format!("nor to its former ones ({error})"),
    }
}

impl Hotplug {
    /// Moves a virtio-blk disk to other threads: detaches it and attaches it again. Its data is kept.
    /// `disk` describes the disk as it is attached; only its number of queues may differ, and is kept
    /// if it is not stated. Nothing is sent to QEMU unless the pool can place the disk. The deadline
    /// covers all of it, the way back included.
    ///
    /// # Errors
    ///
    /// | error | where the disk is |
    /// |---|---|
    /// | `NotAttached`, `Pool`, `Unsupported` | where it was |
    /// | `Detach` | where it was, or its removal is pending, or only its node is left: see [`DetachError`] |
    /// | `Attach`, `back` is `Ok` | on its former threads, with its former queues, in another slot; a dedicated disk may get another idle thread |
    /// | `Attach`, `back` is `Err` | detached; if the `rollback` in `back` failed, it holds a lease of its former threads until it is detached |
    /// | `RollbackPending` | in QEMU with its new lease, until [`process_unplug_events`](Self::process_unplug_events) or [`detach`](Self::detach) completes the removal |
    pub fn move_disk(
        &mut self,
        qmp: &Qmp,
        guest: &dyn Guest,
        disk: &DiskSpec,
        placement: &Placement,
        deadline: Deadline,
    ) -> Result<Lease, MoveError> {
        let id = &disk.id;
        let is_disk = self
            .disks
            .get(id)
            .is_some_and(|known| known.has_node && known.state.has_device());
        let before = match self.pool.allocation_of(id) {
            Some(Allocation::Device(lease)) if is_disk => lease.clone(),
            _ => return Err(MoveError::NotAttached { device: id.clone() }),
        };
        self.require_vq_mapping(qmp, Driver::VirtioBlk, placement, deadline)
            .map_err(MoveError::Unsupported)?;
        let options = self.options;
        disk.node(&options).map_err(MoveError::Unsupported)?;
        let with_queues = |queues| DiskSpec {
            queues: Some(queues),
            ..disk.clone()
        };
        let queues = disk.queues.unwrap_or(before.queues);
        let mut trial = self.pool.clone();
        trial.release(id)?;
        trial.lease(id, queues, placement)?;

        let former = former_placement(&self.pool, id, &before);
        self.detach(qmp, id, deadline)?;
        let source = match self.attach(qmp, guest, &with_queues(queues), placement, deadline) {
            Ok(lease) => return Ok(lease),
            Err(error) => Box::new(error),
        };
        if source.rollback.is_err() {
            return Err(MoveError::RollbackPending(source));
        }
        let back = self.attach(qmp, guest, &with_queues(before.queues), &former, deadline);
        Err(MoveError::Attach {
            source,
            back: back.map_err(Box::new),
        })
    }
}

/// Returns the placement that chooses what serves a disk now.
fn former_placement(pool: &Pool, disk: &DeviceId, lease: &Lease) -> Placement {
    let dedicated = || {
        let mut threads = pool.state().threads.into_iter();
        threads.any(|thread| thread.dedicated_to.as_ref() == Some(disk))
    };
    match &lease.assignment {
        Assignment::MainLoop => Placement::MainLoop,
        Assignment::Thread(_) if dedicated() => Placement::Dedicated,
        Assignment::Thread(thread) => Placement::Pinned(thread.clone()),
        Assignment::Mapped(mapping) => Placement::Mapped(mapping.clone()),
    }
}

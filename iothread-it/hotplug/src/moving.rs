//! A disk goes from one thread to another.
//!
//! No released QEMU moves a disk that the guest has: `x-blockdev-set-iothread` is refused for a
//! node that a device uses, with and without `force`, running and stopped (7.2, 10.0 and 11.1 say
//! so alike). So the disk goes out of the guest and comes back, and the guest must agree. It loses
//! the disk for that time: what it wrote is there afterwards, what it has open or mounted is not.

use super::{AttachError, DetachError, DiskSpec, Guest, Hotplug, StepError};
use iothread_pool::{Allocation, Assignment, DeviceId, Lease, Placement, PoolError};
use qmp_client::Driver;
use qmp_client::wait::Deadline;
use qmp_client::{Qmp, QmpError};

/// Something that did not move.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// There is no such disk with threads of its own.
    #[error("`{device}` is no attached virtio-blk disk")]
    NotAttached {
        /// The disk.
        device: DeviceId,
    },
    /// There is no such node, or something uses it.
    #[error("`{id}` is no block node that nothing uses")]
    NoFreeNode {
        /// The node.
        id: DeviceId,
    },
    /// The pool cannot place it so. It is where it was.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// QEMU cannot do this. The disk is where it was.
    #[error(transparent)]
    Unsupported(StepError),
    /// QEMU refused, and the node is where it was; or it did not answer, and the node may be at
    /// either place.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// The guest did not let go. If it refused, the disk is where it was; if it did not answer, its
    /// removal is pending.
    #[error("the disk does not come out of the guest")]
    Detach(#[from] DetachError),
    /// The disk is out of the guest and does not come back on its new thread.
    #[error("the disk does not come back{}", whereabouts(.back))]
    Attach {
        /// Why.
        source: Box<AttachError>,
        /// Whether it came back to where it was.
        back: Result<Lease, Box<AttachError>>,
    },
}

fn whereabouts(back: &Result<Lease, Box<AttachError>>) -> String {
    match back {
        Ok(lease) => format!(" as asked, and is at {}, served as before", lease.slot),
        Err(error) => format!(", nor to where it was ({error})"),
    }
}

impl Hotplug {
    /// Moves a disk to where a placement wants it: detaches it and attaches it again, its data
    /// intact. Nothing is done unless the pool can place it so. The deadline is for all of it, with
    /// the way back.
    ///
    /// # Errors
    /// If a step fails; each says where the disk is then.
    pub fn move_disk(
        &mut self,
        qmp: &Qmp,
        guest: &dyn Guest,
        disk: &DiskSpec,
        placement: &Placement,
        deadline: Deadline,
    ) -> Result<Lease, MoveError> {
        let id = &disk.id;
        let Some(Allocation::Device(before)) = self.pool.allocation_of(id).cloned() else {
            return Err(MoveError::NotAttached { device: id.clone() });
        };
        self.require_vq_mapping(qmp, Driver::VirtioBlk, placement, deadline)
            .map_err(MoveError::Unsupported)?;
        let mut trial = self.pool.clone();
        trial.release(id)?;
        trial.lease(id, before.queues, placement)?;

        self.detach(qmp, id, deadline)?;
        let attached = self.attach(qmp, guest, disk, placement, deadline);
        attached.map_err(|source| {
            let back = self.attach(qmp, guest, disk, &as_it_was(&before), deadline);
            MoveError::Attach {
                source: Box::new(source),
                back: back.map_err(Box::new),
            }
        })
    }
}

/// The placement that leads to what served a disk.
fn as_it_was(lease: &Lease) -> Placement {
    match &lease.assignment {
        Assignment::MainLoop => Placement::MainLoop,
        Assignment::Thread(thread) => Placement::Pinned(thread.clone()),
        Assignment::Mapped(mapping) => Placement::Mapped(mapping.clone()),
    }
}

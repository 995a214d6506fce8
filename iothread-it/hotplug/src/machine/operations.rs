//! The start of each operation.

use std::time::Instant;

use iothread_pool::{Allocation, DeviceId, IoThreadId, Lease, Placement, ScsiAddress, ThreadLease};
use qmp_client::QmpError;
use qmp_client::wait::Deadline;

use super::{Hotplug, Started};
use crate::action::OperationId;
use crate::disk::DiskSpec;
use crate::error::{AttachError, DetachError, MoveError, RemoveThreadError};
use crate::iothread::Polling;
use crate::reconcile::{Difference, Reconcile};
use crate::removal::Removal;
use crate::scsi::ScsiController;
use crate::task::{
    AddThread, Attach, CloseNode, Move, MoveNode, OpenNode, Outcome, RemoveThread, Task, Wanted,
};

impl Hotplug {
    /// Attaches a disk: [`Outcome::Attach`] comes once the guest has it.
    ///
    /// If a step fails, what was done until then is undone by the same deadline, and the error says
    /// if that failed too. When the time is up QEMU is still asked to undo it, but not waited for:
    /// [`settle`](Self::settle) or [`detach`](Self::detach) completes it.
    pub fn attach(
        &mut self,
        disk: &DiskSpec,
        placement: &Placement,
        deadline: Deadline,
        now: Instant,
    ) -> Started<Result<Lease, AttachError>> {
        self.start_attach(Wanted::Disk(disk.clone(), placement.clone()), deadline, now)
    }

    /// Attaches a SCSI controller. Its queues can be mapped to several threads from QEMU 10.0 on.
    pub fn attach_controller(
        &mut self,
        controller: &ScsiController,
        placement: &Placement,
        deadline: Deadline,
        now: Instant,
    ) -> Started<Result<Lease, AttachError>> {
        let wanted = Wanted::Controller(controller.clone(), placement.clone());
        self.start_attach(wanted, deadline, now)
    }

    /// Attaches a disk to a controller, whose threads then serve it.
    pub fn attach_on(
        &mut self,
        controller: &DeviceId,
        disk: &DiskSpec,
        deadline: Deadline,
        now: Instant,
    ) -> Started<Result<ScsiAddress, AttachError>> {
        let wanted = Wanted::DiskOn(disk.clone(), controller.clone());
        self.start_attach(wanted, deadline, now)
    }

    /// Attaches a balloon that hints at free pages (`free-page-hint=on`), so that a migration leaves
    /// them out. Its thread takes the hints: it has nothing to do unless the VM is migrated.
    pub fn attach_balloon(
        &mut self,
        id: &DeviceId,
        placement: &Placement,
        deadline: Deadline,
        now: Instant,
    ) -> Started<Result<Lease, AttachError>> {
        let wanted = Wanted::Balloon(id.clone(), placement.clone());
        self.start_attach(wanted, deadline, now)
    }

    fn start_attach<R>(&mut self, wanted: Wanted, deadline: Deadline, now: Instant) -> Started<R> {
        let id = wanted.id().clone();
        self.start(Task::Attach(Attach::new(wanted), id), deadline, now)
    }

    /// Detaches a disk, a controller without disks or a balloon, and frees its thread and slot. If it
    /// fails, the device keeps what it has, and the next detach continues.
    pub fn detach(
        &mut self,
        id: &DeviceId,
        deadline: Deadline,
        now: Instant,
    ) -> Started<Result<(), DetachError>> {
        let refused = match self.core.pool.allocation_of(id) {
            Some(Allocation::Thread(_)) | None => {
                Some(DetachError::NotAttached { device: id.clone() })
            }
            Some(_) => {
                let disks: Vec<&str> = self.core.pool.disks_on(id).map(DeviceId::as_str).collect();
                (!disks.is_empty()).then(|| DetachError::HasDisks {
                    device: id.clone(),
                    disks: disks.join(", "),
                })
            }
        };
        match refused {
            Some(error) => self.refuse(Outcome::Detach(Err(error))),
            None => self.start(
                Task::Detach(Removal::new(id.clone()), id.clone()),
                deadline,
                now,
            ),
        }
    }

    /// Moves a virtio-blk disk to other threads: detaches it and attaches it again. Its data is kept.
    /// `disk` describes the disk as it is attached; only its number of queues may differ, and is kept
    /// if it is not stated. Nothing is changed unless the pool can place the disk. The deadline
    /// covers all of it, the way back included.
    pub fn move_disk(
        &mut self,
        disk: &DiskSpec,
        placement: &Placement,
        deadline: Deadline,
        now: Instant,
    ) -> Started<Result<Lease, MoveError>> {
        let moving = Move::new(disk.clone(), placement.clone());
        self.start(Task::Move(Box::new(moving)), deadline, now)
    }

    /// Opens an image as a block node that no device uses, and moves it to a thread
    /// (`x-blockdev-set-iothread`). Until a device or an export uses it, the thread is its own. A
    /// virtio-blk device takes its node along to its own thread.
    pub fn open_node(
        &mut self,
        disk: &DiskSpec,
        placement: &Placement,
        deadline: Deadline,
        now: Instant,
    ) -> Started<Result<ThreadLease, AttachError>> {
        let open = OpenNode::new(disk.clone(), placement.clone(), false);
        self.start(Task::Open(open), deadline, now)
    }

    /// Opens an image and exports it by NBD, served by a thread and by no other: with
    /// `fixed-iothread`, since QEMU would otherwise pass over a thread that the node cannot move to.
    /// The server must have been started (`nbd-server-start`); the export's name is the disk's id.
    pub fn export(
        &mut self,
        disk: &DiskSpec,
        placement: &Placement,
        deadline: Deadline,
        now: Instant,
    ) -> Started<Result<ThreadLease, AttachError>> {
        let open = OpenNode::new(disk.clone(), placement.clone(), true);
        self.start(Task::Open(open), deadline, now)
    }

    /// Moves a node that no device and no export uses to another thread. If QEMU refuses, it stays
    /// where it was. If QEMU does not answer, it holds both threads until it is moved again or closed:
    /// no query tells where it is.
    pub fn move_node(
        &mut self,
        id: &DeviceId,
        placement: &Placement,
        deadline: Deadline,
        now: Instant,
    ) -> Started<Result<ThreadLease, MoveError>> {
        let moving = MoveNode::new(id.clone(), placement.clone());
        self.start(Task::MoveNode(moving), deadline, now)
    }

    /// Closes a node that the guest does not see, ends its export if it has one, and frees its
    /// thread. If it fails, as the end of an export does that still has clients, the node keeps what
    /// it has.
    pub fn close_node(
        &mut self,
        id: &DeviceId,
        deadline: Deadline,
        now: Instant,
    ) -> Started<Result<(), DetachError>> {
        self.start(Task::Close(CloseNode::new(id.clone())), deadline, now)
    }

    /// Adds a thread to QEMU, and then to the pool. It may run on all of QEMU's CPUs: only the host
    /// can bind it, by its number in `query-iothreads`. If QEMU refuses, its id is spent. If QEMU
    /// does not answer, the thread is among the [stray ones](Self::stray_threads).
    pub fn add_thread(
        &mut self,
        polling: Polling,
        deadline: Deadline,
        now: Instant,
    ) -> Started<Result<IoThreadId, QmpError>> {
        let new = self.core.pool.new_thread();
        self.start(Task::AddThread(AddThread::new(new, polling)), deadline, now)
    }

    /// Removes an idle thread from the pool, then from QEMU. Also removes a
    /// [stray thread](Self::stray_threads). If QEMU does not answer, the thread is out of the pool
    /// and among the stray ones.
    pub fn remove_thread(
        &mut self,
        thread: &IoThreadId,
        deadline: Deadline,
        now: Instant,
    ) -> Started<Result<(), RemoveThreadError>> {
        let remove = RemoveThread::new(thread.clone());
        self.start(Task::RemoveThread(remove), deadline, now)
    }

    /// Compares the records with what QEMU has, corrects them, and returns the differences. Call it
    /// after a restart of the manager, or when somebody else has used the monitor.
    pub fn reconcile(
        &mut self,
        deadline: Deadline,
        now: Instant,
    ) -> Started<Result<Vec<Difference>, QmpError>> {
        self.start(Task::Reconcile(Reconcile::default()), deadline, now)
    }

    fn refuse<R>(&mut self, outcome: Outcome) -> Started<R> {
        let id = OperationId(self.core.next());
        self.outcomes.push((id, outcome));
        Started::new(id)
    }
}

//! Errors of attach and detach, with the step that failed.

use std::fmt;
use std::path::PathBuf;

use iothread_pool::{DeviceId, IoThreadId, Lease, PoolError};
use qmp_client::QmpError;
use qmp_client::capabilities::Unsupported;
use qmp_client::wait::Deadline;

use crate::action::GuestError;

/// A step of an attach, a detach, a move or an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The pool allocates threads and a slot.
    Lease,
    /// QEMU opens the image.
    BlockdevAdd,
    /// The guest removes an earlier disk with the same serial.
    AwaitAbsent,
    /// QEMU creates the device.
    DeviceAdd,
    /// The device's `iothread-vq-mapping` is compared with the requested one.
    VerifyVqMapping,
    /// The guest discovers the disk.
    AwaitPresent,
    /// QEMU requests the unplug from the guest.
    DeviceDel,
    /// The guest completes the unplug, and QEMU removes the device.
    DeviceDeleted,
    /// QEMU closes the image.
    BlockdevDel,
    /// QEMU moves a block node to a thread.
    SetIothread,
    /// QEMU exports a block node.
    BlockExportAdd,
    /// QEMU starts the removal of an export.
    BlockExportDel,
    /// QEMU completes the removal of an export.
    BlockExportDeleted,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lease => "the pool's allocation",
            Self::BlockdevAdd => "blockdev-add",
            Self::AwaitAbsent => "the guest's removal of an earlier disk with this serial",
            Self::DeviceAdd => "device_add",
            Self::VerifyVqMapping => "the check of its iothread-vq-mapping",
            Self::AwaitPresent => "the discovery in the guest",
            Self::DeviceDel => "device_del",
            Self::DeviceDeleted => "DEVICE_DELETED",
            Self::BlockdevDel => "blockdev-del",
            Self::SetIothread => "x-blockdev-set-iothread",
            Self::BlockExportAdd => "block-export-add",
            Self::BlockExportDel => "block-export-del",
            Self::BlockExportDeleted => "BLOCK_EXPORT_DELETED",
        })
    }
}

/// The error of one step of an attach.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// The pool refused the allocation.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A QMP command failed.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// This QEMU does not support the request.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The device's mapping differs from the requested one.
    #[error("the device's iothread-vq-mapping differs from the requested one: {found}")]
    VqMappingMismatch {
        /// The value that `qom-get` returned.
        found: String,
    },
    /// The guest's disks could not be read.
    #[error(transparent)]
    Guest(GuestError),
    /// The guest did not discover the disk before the deadline.
    #[error("the disk did not appear in the guest within {within}")]
    NotInGuest {
        /// The deadline.
        within: Deadline,
        /// The guest's last reply.
        source: GuestError,
    },
    /// The guest ejected the device before it discovered the disk, at each attempt.
    #[error(
        "the guest ejected the device before it discovered the disk, {times} times; its kernel log may say why"
    )]
    Ejected {
        /// The number of attempts.
        times: u32,
    },
    /// Another operation works on the device, or on its controller.
    #[error("another operation on `{device}` has not ended; await or cancel it first")]
    Busy {
        /// The device or the controller.
        device: DeviceId,
    },
    /// The controller's removal is pending.
    #[error(
        "the removal of SCSI controller `{controller}` is pending; \
         complete its detach, then attach it again"
    )]
    ControllerRemovalPending {
        /// The controller.
        controller: DeviceId,
    },
    /// The id is also the name of the block node, and too long for that.
    #[error(
        "{id} is too long for the name of a block node: QEMU accepts 31 bytes; use a shorter id"
    )]
    NodeNameTooLong {
        /// The disk's id.
        id: DeviceId,
    },
    /// The guest would read a part of the serial, and not find the disk by it.
    #[error(
        "the serial \"{serial}\" is too long: of a virtio-blk disk the guest reads 20 characters; set a \
         shorter serial, or none"
    )]
    SerialTooLong {
        /// The serial.
        serial: String,
    },
    /// The configured `block_device_driver` is not supported.
    #[error(
        "the configured block_device_driver is not supported; set it to \
         \"virtio-blk-pci\", \"virtio-blk\" or \"virtio-scsi\""
    )]
    UnsupportedDriver,
    /// QMP cannot carry the path.
    #[error("the path {} is not valid UTF-8", path.display())]
    PathNotUtf8 {
        /// The path.
        path: PathBuf,
    },
}

/// An attach that failed.
#[derive(Debug, thiserror::Error)]
#[error("attach of `{device}` failed at {step}{}", left(.rollback))]
pub struct AttachError {
    /// The disk.
    pub device: DeviceId,
    /// The step that failed.
    pub step: Step,
    /// The error of that step.
    pub source: StepError,
    /// The result of the rollback of the earlier steps. If it failed, the disk keeps its threads and
    /// slot until a detach succeeds.
    pub rollback: Result<(), Box<DetachError>>,
}

fn left(rollback: &Result<(), Box<DetachError>>) -> String {
    match rollback {
        Ok(()) => String::new(),
        Err(error) => format!(", and the rollback is not complete ({error})"),
    }
}

/// A detach that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DetachError {
    /// QEMU has nothing of this device.
    #[error("`{device}` is not attached")]
    NotAttached {
        /// The disk.
        device: DeviceId,
    },
    /// Another operation works on the device, or on a disk behind it.
    #[error("another operation on `{device}` has not ended; await or cancel it first")]
    Busy {
        /// The device.
        device: DeviceId,
    },
    /// The controller has disks, which must be detached first.
    #[error("SCSI controller `{device}` still has disks ({disks}); detach them first")]
    HasDisks {
        /// The controller.
        device: DeviceId,
        /// Its disks, as text.
        disks: String,
    },
    /// The pool refused the release.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The guest rejected the unplug (DEVICE_UNPLUG_GUEST_ERROR). The device stays attached.
    #[error("the guest rejected the unplug of `{device}`")]
    GuestRejected {
        /// The disk.
        device: DeviceId,
    },
    /// The guest did not complete the unplug before the deadline. It may still do so: the removal is
    /// pending.
    #[error("the removal of `{device}` is pending in the guest")]
    Pending {
        /// The disk.
        device: DeviceId,
        /// The timeout.
        source: QmpError,
    },
    /// A step failed.
    #[error("detach of `{device}` failed at {step}")]
    Failed {
        /// The disk.
        device: DeviceId,
        /// The step that failed.
        step: Step,
        /// The error of that step.
        source: QmpError,
    },
}

pub(crate) fn failed(id: &DeviceId, step: Step, source: QmpError) -> DetachError {
    DetachError::Failed {
        device: id.clone(),
        step,
        source,
    }
}

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
    /// Another operation works on the disk or node.
    #[error("another operation on `{device}` has not ended; await or cancel it first")]
    Busy {
        /// The disk or node.
        device: DeviceId,
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

/// Completed and rejected hot-unplugs since the last call, including guest-initiated ejects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnplugProgress {
    /// Removed disks. Their threads and slots are free.
    pub removed: Vec<DeviceId>,
    /// Disks whose unplug the guest rejected. They stay attached.
    pub rejected: Vec<DeviceId>,
    /// Disks that QEMU lists no more, and whose node is still in use. QEMU releases it shortly after, unless
    /// something else, such as a job, uses it too.
    pub in_use: Vec<DeviceId>,
}

/// A thread that could not be removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoveThreadError {
    /// The pool refused the removal.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A QMP command failed.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// Another operation makes or removes the thread.
    #[error("another operation on IOThread `{thread}` has not ended; await or cancel it first")]
    Busy {
        /// The thread.
        thread: IoThreadId,
    },
}
